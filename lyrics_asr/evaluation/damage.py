"""Damaged lyrics, and how well an alignment copes with them.

Conventions
- Damage is drawn with a seed for each song and kind, so that every run damages songs in the same way.
- The right lines are those of the original that were neither dropped nor moved. A word of theirs is right within 0.3 s
  of a time at which its line is sung; lines that are sung several times have several such times.
- Lines that were added are not sung. Precision and recall of `not_found` are those of finding these.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.aggregation import Statistics
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.types import TimedLine

Damage = Literal["none", "dropped", "added", "reordered", "another"]
TOLERANCE_SECONDS = 0.3


@dataclass(frozen=True)
class DamagedLyrics:
    """Lyrics that differ from what is sung.

    Args:
        text: the lyrics.
        origins: for every line, its number in the original, or None if it was added.
        moved: numbers in the original of the lines that were moved.
    """

    text: str
    origins: tuple[int | None, ...]
    moved: frozenset[int] = frozenset()


def damage(song: Song, kind: Damage, share: float, others: Sequence[Song]) -> DamagedLyrics:
    """Damage the lyrics of a song.

    Args:
        song: the song.
        kind: "dropped", "added" and "reordered" change a share of the lines; "another" takes another song's lyrics.
        share: share of the lines, above 0 and at most 1.
        others: songs to take other lines from; those in the same language with other lyrics are used.

    Raises:
        ValueError: no other song has lyrics in this language.
    """
    generator = random.Random(f"{song.id} {kind} {share}")
    own = [line.text for line in parse_corpus_lyrics(song.lyrics).lines]
    lines: list[tuple[str, int | None]] = [(text, number) for number, text in enumerate(own)]
    chosen = set(generator.sample(range(len(own)), max(1, round(share * len(own)))))
    moved = frozenset[int]()
    if kind == "dropped" and len(chosen) < len(own):
        lines = [line for number, line in enumerate(lines) if number not in chosen]
    elif kind == "reordered":
        lines = [line for number, line in enumerate(lines) if number not in chosen]
        for number in sorted(chosen):
            lines.insert(generator.randrange(len(lines) + 1), (own[number], number))
        moved = frozenset(chosen)
    elif kind in ("added", "another"):
        foreign = _foreign_lines(song, set(own), others)
        if kind == "another":
            start = generator.randrange(len(foreign))
            lines = [(text, None) for text in [*foreign[start:], *foreign[:start]][: len(own)]]
        else:
            for _ in chosen:
                lines.insert(generator.randrange(len(lines) + 1), (generator.choice(foreign), None))
    return DamagedLyrics("\n".join(text for text, _ in lines), tuple(origin for _, origin in lines), moved)


def damage_statistics(song: Song, damaged: DamagedLyrics, lines: Sequence[TimedLine]) -> dict[str, Statistics]:
    """Compare the alignment of damaged lyrics with the reference times of the original."""
    if not song.words:
        return {}
    remaining = iter(song.words)
    original = parse_corpus_lyrics(song.lyrics).lines
    onsets = [[next(remaining).start_seconds for _ in line.words] for line in original]
    by_text: dict[str, list[list[float]]] = {}
    for line, times in zip(original, onsets, strict=True):
        by_text.setdefault(line.text, []).append(times)
    found: dict[int, list[TimedLine]] = {}
    for timed in lines:
        if timed.number is not None:
            found.setdefault(timed.number, []).append(timed)
    right = words = 0
    for number, origin in enumerate(damaged.origins):
        if origin is None or origin in damaged.moved:
            continue
        for place in range(len(onsets[origin])):
            times = [each[place] for each in by_text[original[origin].text]]
            ours = [line.words[place].start_seconds for line in found.get(number, ())]
            words += 1
            right += any(abs(a - b) <= TOLERANCE_SECONDS for a in times for b in ours)
    added = {number for number, origin in enumerate(damaged.origins) if origin is None}
    not_found = set(range(len(damaged.origins))) - set(found)
    return {
        "damaged_words_within": (right, words),
        "not_found_precision": (len(added & not_found), len(not_found)),
        "not_found_recall": (len(added & not_found), len(added)),
    }


def _foreign_lines(song: Song, own: set[str], others: Sequence[Song]) -> list[str]:
    lines = []
    for other in others:
        if other.language == song.language and other.id != song.id:
            lines += [line.text for line in parse_corpus_lyrics(other.lyrics).lines if line.text not in own]
    if not lines:
        raise ValueError(f"{song.id}: no other song has lyrics in {song.language!r}; damage needs several songs")
    return lines
