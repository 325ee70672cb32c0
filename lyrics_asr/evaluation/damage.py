"""Damaged lyrics, and how well an alignment copes with them.

Conventions
- Damage is drawn with a seed for each song and kind, so that every run damages songs in the same way.
- The right lines are those of the original that were neither dropped nor moved. A word of theirs is right within 0.3 s
  of a time at which its line is sung; lines that are sung several times have several such times.
- Lines that were added are not sung. Precision and recall of `not_found` are those of finding these.
- The confidence of a word is right if its onset is, that of a line if half of its words are, and that of the lyrics if
  any line is the song's own. Only lines that were found count.
- Mixed damage draws one kind for each song, so that confidences of right and wrong lyrics can be compared.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.aggregation import Statistics
from lyrics_asr.evaluation.calibration import reliability
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.types import TimedLine

Damage = Literal["none", "dropped", "added", "reordered", "another", "mixed"]
TOLERANCE_SECONDS = 0.3
_MIXED: tuple[Damage, ...] = ("none", "dropped", "added", "reordered", "another")


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
        kind: "dropped", "added" and "reordered" change a share of the lines; "another" takes another song's lyrics;
            "mixed" is one of these or "none".
        share: share of the lines, above 0 and at most 1.
        others: songs to take other lines from; those in the same language with other lyrics are used.

    Raises:
        ValueError: no other song has lyrics in this language.
    """
    generator = random.Random(f"{song.id} {kind} {share}")
    if kind == "mixed":
        return damage(song, generator.choice(_MIXED), share, others)
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
    original = parse_corpus_lyrics(song.lyrics).lines
    onsets = onsets_by_line(song)
    found: dict[int, list[TimedLine]] = {}
    for timed in lines:
        if timed.number is not None:
            found.setdefault(timed.number, []).append(timed)
    right = words = 0
    for number, origin in enumerate(damaged.origins):
        if origin is None or origin in damaged.moved:
            continue
        for place in range(len(original[origin].words)):
            ours = [line.words[place].start_seconds for line in found.get(number, ())]
            words += 1
            right += any(is_right(seconds, place, onsets[original[origin].text]) for seconds in ours)
    added = {number for number, origin in enumerate(damaged.origins) if origin is None}
    not_found = set(range(len(damaged.origins))) - set(found)
    return {
        "damaged_words_within": (right, words),
        "not_found_precision": (len(added & not_found), len(not_found)),
        "not_found_recall": (len(added & not_found), len(added)),
    }


def confidence_statistics(
    song: Song, damaged: DamagedLyrics, lines: Sequence[TimedLine], confidence: float | None
) -> dict[str, Statistics]:
    """Compare confidences with what is right.

    Args:
        song: song with word times.
        damaged: lyrics that were aligned.
        lines: lines that were found.
        confidence: probability that the lyrics belong to the song; None if unknown.
    """
    if not song.words:
        return {}
    onsets = onsets_by_line(song)
    of_words, of_lines, of_song = list[tuple[float, bool]](), list[tuple[float, bool]](), list[tuple[float, bool]]()
    for line in lines:
        times = onsets.get(line.text, ())
        right = [is_right(word.start_seconds, place, times) for place, word in enumerate(line.words)]
        of_words += [(word.confidence, each) for word, each in zip(line.words, right, strict=True)]
        of_lines.append((line.confidence, 2 * sum(right) >= len(right)))
    if confidence is not None:
        of_song.append((confidence, any(origin is not None for origin in damaged.origins)))
    groups = (("word", of_words), ("line", of_lines), ("song", of_song))
    return {key: each for name, pairs in groups if pairs for key, each in _calibration_statistics(name, pairs)}


def onsets_by_line(song: Song) -> dict[str, list[list[float]]]:
    """For the text of every line, the onsets of its words each time that it is sung; `song` has word times."""
    remaining = iter(song.words)
    onsets: dict[str, list[list[float]]] = {}
    for line in parse_corpus_lyrics(song.lyrics).lines:
        onsets.setdefault(line.text, []).append([next(remaining).start_seconds for _ in line.words])
    return onsets


def is_right(onset_seconds: float, place: int, onsets: Sequence[Sequence[float]]) -> bool:
    """Whether an onset is that of the word at this place of a line, any time that the line is sung."""
    return any(abs(onset_seconds - times[place]) <= TOLERANCE_SECONDS for times in onsets)


def _calibration_statistics(name: str, pairs: Sequence[tuple[float, bool]]) -> Iterator[tuple[str, Statistics]]:
    confidences, right = np.asarray([pair[0] for pair in pairs]), np.asarray([pair[1] for pair in pairs])
    bins = reliability(confidences, right)
    yield f"{name}_confidence_ece", tuple(np.concatenate([bins.counts, bins.confidences, bins.right]).tolist())
    yield f"{name}_confidence_auc", tuple(number for confidence, right in pairs for number in (confidence, int(right)))


def _foreign_lines(song: Song, own: set[str], others: Sequence[Song]) -> list[str]:
    lines = []
    for other in others:
        if other.language == song.language and other.id != song.id:
            lines += [line.text for line in parse_corpus_lyrics(other.lyrics).lines if line.text not in own]
    if not lines:
        raise ValueError(f"{song.id}: no other song has lyrics in {song.language!r}; damage needs several songs")
    return lines
