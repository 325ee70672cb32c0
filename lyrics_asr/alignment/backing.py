"""Backing vocals, which may overlap the lead: found after it in the same emissions.

Conventions
- The letters of the lead are its own: an echo is not found in the words that it repeats.
- The lead sings on while backing vocals pause: their pauses may be any symbol, at the usual penalties.
- A phrase is searched from the start of the line that it follows in the lyrics to the end of the line sung after that.
- A phrase is left out if its letters cost more than half-way from those of the lead to those of decoys. The decoys are
  the phrases backwards: over the lead's pauses and letters, wrong words find more room too.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.alignment.confidence import SongEvidence
from lyrics_asr.alignment.found import (
    Found,
    Visit,
    WordSpan,
    backwards,
    best_found,
    prices_for,
    word_spans,
)
from lyrics_asr.alignment.graph import Columns, Spelling, build_graph
from lyrics_asr.emissions import Emissions
from lyrics_asr.options import AlignmentOptions

_SHOULDER_FRAMES = 3
"""Frames beside those of a letter in which its probability may still be raised."""


def find_backing(
    scores: NDArray[np.float32],
    lead: Found,
    phrases: Sequence[Sequence[Spelling]],
    windows: NDArray[np.int64],
    song: SongEvidence,
    emissions: Emissions,
    options: AlignmentOptions,
    *,
    keep_all: bool,
) -> tuple[Found, tuple[tuple[WordSpan, ...], ...]]:
    """Find phrases, in order, that may overlap the lead.

    Args:
        scores: scores from `graph.path_scores`.
        lead: what was found of the other lines.
        phrases: spelled words of each phrase.
        windows: frames [start, end) in which each phrase is sung, see `windows_beside`.
        song: evidence for the lyrics.
        emissions: emissions of the song.
        options: prices.
        keep_all: whether every phrase was sung.

    Returns:
        The path, and the words of every visit.
    """
    vocabulary = emissions.vocabulary
    free = _without_lead(scores, lead, emissions, options)
    decoys = build_graph(backwards(phrases), vocabulary, options, None, windows)
    decoy_cost = best_found(free, lead.best_scores, decoys).cost_quantile(0.5)
    prices = None if keep_all else replace(prices_for(lead, decoy_cost, options), omitted_letter=0.0)
    unbiased = replace(options, omission=0.0, omitted_line=0.0, jump=math.inf)
    graph = build_graph(phrases, vocabulary, unbiased, prices, windows)
    found = best_found(free, lead.best_scores, graph)
    return found, word_spans(found, free, decoy_cost, song)


def windows_beside(lines: Sequence[int], visits: Sequence[Visit], frames: int) -> NDArray[np.int64]:
    """Frames [start, end) from the start of the line before each phrase to the end of the one sung after that line.

    Args:
        lines: numbers of the phrases.
        visits: the other lines, in order of time.
        frames: of the song.
    """
    windows = []
    for line in lines:
        before = max((visit.line for visit in visits if visit.line < line), default=None)
        place = next((i for i, visit in enumerate(visits) if visit.line == before), -1)
        start = visits[place].start if place >= 0 else 0
        end = visits[place + 1].end if place + 1 < len(visits) else frames
        windows.append((start, end))
    return np.array(windows, dtype=np.int64).reshape(-1, 2)


def _without_lead(
    scores: NDArray[np.float32],
    lead: Found,
    emissions: Emissions,
    options: AlignmentOptions,
) -> NDArray[np.float32]:
    """Scores in which the lead's letters are as unlikely as anything, and pauses as likely as what is sung in them."""
    vocabulary, frame_seconds = emissions.vocabulary, emissions.grid.frame_seconds
    best = lead.best_scores
    made, free = Columns.after(vocabulary), scores.copy()
    lowest = math.log(options.anything / len(vocabulary.tokens))
    edges = [0, *(1 + np.flatnonzero(np.diff(lead.path))).tolist(), len(lead.path)]
    for start, end in pairwise(edges):
        if lead.graph.is_letter[state := lead.path[start]]:
            own = slice(max(0, start - _SHOULDER_FRAMES), end + _SHOULDER_FRAMES)
            column = lead.graph.graph.columns[state]
            free[own, column] = np.minimum(free[own, column], lowest)
    free[:, vocabulary.blank_id] = best - frame_seconds / options.letter_pause_seconds
    free[:, made.word_pause] = best - frame_seconds / options.word_pause_seconds
    free[:, made.line_pause] = best
    return free
