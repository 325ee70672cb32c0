"""Alignment of lyrics with a whole song: when each line and word is sung, and what was not sung as written.

Conventions
- The path is the best of all paths through the graph of the lyrics (Viterbi; see `graph` and `search`). A line may be
  left out, sung again or sung out of order, and singing that no line covers is passed over, each at a price. Where none
  of this pays, the result is the forced alignment of the whole lyrics, which `keep_all` always gives.
- The prices adapt to how well the model understands the song: they lie between the cost per letter of the lyrics and
  that of decoys, the same lyrics backwards, which nobody sings.
- A word starts with the first frame of its first letter and ends with the last frame of its last letter.
- The confidence of a word is the geometric mean of its letters' probabilities, as the model gave them, over the frames
  they are aligned to, without pauses. A wildcard says nothing about the lyrics, so that its probability is that of a
  guess among all letters. The confidence of a line is the geometric mean of its words' confidences.
- A word that cannot be spelled, such as "-", has zero length and confidence 0. It is placed at the end of the spelled
  word before it in its line, else at the start of the next one. A line of such words follows the line before it, and
  does not count as not found. They do not count towards confidences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.alignment.graph import (
    PADDING_FRAMES,
    Columns,
    LyricsGraph,
    Prices,
    Spelling,
    build_graph,
    line_windows,
    most_likely_scores,
    path_scores,
)
from lyrics_asr.alignment.search import best_path
from lyrics_asr.lyrics.spelling import spell_by_sound
from lyrics_asr.lyrics.text import LyricLine, Lyrics
from lyrics_asr.options import AlignmentOptions
from lyrics_asr.types import (
    Alignment,
    AlignmentError,
    Emissions,
    MissingLine,
    Segment,
    TimedLine,
    TimedWord,
    Vocabulary,
    mean_confidence,
)

_MAX_SEARCHES = 3
"""Where the lyrics are not sung as written, what right lines cost is only known after a search."""
_SUNG_QUANTILE = 0.4
"""Some lines on a path may not be sung, so that the median of the costs would be too high."""
_UNCOVERED_PAUSE_SECONDS = 1.0
_MIN_UNCOVERED_SECONDS = 2.0
_MIN_UNCOVERED_LETTERS_HZ = 2.0
"""Singing without lyrics: pauses in it are shorter, it lasts longer, and has more letters per second."""


def align_lyrics(
    emissions: Emissions,
    lyrics: Lyrics,
    *,
    language: str = "en",
    options: AlignmentOptions | None = None,
    keep_all: bool = False,
    use_times: bool = False,
) -> Alignment:
    """Find what was sung of the lyrics, and the time of every word.

    Args:
        emissions: emissions of the whole song.
        lyrics: lyrics in the order in which they are sung, as far as known.
        language: language of the lyrics, to verbalize digits and symbols.
        options: prices of the graph.
        keep_all: whether every line was sung, once and in order.
        use_times: whether each line is sung near the time that its file gives, see `AlignmentOptions.margin_seconds`.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    options = options or AlignmentOptions()
    spelled = _spell(lyrics, emissions.vocabulary, language)
    scores = path_scores(emissions, options).numpy()
    windows = None
    if use_times:
        guided = [lyrics.lines[number] for number in spelled.numbers]
        windows = line_windows(guided, emissions, options.margin_seconds)
    graph = build_graph(spelled.spellings, emissions.vocabulary, options, None, windows)
    _check_fit(graph, lyrics, emissions)
    path = best_path(scores, graph.graph)
    if not keep_all:
        graph, path = _search(scores, graph, path, spelled, emissions.vocabulary, options)
    visits = _visits(path, graph)
    log_probs = _letter_log_probs(emissions, graph, path)
    lines, found = list[TimedLine](), set[int]()
    for number in spelled.unspelled_after(-1):
        lines.append(_unspelled_line(lyrics, number, emissions.seconds(0)))
    for visit in visits:
        number = spelled.numbers[visit.line]
        line, spans = lyrics.lines[number], _word_spans(visit, path, graph, log_probs)
        lines.append(_timed_line(line, number, spelled.is_spelled[number], spans, number in found, emissions))
        if number not in found:
            for unspelled in spelled.unspelled_after(number):
                lines.append(_unspelled_line(lyrics, unspelled, lines[-1].end_seconds))
        found.add(number)
    missing = tuple(
        MissingLine(lyrics.lines[number].text, number, lyrics.lines[number].words)
        for number in spelled.numbers
        if number not in found
    )
    return Alignment(tuple(lines), missing, _uncovered(scores, path, graph, emissions))


@dataclass(frozen=True)
class _Spelled:
    """The lines that can be spelled.

    Args:
        spellings: words of these lines that can be spelled.
        numbers: number of each of these lines in the lyrics.
        is_spelled: for every line of the lyrics, which words can be spelled.
    """

    spellings: tuple[tuple[Spelling, ...], ...]
    numbers: tuple[int, ...]
    is_spelled: tuple[tuple[bool, ...], ...]

    def unspelled_after(self, number: int) -> Sequence[int]:
        """The lines between this one and the next that can be spelled."""
        after = number + 1
        while after < len(self.is_spelled) and not any(self.is_spelled[after]):
            after += 1
        return range(number + 1, after)


@dataclass(frozen=True)
class _Visit:
    """Frames [start, end) in which a line of the graph is sung."""

    line: int
    start: int
    end: int


@dataclass(frozen=True)
class _Span:
    """The frames [start, end) of a word, padding included, and its confidence."""

    start: int
    end: int
    confidence: float


def _spell(lyrics: Lyrics, vocabulary: Vocabulary, language: str) -> _Spelled:
    if not vocabulary.character_ids:
        spelled: list[list[Spelling]] = [[() for _ in line.words] for line in lyrics.lines]
    else:
        spelled = [[spell_by_sound(word, vocabulary, language) for word in line.words] for line in lyrics.lines]
    return _Spelled(
        tuple(tuple(filter(None, line)) for line in spelled if any(line)),
        tuple(number for number, line in enumerate(spelled) if any(line)),
        tuple(tuple(map(bool, line)) for line in spelled),
    )


def _check_fit(graph: LyricsGraph, lyrics: Lyrics, emissions: Emissions) -> None:
    frames, words = len(emissions.log_probs), sum(len(line.words) for line in lyrics.lines)
    if not graph.words:
        raise AlignmentError(
            f"none of the {words} words can be spelled with the model's letters; check that the lyrics are text"
        )
    # Fillers and most blanks may be left out, and the pauses at both ends of the song are in the padding.
    needed = np.count_nonzero(~graph.graph.skips) - 2 * PADDING_FRAMES
    if needed > frames:
        raise AlignmentError(
            f"the lyrics' {words} words need at least {needed} frames ({int(graph.letters.sum())} letters), but the "
            f"song has {frames} frames in {emissions.duration_seconds:.1f} s; check that the lyrics belong to this song"
        )


def _search(
    scores: NDArray[np.float32],
    forced: LyricsGraph,
    path: NDArray[np.int32],
    spelled: _Spelled,
    vocabulary: Vocabulary,
    options: AlignmentOptions,
) -> tuple[LyricsGraph, NDArray[np.int32]]:
    """The best path where lines may be left out and repeated, and its graph, from the forced alignment."""
    best = most_likely_scores(scores, vocabulary)
    backwards = [[word[::-1] for word in line[::-1]] for line in spelled.spellings[::-1]]
    decoys = build_graph(backwards, vocabulary, options, None)
    not_sung = _cost_quantile(scores, best, decoys, best_path(scores, decoys.graph), 0.5)
    graph = forced
    for _ in range(_MAX_SEARCHES):
        sung = _cost_quantile(scores, best, graph, path, _SUNG_QUANTILE)
        difference = max(not_sung - sung, options.min_cost_difference)
        prices = Prices(
            letter=sung + options.letter * (not_sung - sung),
            omitted_letter=min(options.omitted_letter / difference, options.max_omitted_letter),
        )
        graph = build_graph(spelled.spellings, vocabulary, options, prices, forced.graph.windows)
        path = best_path(scores, graph.graph)
        lines = [visit.line for visit in _visits(path, graph)]
        if not lines or lines == list(range(len(spelled.spellings))):
            break
    return graph, path


def _cost_quantile(
    scores: NDArray[np.float32],
    best: NDArray[np.float32],
    graph: LyricsGraph,
    path: NDArray[np.int32],
    quantile: float,
) -> float:
    """Quantile over all letters of the cost per letter of their line."""
    cost = np.concatenate([[0.0], np.cumsum(best - scores[np.arange(len(path)), graph.graph.columns[path]])])
    visits = _visits(path, graph)
    letters = graph.letters[[visit.line for visit in visits]]
    costs = np.array([cost[visit.end] - cost[visit.start] for visit in visits]) / letters
    order = np.argsort(costs)
    cumulative = np.cumsum(letters[order])
    return float(costs[order][np.searchsorted(cumulative, quantile * cumulative[-1])])


def _visits(path: NDArray[np.int32], graph: LyricsGraph) -> list[_Visit]:
    """The lines on a path, in order of time."""
    line = np.searchsorted(graph.graph.gaps, path, side="right") - 1
    line[path < graph.graph.gaps[line] + 2] = -1
    edges = [0, *(1 + np.flatnonzero(np.diff(line))).tolist(), len(line)]
    return [_Visit(int(line[a]), a, b) for a, b in pairwise(edges) if line[a] >= 0]


def _word_spans(
    visit: _Visit, path: NDArray[np.int32], graph: LyricsGraph, log_probs: NDArray[np.float64]
) -> list[_Span]:
    """The spans of the words of a visit that can be spelled."""
    states = path[visit.start : visit.end]
    spans = []
    for first, last in graph.words[visit.line]:
        start, end = visit.start + np.searchsorted(states, [first, last])
        letters = log_probs[start:end][graph.is_letter[path[start:end]]]
        spans.append(_Span(int(start), int(end), math.exp(min(0.0, float(letters.mean())))))
    return spans


def _letter_log_probs(emissions: Emissions, graph: LyricsGraph, path: NDArray[np.int32]) -> NDArray[np.float64]:
    """The model's log-probability of the letter at each frame of the path; 0 where there is none."""
    made, columns = Columns.after(emissions.vocabulary), graph.graph.columns[path]
    values = np.zeros(len(path))
    frames = np.flatnonzero(graph.is_letter[path])
    columns = columns[frames]
    is_wildcard = columns == made.wildcard
    given = emissions.log_probs.numpy()[frames - PADDING_FRAMES, np.where(is_wildcard, 0, columns)]
    guess = -math.log(len(emissions.vocabulary.character_ids))
    values[frames] = np.maximum(np.where(is_wildcard, guess, given), _MIN_LOG_PROB)
    return values


_MIN_LOG_PROB = -50.0
"""A floor that keeps confidences above 0."""


def _timed_line(
    line: LyricLine,
    number: int,
    is_spelled: Sequence[bool],
    spans: Sequence[_Span],
    is_repeated: bool,
    emissions: Emissions,
) -> TimedLine:
    remaining = iter(spans)
    now = spans[0].start
    words = []
    for text, spelled in zip(line.words, is_spelled, strict=True):
        span = next(remaining) if spelled else _Span(now, now, 0.0)
        now = span.end
        start_seconds = emissions.seconds(span.start - PADDING_FRAMES)
        words.append(TimedWord(text, start_seconds, emissions.seconds(now - PADDING_FRAMES), span.confidence))
    confidence = mean_confidence([span.confidence for span in spans])
    return TimedLine(
        line.text,
        words[0].start_seconds,
        words[-1].end_seconds,
        confidence,
        tuple(words),
        status="repeated" if is_repeated else "sung",
        number=number,
    )


def _unspelled_line(lyrics: Lyrics, number: int, seconds: float) -> TimedLine:
    line = lyrics.lines[number]
    words = tuple(TimedWord(text, seconds, seconds, 0.0) for text in line.words)
    return TimedLine(line.text, seconds, seconds, 0.0, words, number=number)


def _uncovered(
    scores: NDArray[np.float32], path: NDArray[np.int32], graph: LyricsGraph, emissions: Emissions
) -> tuple[Segment, ...]:
    """Singing between the lines: stretches in which the model hears letters."""
    made = Columns.after(emissions.vocabulary)
    line = np.searchsorted(graph.graph.gaps, path, side="right") - 1
    is_gap = path < graph.graph.gaps[line] + 2
    heard = np.flatnonzero(is_gap & (scores[:, made.wildcard] > scores[:, made.line_pause]))
    frame_seconds = emissions.grid.frame_seconds
    in_line = np.cumsum(~is_gap)
    breaks = (np.diff(heard) * frame_seconds > _UNCOVERED_PAUSE_SECONDS) | (np.diff(in_line[heard]) > 0)
    segments = []
    for frames in np.split(heard, 1 + np.flatnonzero(breaks)):
        if not len(frames):
            continue
        seconds = (frames[-1] - frames[0]) * frame_seconds
        letters = 1 + np.count_nonzero(np.diff(frames) > 1)
        if seconds >= _MIN_UNCOVERED_SECONDS and letters >= _MIN_UNCOVERED_LETTERS_HZ * seconds:
            start, end = (emissions.seconds(int(frame) - PADDING_FRAMES) for frame in (frames[0], frames[-1] + 1))
            segments.append(Segment(start, end))
    return tuple(segments)
