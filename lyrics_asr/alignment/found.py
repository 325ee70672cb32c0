"""The search for what was sung of the lyrics, and the evidence for it.

Conventions
- The prices of the graph adapt to how well the model understands the song: they lie between the cost per letter of the
  lyrics and that of decoys, the same lyrics backwards, which nobody sings.
- Where the lyrics are not sung as written, what right lines cost is only known after a search, which is then repeated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.alignment.confidence import LineEvidence, SongEvidence, WordEvidence
from lyrics_asr.alignment.graph import LyricsGraph, Prices, Spelling, build_graph, most_likely_scores
from lyrics_asr.alignment.search import best_path
from lyrics_asr.options import AlignmentOptions
from lyrics_asr.types import Vocabulary

_MAX_SEARCHES = 3
_SELECTION_COST = 0.5
"""Even of wrong lyrics, a search finds the lines that fit best: they cost so much less per letter than the average."""
_SUNG_QUANTILE = 0.4
"""Some lines on a path may not be sung, so that the median of the costs would be too high."""


@dataclass(frozen=True)
class Visit:
    """Frames [start, end) in which a line of the graph is sung."""

    line: int
    start: int
    end: int


@dataclass(frozen=True)
class WordSpan:
    """The frames [start, end) of a word, padding included.

    Args:
        start: first frame.
        end: end of its last letter.
        probability: geometric mean of its letters' probabilities over their frames.
        evidence: what speaks for the word.
    """

    start: int
    end: int
    probability: float
    evidence: WordEvidence


@dataclass(frozen=True)
class Found:
    """A path through the graph of the lyrics.

    Args:
        graph: the graph.
        path: state of each frame, padding included.
        best_scores: score of the most likely symbol of each frame.
        cost: cumulative cost of the path against these scores, from 0.
        visits: the lines on the path, in order of time.
    """

    graph: LyricsGraph
    path: NDArray[np.int32]
    best_scores: NDArray[np.float32]
    cost: NDArray[np.float64]
    visits: tuple[Visit, ...]

    @property
    def is_in_order(self) -> bool:
        """Whether every line is sung once and in order."""
        return [visit.line for visit in self.visits] == list(range(len(self.graph.words)))

    def letter_cost(self, visit: Visit) -> float:
        """Cost per letter of a line."""
        return float((self.cost[visit.end] - self.cost[visit.start]) / self.graph.letters[visit.line])

    def cost_quantile(self, quantile: float) -> float:
        """Quantile over all letters of the cost per letter of their line; infinite without lines."""
        if not self.visits:
            return float("inf")
        letters = self.graph.letters[[visit.line for visit in self.visits]]
        costs = np.array([self.letter_cost(visit) for visit in self.visits])
        order = np.argsort(costs)
        cumulative = np.cumsum(letters[order])
        return float(costs[order][np.searchsorted(cumulative, quantile * cumulative[-1])])


def find(
    scores: NDArray[np.float32],
    spellings: Sequence[Sequence[Spelling]],
    vocabulary: Vocabulary,
    options: AlignmentOptions,
    *,
    keep_all: bool,
    windows: NDArray[np.int64] | None = None,
) -> tuple[Found, SongEvidence, tuple[tuple[WordSpan, ...], ...]]:
    """Find the lines of the lyrics.

    Args:
        scores: scores from `graph.path_scores`.
        spellings: spelled words of each line.
        vocabulary: of the acoustic model.
        options: prices.
        keep_all: whether every line was sung, once and in order.
        windows: frames in which each line is sung, see `graph.line_windows`; None for all.

    Returns:
        The path, what speaks for the lyrics as a whole, and the words of every visit.
    """
    best = most_likely_scores(scores, vocabulary)

    def path_of(graph: LyricsGraph) -> Found:
        return best_found(scores, best, graph)

    decoy_cost = path_of(build_graph(backwards(spellings[::-1]), vocabulary, options, None)).cost_quantile(0.5)
    forced = found = path_of(build_graph(spellings, vocabulary, options, None, windows))
    for _ in range(0 if keep_all else _MAX_SEARCHES):
        found = path_of(build_graph(spellings, vocabulary, options, prices_for(found, decoy_cost, options), windows))
        if found.is_in_order or not found.visits:
            break
    wildcards = found.graph.is_wildcard.sum() / found.graph.letters.sum()
    costs = [forced.cost_quantile(0.5)]
    if found.visits:
        costs.append(found.cost_quantile(0.5) + _SELECTION_COST)
    song = SongEvidence(decoy_cost - min(costs), decoy_cost, len(spellings), float(wildcards))
    return found, song, word_spans(found, scores, decoy_cost, song)


def best_found(scores: NDArray[np.float32], best: NDArray[np.float32], graph: LyricsGraph) -> Found:
    """The best path through a graph; `best` has the scores of the most likely symbols."""
    path = best_path(scores, graph.graph)
    cost = best - scores[np.arange(len(path)), graph.graph.columns[path]]
    cumulative = np.concatenate([[0.0], np.cumsum(cost, dtype=np.float64)])
    return Found(graph, path, best, cumulative, _visits(path, graph))


def backwards(lines: Sequence[Sequence[Spelling]]) -> list[list[Spelling]]:
    """Decoys: each line from its last letter to its first."""
    return [[word[::-1] for word in line[::-1]] for line in lines]


def prices_for(found: Found, decoy_cost: float, options: AlignmentOptions) -> Prices:
    """Prices between the cost of the lines that were found and that of decoys."""
    margin = decoy_cost - found.cost_quantile(_SUNG_QUANTILE)
    return Prices(
        letter=decoy_cost - (1 - options.letter) * margin,
        omitted_letter=min(
            options.omitted_letter / max(margin, options.min_cost_difference), options.max_omitted_letter
        ),
    )


def written_lines(visits: Sequence[Visit], spellings: Sequence[Sequence[Spelling]]) -> tuple[int, ...]:
    """The line of the lyrics that each visit sings.

    Of equal lines, the path may sing one twice and leave out another, or sing them in any order, at little or no price.
    A line is sung again only if none of its copies is left, and copies are sung in order. Of several that are left, the
    one closest to the line after the previous visit is taken.
    """
    copies: dict[Sequence[Spelling], list[int]] = {}
    for line, spelling in enumerate(spellings):
        copies.setdefault(tuple(spelling), []).append(line)
    left = set(range(len(spellings))) - {visit.line for visit in visits}
    lines, first_visits = list[int](), dict[int, int]()
    for place, visit in enumerate(visits):
        line = visit.line
        if line in first_visits:
            others = [copy for copy in copies[tuple(spellings[line])] if copy in left]
            _, line = min(((abs(copy - lines[-1] - 1), copy) for copy in others), default=(0, line))
            left.discard(line)
        first_visits.setdefault(line, place)
        lines.append(line)
    for equal in copies.values():
        places = sorted(first_visits[line] for line in equal if line in first_visits)
        for place, line in zip(places, sorted(lines[place] for place in places), strict=True):
            lines[place] = line
    return tuple(lines)


def _visits(path: NDArray[np.int32], graph: LyricsGraph) -> tuple[Visit, ...]:
    line = np.searchsorted(graph.graph.gaps, path, side="right") - 1
    line[path < graph.graph.gaps[line] + 2] = -1
    edges = [0, *(1 + np.flatnonzero(np.diff(line))).tolist(), len(line)]
    return tuple(Visit(int(line[a]), a, b) for a, b in pairwise(edges) if line[a] >= 0)


def word_spans(
    found: Found, scores: NDArray[np.float32], decoy_cost: float, song: SongEvidence
) -> tuple[tuple[WordSpan, ...], ...]:
    """The words of every visit."""
    is_letter = found.graph.is_letter[found.path]
    path_scores = scores[np.arange(len(found.path)), found.graph.graph.columns[found.path]]
    timed, durations = [], []
    for visit in found.visits:
        states = found.path[visit.start : visit.end]
        words = found.graph.words[visit.line]
        spans = visit.start + np.searchsorted(states, words)
        letters = np.array([np.count_nonzero(found.graph.is_letter[first:last]) for first, last in words])
        timed.append((visit, spans, letters))
        durations.append((spans[:, 1] - spans[:, 0]) / letters)
    median = np.median(np.concatenate(durations)) if durations else 1.0
    result = []
    for (visit, spans, letters), duration in zip(timed, durations, strict=True):
        # A wildcard fits anything: it says as much for the lyrics as a decoy.
        wildcards = [np.count_nonzero(found.graph.is_wildcard[slice(*word)]) for word in found.graph.words[visit.line]]
        guessed = decoy_cost * np.array(wildcards)
        line = LineEvidence(decoy_cost - found.letter_cost(visit) - guessed.sum() / letters.sum(), song)
        costs = found.cost[spans[:, 1]] - found.cost[spans[:, 0]] + guessed
        words_of_line = []
        for i, (start, end) in enumerate(spans.tolist()):
            around = slice(max(0, i - 1), i + 2)
            margin = decoy_cost - costs[around].sum() / letters[around].sum()
            stretch = math.log(duration[i] / median)
            probability = math.exp(path_scores[start:end][is_letter[start:end]].mean(dtype=np.float64))
            words_of_line.append(WordSpan(start, end, probability, WordEvidence(float(margin), stretch, line)))
        result.append(tuple(words_of_line))
    return tuple(result)
