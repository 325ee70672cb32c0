"""How long `evaluate.py` takes to score predictions of a corpus of JamendoLyrics' size: `python benchmarks/scoring.py`.

79 songs of about 270 words (20,000 in all) are made from the lyrics of data/lyrics, with a prediction each: every
tenth word is left out of the transcript, onsets are off by 0.2 s (standard deviation). evaluate.py then runs as users
run it, start of Python, intervals and reports included. Nothing else should run beside it.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.files import write_text
from lyrics_asr.formats import render
from lyrics_asr.synthesis.lyrics import load_lyrics
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript

ROOT = Path(__file__).resolve().parent.parent
TARGET_SECONDS = 20
WORDS = 270


def main() -> int:
    """Run the benchmark; 1 when it takes longer than wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--songs", type=int, default=79)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        songs = list(make_songs(folder, options.songs))
        write_manifest(folder / "manifest.jsonl", songs)
        (folder / "config.yaml").write_text(
            f"folder: {folder}\ntranscripts: {folder}/transcripts\nalignments: {folder}/alignments\n"
            f"output: {folder}/results\n",
            encoding="utf-8",
        )
        began = time.perf_counter()
        command = [sys.executable, str(ROOT / "evaluate.py"), str(folder / "config.yaml")]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    words = sum(len(song.words) for song in songs)
    print(f"{len(songs)} songs, {words} words: {seconds:.1f} s (wanted: {TARGET_SECONDS} s)")
    return 0 if seconds <= TARGET_SECONDS else 1


def make_songs(folder: Path, count: int) -> Iterator[Song]:
    """Songs with a prediction each, in the folder."""
    rng = random.Random(0)
    stanzas = [stanza for song in load_lyrics(ROOT / "data" / "lyrics", "training").values() for stanza in song]
    names = ModelInfo("random", "none", "none", None)
    for number in range(count):
        at, estimate, text, hypothesis = 1.0, 0.0, "", ""
        words: list[TimedWord] = []
        lines: list[TimedLine] = []
        while len(words) < WORDS:
            for line in rng.choice(stanzas):
                timed = []
                for word in line.split():
                    words.append(TimedWord(word, at, at + 0.3, 1.0))
                    estimate = max(estimate, at + rng.gauss(0, 0.2))
                    timed.append(TimedWord(word, estimate, estimate, 1.0))
                    at += rng.uniform(0.2, 1.0)
                lines.append(TimedLine(line, timed[0].start_seconds, timed[-1].end_seconds, 1.0, tuple(timed)))
                text += f"{line}\n"
                hypothesis += " ".join(word for word in line.split() if rng.random() > 0.1) + "\n"
            text, hypothesis = f"{text}\n", f"{hypothesis}\n"
        name = f"song_{number:03d}"
        info = AudioInfo(name, at + 5, 44_100)
        transcript = Transcript("transcribe", info, names, hypothesis, tuple(lines))
        write_text(folder / "transcripts" / f"{name}.json", render(transcript, "json"))
        alignment = Transcript("align", info, names, text, tuple(lines))
        write_text(folder / "alignments" / f"{name}.json", render(alignment, "json"))
        yield Song(name, folder / f"{name}.mp3", text, tuple(words), "en", genre=rng.choice(["Pop", "Rock", "Folk"]))


if __name__ == "__main__":
    sys.exit(main())
