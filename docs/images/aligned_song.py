"""Draw the picture of the README: `python docs/images/aligned_song.py`.

The embedded model aligns `data/demo/truce_on_the_hill.mp3` with its lyrics. The picture shows the waveform of the song,
the separated vocals over it, and the first lines of the lyrics at the times of their words.
"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
from matplotlib import pyplot as plt

import lyrics_asr

ROOT = Path(__file__).resolve().parents[2]
SONG = ROOT / "data/demo/truce_on_the_hill.mp3"
ROW_SECONDS = 6.65
ROWS = 2
START_SECONDS = 1.0
LINE_COLOURS = ("#1f6f8b", "#b5512b")


def main() -> None:
    """Align the song and write the picture beside this script."""
    model = lyrics_asr.load_model("embedded", device="cpu")
    transcript = lyrics_asr.align(SONG, lyrics_asr.read_lyrics(SONG.with_suffix(".txt")), model)
    mixture, vocals = lyrics_asr.read_audio(SONG), lyrics_asr.separate(SONG, model)

    plt.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "lyrics_asr", "svg.fonttype": "path"})
    figure, rows = plt.subplots(ROWS, 1, figsize=(10, 4.4), layout="constrained")
    for number, row in enumerate(rows):
        start = START_SECONDS + number * ROW_SECONDS
        _draw_envelope(row, mixture, start, "#dcdcdc", "song")
        _draw_envelope(row, vocals, start, "#8d99a6", "separated vocals")
        _draw_words(row, transcript, start)
        row.set(xlim=(start, start + ROW_SECONDS), ylim=(-1.65, 0.8), yticks=[])
        row.spines[["left", "right", "top"]].set_visible(False)
        row.xaxis.set_major_formatter("{x:.0f} s")
        row.xaxis.set_major_locator(plt.MultipleLocator(1))
    rows[0].legend(loc="lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _draw_envelope(row: plt.Axes, audio: lyrics_asr.Audio, start: float, colour: str, label: str) -> None:
    samples = np.asarray(audio.samples).mean(axis=0)
    rate = audio.sample_rate_hz
    points = np.linspace(start, start + ROW_SECONDS, 400)
    width = int(rate * ROW_SECONDS / len(points)) + 1
    peaks = np.array([np.abs(samples[int(at * rate) : int(at * rate) + width]).max(initial=0) for at in points])
    row.fill_between(points, -peaks, peaks, color=colour, linewidth=0, label=label)


def _draw_words(row: plt.Axes, transcript: lyrics_asr.Transcript, start: float) -> None:
    for number, line in enumerate(transcript.lines):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        for word in line.words:
            if not start <= word.start_seconds < start + ROW_SECONDS:
                continue
            length = word.end_seconds - word.start_seconds
            row.axvline(word.start_seconds, color=colour, alpha=0.35, linewidth=0.8)
            row.barh(-0.9, length, left=word.start_seconds, height=0.1, color=colour)
            row.text(word.start_seconds, -1.02, word.text, color=colour, fontsize=9.5, rotation=-28,
                     ha="left", va="top", rotation_mode="anchor")  # fmt: skip


if __name__ == "__main__":
    main()
