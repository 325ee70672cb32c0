"""How long `lyrics-asr data dali` takes for a corpus of DALI's size, and its memory: `python benchmarks/dali.py`.

5,358 songs, as many as DALI v1 has, of 4 minutes, 250 words and as many notes are written as DALI's gzipped pickles.
The words are drawn from data/lyrics, so that no two songs are alike; every song has the same audio file, by a link. The
command then runs as users run it. Nothing else should run beside it.
"""

import argparse
import gzip
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.synthesis.corpus import dali_annotations
from lyrics_asr.synthesis.lyrics import load_lyrics
from lyrics_asr.synthesis.singers import HELD_OUT_VOICES
from lyrics_asr.synthesis.song import Rendition
from lyrics_asr.types import TimedWord

ROOT = Path(__file__).resolve().parent.parent
TARGET_SECONDS, TARGET_BYTES = 90, 1.5e9
SONG_SECONDS, SONG_WORDS = 240, 250


def main() -> int:
    """Run the benchmark; 1 when it takes longer, or more memory, than wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--songs", type=int, default=5358)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, options.songs)
        command = [sys.executable, "-c", "import sys; from lyrics_asr.cli.main import main; sys.exit(main())"]
        arguments = ["data", "dali", f"{folder}/annotations", f"{folder}/audio", "-o", f"{folder}/cuts"]
        began = time.perf_counter()
        subprocess.run([*command, *arguments], cwd=ROOT, check=True)
        seconds = time.perf_counter() - began
        written = sum(path.stat().st_size for path in (folder / "cuts").iterdir())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"{options.songs} songs: {seconds:.1f} s (wanted: {TARGET_SECONDS}), at most {peak / 1e9:.2f} GB of memory "
        f"(wanted: {TARGET_BYTES / 1e9:.1f}), {written / 1e6:.0f} MB written"
    )
    return 0 if seconds <= TARGET_SECONDS and peak <= TARGET_BYTES else 1


def make_corpus(folder: Path, count: int) -> None:
    """Annotations and audio, in folders of these names."""
    rng = random.Random(0)
    stanzas = load_lyrics(ROOT / "data" / "lyrics", "training").values()
    vocabulary = sorted({word for song in stanzas for stanza in song for line in stanza for word in line.split()})
    (folder / "annotations").mkdir()
    (folder / "audio").mkdir()
    sound = folder / "song.mp3"
    write_audio(sound, Audio(torch.zeros(2, SONG_SECONDS * 44_100), 44_100))
    silence = np.zeros((2, 0), np.float32)
    for number in range(count):
        words = make_words(rng, vocabulary)
        lines = tuple(tuple(words[first : first + 6]) for first in range(0, len(words), 6))
        song_id = f"{number:032x}"
        rendition = Rendition(silence, silence, lines, (), (220.0,) * len(words), np.zeros(1, np.float32))
        content = dali_annotations(song_id, "title", rendition, HELD_OUT_VOICES["en"][0])
        content["info"]["scores"]["NCC"] = rng.uniform(0.8, 1.0)
        write_pickle(folder / "annotations" / f"{song_id}.gz", content)
        (folder / "audio" / f"{song_id}.mp3").symlink_to(sound)


def make_words(rng: random.Random, vocabulary: list[str]) -> list[TimedWord]:
    """Words over the length of a song, with a pause now and then."""
    at, words = 10.0, []
    for _ in range(SONG_WORDS):
        end = at + rng.uniform(0.15, 0.7)
        words.append(TimedWord(rng.choice(vocabulary), at, end, 1.0))
        at = end + (rng.uniform(3, 15) if rng.random() < 0.04 else rng.uniform(0, 0.2))
    scale = min(1.0, (SONG_SECONDS - 5.0) / at)
    return [TimedWord(word.text, word.start_seconds * scale, word.end_seconds * scale, 1.0) for word in words]


def write_pickle(path: Path, content: dict[str, object]) -> None:
    """Write annotations as DALI does: an object of the class DALI.Annotations.Annotations."""
    module = types.ModuleType("DALI.Annotations")
    kind = type("Annotations", (), {"__module__": module.__name__})
    module.Annotations = kind  # type: ignore[attr-defined]
    sys.modules["DALI"] = types.ModuleType("DALI")
    sys.modules[module.__name__] = module
    annotations = kind()
    annotations.__dict__.update(content)
    path.write_bytes(gzip.compress(pickle.dumps(annotations, protocol=2), 6))


if __name__ == "__main__":
    sys.exit(main())
