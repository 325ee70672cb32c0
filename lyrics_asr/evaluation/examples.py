"""The worst examples of an evaluation: lines as word diffs, and misplaced words on a time axis."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from lyrics_asr.evaluation.scores import SongScores, TimedPair
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_corpus_lyrics

AXIS_WIDTH = 680
"""Width of a time axis in pixels."""

_WORST_LINES = 12
_WORST_WORDS = 8
_CONTEXT_SECONDS = 2.0
_LETTER_WIDTH = 7.9
_LABEL_OVERHANG = 60
_TICK_STEPS_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000)
_MAX_TICKS = 9


@dataclass(frozen=True)
class DiffWord:
    """An edit of a word diff: "equal", "substituted", "missing" or "extra", with the word on either side."""

    kind: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class DiffLine:
    """A line of the reference, compared with the transcript."""

    song: str
    errors: int
    words: tuple[DiffWord, ...]


@dataclass(frozen=True)
class AxisWord:
    """A word on a time axis, in pixels; a label's position is None if there is no room for it."""

    text: str
    reference_x: float
    estimated_x: float
    reference_label_x: float | None
    estimated_label_x: float | None
    worst: bool


@dataclass(frozen=True)
class WorstWord:
    """A misplaced word, with its neighbours."""

    song: str
    pair: TimedPair
    ticks: tuple[tuple[float, str], ...]
    words: tuple[AxisWord, ...]


def worst_lines(songs: Sequence[SongScores], count: int = _WORST_LINES) -> tuple[DiffLine, ...]:
    """The lines with the highest error rates, longer lines first if equal; repeated lines are listed once."""
    lines: dict[tuple[str, tuple[DiffWord, ...]], DiffLine] = {}
    for song in songs:
        if song.text is not None:
            lines |= {(line.song, line.words): line for line in diff_lines(song)}

    def error_rate_and_length(line: DiffLine) -> tuple[float, int]:
        length = sum(word.kind != "extra" for word in line.words)
        return min(1.0, line.errors / length), length

    wrong = [line for line in lines.values() if line.errors]
    return tuple(sorted(wrong, key=error_rate_and_length, reverse=True)[:count])


def diff_lines(song: SongScores) -> list[DiffLine]:
    """Word diffs of all lines of a song, with the alignment that the WER is computed from.

    Insertions between two lines belong to the first of them; insertions before the first line belong to it.
    """
    spelled = [normalize(line.text, song.language).split() for line in parse_corpus_lyrics(song.reference).lines]
    reference = [word for line in spelled for word in line]
    hypothesis = normalize(song.text or "", song.language).split()
    places: list[list[DiffWord]] = [[] for _ in reference]
    (chunks,) = jiwer.process_words(" ".join(reference), " ".join(hypothesis)).alignments
    for chunk in chunks:
        theirs = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        ours = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "insert":
            places[max(0, chunk.ref_start_idx - 1)] += [DiffWord("extra", "", word) for word in ours]
        for offset, word in enumerate(theirs):
            kind = {"equal": "equal", "substitute": "substituted", "delete": "missing"}[chunk.type]
            place = DiffWord(kind, word, ours[offset] if ours else "")
            places[chunk.ref_start_idx + offset].append(place)
    remaining = iter(places)
    lines = []
    for line in spelled:
        words = tuple(word for _ in line for word in next(remaining))
        if words:
            lines.append(DiffLine(song.id, sum(word.kind != "equal" for word in words), words))
    return lines


def worst_words(songs: Sequence[SongScores], count: int = _WORST_WORDS) -> tuple[WorstWord, ...]:
    """The words furthest from their reference, one per song, with their neighbours on a time axis."""
    furthest = []
    for song in songs:
        if song.words:
            index = max(range(len(song.words)), key=lambda i: abs(song.words[i].error_seconds))
            furthest.append((abs(song.words[index].error_seconds), song, index))
    furthest.sort(key=lambda each: -each[0])
    return tuple(_on_axis(song, index) for _, song, index in furthest[:count])


def _on_axis(song: SongScores, index: int) -> WorstWord:
    pair = song.words[index]
    first = max(0.0, min(pair.reference_seconds, pair.estimated_seconds) - _CONTEXT_SECONDS)
    last = max(pair.reference_seconds, pair.estimated_seconds) + _CONTEXT_SECONDS
    scale = AXIS_WIDTH / (last - first)

    def x(seconds: float) -> float:
        return round((seconds - first) * scale, 1)

    near = [
        (i, word)
        for i, word in enumerate(song.words)
        if first <= word.reference_seconds <= last or first <= word.estimated_seconds <= last
    ]
    labels = [
        _with_room([(x(seconds), i == index, word.text) for (i, word), seconds in zip(near, times, strict=True)])
        for times in ([word.reference_seconds for _, word in near], [word.estimated_seconds for _, word in near])
    ]
    longest = _TICK_STEPS_SECONDS[-1] * np.ceil((last - first) / _TICK_STEPS_SECONDS[-1] / _MAX_TICKS)
    step = next((step for step in _TICK_STEPS_SECONDS if (last - first) / step <= _MAX_TICKS), longest)
    ticks = np.arange(np.ceil(first / step) * step, last, step)
    return WorstWord(
        song.id,
        pair,
        tuple((x(tick), f"{tick:.12g} s") for tick in ticks),
        tuple(
            AxisWord(word.text, x(word.reference_seconds), x(word.estimated_seconds), above, below, i == index)
            for (i, word), above, below in zip(near, *labels, strict=True)
        ),
    )


def _with_room(labels: Sequence[tuple[float, bool, str]]) -> list[float | None]:
    """Place labels (position, required, text) without overlap; None for labels without room.

    A required label that would exceed the right edge is moved to the left.
    """
    limit = AXIS_WIDTH + _LABEL_OVERHANG
    taken: list[tuple[float, float]] = []
    chosen: list[float | None] = [None] * len(labels)
    for i in sorted(range(len(labels)), key=lambda i: (not labels[i][1], labels[i][0])):
        start, required, text = labels[i]
        width = _label_width(text)
        if required:
            start = round(min(start, limit - width), 1)
        end = start + width
        if start >= 0 and end <= limit + 0.1 and all(end <= a or start >= b for a, b in taken):
            taken.append((start, end))
            chosen[i] = start
    return chosen


def _label_width(text: str) -> float:
    """Maximum width of a label in pixels, including a space after it."""
    capitals = sum(letter.isupper() for letter in text)
    broad = sum(letter in "mwMW" or unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return _LETTER_WIDTH * (len(text) + 1 + 0.25 * capitals + 0.7 * broad)
