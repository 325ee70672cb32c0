"""Alignment of a recording of hours: `python benchmarks/long_recording.py --words 30000`.

The emissions are synthetic: words of random letters, each sung for one frame with a few blanks after it, noise on all
symbols, and pauses between lines. A share of the lines is left out of the lyrics, another is not sung. Time is that of
the alignment alone, and memory is what it takes beside the emissions.
"""

import argparse
import resource
import sys
import time

import numpy as np
import torch

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.text import LyricLine, Lyrics
from lyrics_asr.types import FrameGrid, Vocabulary

_GRID = FrameGrid(320, 400, 16_000)
_VOCABULARY = Vocabulary(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)
_LINE_WORDS = 7


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=int, default=30_000, help="words of the lyrics (%(default)s)")
    parser.add_argument("--damage", type=float, default=0.0, help="share of runs of 20 lines (%(default)s)")
    parser.add_argument("--keep-all", action="store_true", help="forced alignment")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    path, lines, onsets = [0] * 200, list[LyricLine](), list[list[float] | None]()
    run = ""
    for number in range(options.words // _LINE_WORDS):
        if number % 20 == 0:
            run = "damaged" if generator.random() < options.damage else ""
            run = run and generator.choice(["not written", "not sung"])
        words, times, line = [], [], list[int]()
        for _ in range(_LINE_WORDS):
            letters = generator.integers(2, len(_VOCABULARY.tokens), generator.integers(2, 8))
            words.append("".join(_VOCABULARY.tokens[letter] for letter in letters))
            times.append(_GRID.seconds(len(path) + len(line)))
            for letter in letters:
                line += [int(letter), *[0] * int(generator.integers(1, 4))]
            line.append(1)
        if run != "not sung":
            path += [*line, *[0] * int(generator.integers(5, 45))]
        if run != "not written":
            lines.append(LyricLine(" ".join(words), tuple(words)))
            onsets.append(times if run == "" else None)
    emissions = _emissions([*path, *[0] * 200])
    align_lyrics(_emissions(path[:500]), Lyrics("", tuple(lines[:1])))  # compiles the search
    before, wall, cpu = _peak_memory_bytes(), time.perf_counter(), time.process_time()
    found = align_lyrics(emissions, Lyrics("", tuple(lines)), keep_all=options.keep_all)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ours = {line.number: line for line in found.lines}
    right = total = 0
    for number, known in enumerate(onsets):
        for word, onset in enumerate(known or ()):
            total += 1
            right += number in ours and abs(ours[number].words[word].start_seconds - onset) <= 0.3
    not_sung = {number for number, known in enumerate(onsets) if known is None}
    missing = {line.number for line in found.not_found}
    print(f"{emissions.duration_seconds / 3600:.2f} h, {len(lines)} lines, {len(lines) * _LINE_WORDS} words")
    print(f"words within 0.3 s: {right / total:.2%}; lines not found {len(missing)}, of them not sung "
          f"{len(missing & not_sung)} of {len(not_sung)}")  # fmt: skip
    print(f"{wall:.1f} s, {cpu:.1f} s of CPU time, {(_peak_memory_bytes() - before) / 2**20:.0f} MiB")
    return 0


def _emissions(path: list[int]) -> Emissions:
    noise = torch.randn(len(path), len(_VOCABULARY.tokens), generator=torch.Generator().manual_seed(0))
    scores = 0.9 * noise
    scores[torch.arange(len(path)), path] += 3.5
    return Emissions(scores.log_softmax(-1), _VOCABULARY, _GRID, _GRID.seconds(len(path)))


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
