"""Lyrics as a graph of lines, and the scores of its states at every frame.

Conventions
- A line is a chain of its letters, word pieces or phonemes, all called letters here. Between two letters of a word is a
  blank, which may be left out unless the letters are equal; between two words is a pause of at least one frame, which
  may be left out like a blank if the vocabulary has no word delimiter. Lines and gaps are those of `search`.
- CTC has a single blank, for the gap between two letters as for a solo of a minute, and a path may stay in it for free.
  Singers hold a word together and pause between lines, so pauses have a penalty, which helps weak models most. A
  penalty of frame / m per frame corresponds to a geometric distribution of mean length m (it is -ln(1 - frame / m), to
  first order). Pauses between lines and at both ends of the song are free, and so are pauses between words in very
  long lines, which are lyrics without line breaks.
- Vocables ("ooh ooh ooh") are held for seconds, and a model may hear no letter in most of that. In a line that repeats
  few letters, a pause between words may also be of any length at a price.
- In a pause, the blank and the word delimiter are equivalent.
- With a small probability, a frame may be any symbol, whatever the model says. Otherwise one second in which the model
  is confidently wrong would outweigh the rest of the song.
- A letter that is not in the vocabulary, and has no sound in its letters, is a wildcard: it matches the most likely
  letter of its frames.
- Singing that no line covers is explained by a filler (a garbage model, as in keyword spotting): the most likely symbol
  of every frame, minus a price per second.
- The cost of a line is the score of the most likely symbols of its frames, minus the score of its own symbols.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from lyrics_asr.alignment.search import ANY_FRAME, LineGraph
from lyrics_asr.emissions import Emissions
from lyrics_asr.lyrics.text import LyricLine
from lyrics_asr.options import AlignmentOptions
from lyrics_asr.types import WILDCARD, Vocabulary

PADDING_FRAMES = 1
"""Padding frames before and after the song, which belong to pauses."""
_PADDING_LOG_PROB = -50.0
_MOST_LETTERS_OF_VOCABLES = 4  # different ones in a line, each of them twice or more on average
_LONG_PAUSE_PRICE = 2.0  # between vocables

Spelling = tuple[int, ...]
"""A word as columns of the vocabulary, see `lyrics.spelling`."""


@dataclass(frozen=True)
class Columns:
    """Columns after those of the vocabulary: a wildcard, the pauses between words and between lines, and the filler."""

    wildcard: int
    word_pause: int
    line_pause: int
    filler: int

    @classmethod
    def after(cls, vocabulary: Vocabulary) -> "Columns":
        """The columns that follow those of `vocabulary`."""
        first = len(vocabulary.tokens)
        return cls(first, first + 1, first + 2, first + 3)


@dataclass(frozen=True)
class Prices:
    """Prices that depend on how well the model understands the song.

    Args:
        letter: score of each letter that is sung. A line that costs more than this per letter is better left out.
        omitted_letter: further price of each letter that is left out.
    """

    letter: float
    omitted_letter: float


@dataclass(frozen=True)
class LyricsGraph:
    """The graph of lyrics.

    Args:
        graph: what the search needs.
        words: half-open range of the states of each word, line by line.
        letters: number of letters of each line.
        is_letter: whether each state is a letter; the others are blanks, pauses and fillers.
        is_wildcard: whether each state is a wildcard.
        needed_frames: frames of the shortest path that sings every line, without the pauses at both ends.
    """

    graph: LineGraph
    words: tuple[tuple[tuple[int, int], ...], ...]
    letters: NDArray[np.float64]
    is_letter: NDArray[np.bool_]
    is_wildcard: NDArray[np.bool_]
    needed_frames: int


def build_graph(
    lines: Sequence[Sequence[Spelling]],
    vocabulary: Vocabulary,
    options: AlignmentOptions,
    prices: Prices | None,
    windows: NDArray[np.int64] | None = None,
) -> LyricsGraph:
    """Arrange lines in a graph.

    Args:
        lines: spelled words; no line and no word is empty.
        vocabulary: of the acoustic model.
        options: prices.
        prices: further prices; None if every line is sung once, in order.
        windows: frames [start, end) in which each line is sung, padding included; None for the whole song.
    """
    made = Columns.after(vocabulary)
    columns, skips, gaps, long_pauses = list[int](), list[bool](), list[int](), list[int]()
    words, letters = list[tuple[tuple[int, int], ...]](), list[int]()

    def add(column: int, *, skip: bool) -> None:
        columns.append(column)
        skips.append(skip)

    def add_gap() -> None:
        gaps.append(len(columns))
        add(made.line_pause, skip=False)
        add(made.filler, skip=True)

    def add_word(spelling: Spelling, last: int | None) -> tuple[int, int]:
        """Add a word after a pause; `last` is the letter before the pause, where the pause may be left out."""
        start, before = len(columns), made.word_pause
        for token in spelling:
            column = made.wildcard if token == WILDCARD else token
            if token == vocabulary.word_delimiter_id:
                column = made.word_pause
            has_blank = made.word_pause not in (before, column)
            if has_blank:
                add(vocabulary.blank_id, skip=False)
            previous = before if has_blank else last
            add(column, skip=previous is not None and (column != previous or column == made.wildcard))
            before, last = column, None
        return start, len(columns)

    for line in lines:
        between = made.word_pause if len(line) <= options.max_line_words else made.line_pause
        may_be_held = _repeats_few_letters(line, vocabulary)
        add_gap()
        ranges = list[tuple[int, int]]()
        for spelling in line:
            last = None
            if ranges:
                last = columns[-1] if vocabulary.word_delimiter_id is None and not may_be_held else None
                if may_be_held:
                    long_pauses.append(len(columns))
                    add(made.line_pause, skip=False)
                add(between, skip=may_be_held)
            ranges.append(add_word(spelling, last))
        words.append(tuple(ranges))
        letters.append(sum(map(len, line)))
    add_gap()
    counts = np.array(letters, dtype=np.float64)
    pause = np.array(gaps, dtype=np.int32)
    next_scores, skip_scores = np.zeros(len(columns)), np.where(skips, 0.0, -np.inf)
    next_scores[long_pauses] = -_LONG_PAUSE_PRICE
    next_scores[pause + 1] = skip_scores[pause + 1] = -math.inf if prices is None else -options.filler
    first = pause[:-1] + 2
    next_scores[first] = skip_scores[first] = counts * (0.0 if prices is None else prices.letter)
    omitted = options.omitted_line + (0.0 if prices is None else prices.omitted_letter) * counts
    graph = LineGraph(
        columns=np.array(columns, dtype=np.int32),
        next_scores=next_scores,
        skip_scores=skip_scores,
        gaps=pause,
        omission_prices=np.concatenate([[0.0], omitted.cumsum()]),
        omission_start_price=math.inf if prices is None else options.omission,
        jump_price=math.inf if prices is None else options.jump,
        windows=windows,
    )
    pauses = [vocabulary.blank_id, made.word_pause, made.line_pause, made.filler]
    return LyricsGraph(
        graph,
        tuple(words),
        counts,
        is_letter=~np.isin(graph.columns, pauses),
        is_wildcard=graph.columns == made.wildcard,
        needed_frames=skips.count(False) - 2,
    )


def _repeats_few_letters(line: Sequence[Spelling], vocabulary: Vocabulary) -> bool:
    letters = [token for spelling in line for token in spelling if token != vocabulary.word_delimiter_id]
    different = len(set(letters))
    return WILDCARD not in letters and different <= min(_MOST_LETTERS_OF_VOCABLES, len(letters) / 2)


def line_windows(lines: Sequence[LyricLine], emissions: Emissions, margin_seconds: float) -> NDArray[np.int64]:
    """Frames [start, end) in which each line is sung, from the times of its file; the whole song where it has none.

    Args:
        lines: lines of the lyrics.
        emissions: emissions of the song.
        margin_seconds: how far off the times may be.
    """
    windows = []
    for line in lines:
        start, end = 0, ANY_FRAME
        if line.window is not None:
            start = PADDING_FRAMES + emissions.grid.frame(line.window.start_seconds - margin_seconds)
            if line.window.end_seconds > line.window.start_seconds:  # else the end is not known
                end = PADDING_FRAMES + emissions.grid.frame(line.window.end_seconds + margin_seconds) + 1
        windows.append((start, end))
    return np.array(windows, dtype=np.int64).reshape(-1, 2)


def path_scores(emissions: Emissions, options: AlignmentOptions) -> Float[Tensor, "padded columns"]:
    """Scores of all columns, penalties included, padded with one frame of pause at either end of the song."""
    log_probs, vocabulary = emissions.log_probs, emissions.vocabulary
    anything = torch.full_like(log_probs, math.log(options.anything / log_probs.shape[1]))
    scores = torch.logaddexp(log_probs + math.log1p(-options.anything), anything)
    wildcard = scores[:, list(vocabulary.text_ids.values())].amax(dim=1, keepdim=True)
    pauses = [vocabulary.blank_id]
    if vocabulary.word_delimiter_id is not None:
        pauses.append(vocabulary.word_delimiter_id)
    pause = scores[:, pauses].logsumexp(dim=1, keepdim=True)
    frame_seconds = emissions.grid.frame_seconds
    filler = torch.maximum(wildcard, pause) - frame_seconds * options.filler_second
    scores[:, vocabulary.blank_id] -= frame_seconds / options.letter_pause_seconds
    scores = torch.cat([scores, wildcard, pause - frame_seconds / options.word_pause_seconds, pause, filler], dim=1)
    padding = torch.full((PADDING_FRAMES, scores.shape[1]), _PADDING_LOG_PROB)
    padding[:, Columns.after(vocabulary).line_pause] = 0.0
    return torch.cat([padding, scores, padding])


def most_likely_scores(scores: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
    """The score of the most likely symbol of every frame, from `path_scores`."""
    made = Columns.after(vocabulary)
    return np.maximum(scores[:, made.wildcard], scores[:, made.line_pause])
