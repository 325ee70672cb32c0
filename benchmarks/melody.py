"""Accuracy of the pitch tracker on synthetic songs, whose pitch is known (`python benchmarks/melody.py`).

Measures mir_eval's raw pitch accuracy (within 50 cents) of the lead's pitch curve, tracked from the true vocals,
backing vocals and reverberation included, and from those that the embedded model separates.
"""

import argparse
from collections.abc import Sequence
from typing import Any
from unittest import mock

import mir_eval
import numpy as np
import torch

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.melody.pitch import FRAME_SECONDS, PitchTrack, track_pitch
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.synthesis import band, singing, song, vocoder
from lyrics_asr.synthesis.delivery import DELIVERIES
from lyrics_asr.synthesis.singers import draw_voice
from tests.paths import LYRICS


def render_with_pitch(stanzas: Sequence[Sequence[str]], seed: int) -> tuple[song.Rendition, np.ndarray]:
    """A song without raps and whispers, and the pitch of the lead in hertz every 10 ms, 0 where it is unvoiced."""
    curves: dict[int, np.ndarray] = {}
    placed_lines: list[Any] = []
    synthesize, sing_line, perform = singing.vocoder.synthesize, song.sing_line, song.perform
    last: list[np.ndarray] = []

    def recording_synthesize(f0_hz: np.ndarray, *rest: Any) -> Any:
        last.append(np.array(f0_hz))
        return synthesize(f0_hz, *rest)

    def recording_sing_line(*given: Any) -> Any:
        line = sing_line(*given)
        curves[id(line)] = last[-1]
        return line

    def recording_perform(placed: Any, *rest: Any) -> Any:
        performance = perform(placed, *rest)
        placed_lines.extend(zip((line for _, line in placed), performance.lines, strict=True))
        return performance

    with (
        mock.patch.object(singing.vocoder, "synthesize", recording_synthesize),
        mock.patch.object(song, "sing_line", recording_sing_line),
        mock.patch.object(song, "perform", recording_perform),
        mock.patch.object(song, "draw_delivery", return_value=DELIVERIES["sung"]),
        mock.patch.object(song, "_SLOWEST_RAP_SECONDS", 0.0),
    ):
        rng = np.random.default_rng(seed)
        rendition = song.render(stanzas, draw_voice("en", rng), rng)
    truth = np.zeros(round(rendition.vocals.shape[1] / band.SAMPLE_RATE_HZ / FRAME_SECONDS) + 1)
    for line, words in placed_lines:
        f0_hz = curves[id(line)]
        start = words[0].start_seconds - line.sung.words[0].start_seconds
        for index in range(len(truth)):
            frame = round((index * FRAME_SECONDS - start) / vocoder.FRAME_SECONDS)
            if 0 <= frame < len(f0_hz):
                truth[index] = f0_hz[frame]
    return rendition, truth


def scores(truth: np.ndarray, track: PitchTrack) -> tuple[float, float]:
    """Raw pitch and raw chroma accuracy."""
    midi = track.midi
    estimate = np.where(np.isnan(midi), 0, 440 * 2 ** ((np.nan_to_num(midi, nan=69) - 69) / 12))
    count = min(len(truth), len(estimate))
    times = np.arange(count) * FRAME_SECONDS
    found = mir_eval.melody.evaluate(times, truth[:count], times, estimate[:count])
    return found["Raw Pitch Accuracy"], found["Raw Chroma Accuracy"]


def main() -> None:
    """Print a row per song, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--lines", type=int, default=2, help="lines of each stanza")
    args = parser.parse_args()
    from lyrics_asr.synthesis.lyrics import load_lyrics

    lyrics = list(load_lyrics(LYRICS, "development").values())
    model = load_model("embedded", device="cpu")
    rows = []
    print("song   true: pitch chroma   separated: pitch chroma")
    for number in range(args.songs):
        stanzas = [stanza[: args.lines] for stanza in lyrics[number % len(lyrics)][:2]]
        rendition, truth = render_with_pitch(stanzas, number)
        true = Audio(torch.from_numpy(rendition.vocals), band.SAMPLE_RATE_HZ)
        mixture = Audio(torch.from_numpy(rendition.vocals + rendition.accompaniment), band.SAMPLE_RATE_HZ)
        (separated,) = model.vocals([mixture], SeparationOptions())
        row = []
        for vocals in (true.to_channels(1).resampled(ACOUSTIC_SAMPLE_RATE_HZ), model.to_16k_mono(separated)):
            row += scores(truth, track_pitch(vocals))
        rows.append(row)
        print(f"{number:4d}         {row[0]:.3f}  {row[1]:.3f}              {row[2]:.3f}  {row[3]:.3f}", flush=True)
    means = np.mean(rows, axis=0)
    print(f"mean         {means[0]:.3f}  {means[1]:.3f}              {means[2]:.3f}  {means[3]:.3f}")


if __name__ == "__main__":
    main()
