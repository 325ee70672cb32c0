"""Timed words to training chunks: windows of a song that split no word and that CTC can learn from.

Conventions
- Words that overlap in time by a millisecond or more stay together. Smaller overlaps come from rounded times; chunks
  may overlap by as much.
- A chunk holds as many words as fit. It has margins of `_MARGIN_SECONDS`, or of half the distance to the next word if
  that is less, so that chunks of a song do not overlap and no chunk contains part of a neighbouring word.
- A silent chunk is a window of a pause, with the same margins. The pause may have accompaniment.
- CTC needs a frame for each token, and another one between two equal tokens. Tokens are the letters a to z and the
  apostrophe, the word delimiter between words, and one for each letter beyond these; frames are those of Wav2Vec2. With
  fewer frames the loss is infinite.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.types import WILDCARD, FrameGrid, TimedWord, Vocabulary, min_frames

WAV2VEC2_GRID = FrameGrid(stride_samples=320, receptive_field_samples=400, sample_rate_hz=16_000)
"""The frames of the published Wav2Vec2 models (Baevski et al. 2020, section 4.2): 20 ms apart, 25 ms long."""

PAST_THE_END = "past the end of the audio"

_MARGIN_SECONDS = 0.25
_TOUCHING_SECONDS = 0.001
_SHORTEST_SILENCE_SECONDS = 1.0
_LETTERS = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), blank_id=0, word_delimiter_id=1)


@dataclass(frozen=True)
class Chunk:
    """A window of a song and the words in it, by their indices in the song."""

    start_seconds: float
    end_seconds: float
    words: tuple[int, ...]


@dataclass(frozen=True)
class ChunkedSong:
    """The chunks of a song in the order of time, and the words that are in none.

    Args:
        chunks: with the indices of their words in the order of time.
        left_out: the words that are in no chunk, by reason.
        crowded_chunks: how many chunks were dropped because CTC cannot place their tokens.
        nonfinite_chunks: how many chunks were dropped because of their samples, see `finite_audio`.
    """

    chunks: tuple[Chunk, ...]
    left_out: Counter[str]
    crowded_chunks: int
    nonfinite_chunks: int = 0


def chunk_song(
    words: Sequence[TimedWord],
    duration_seconds: float,
    *,
    language: str = "en",
    options: ChunkOptions | None = None,
    grid: FrameGrid = WAV2VEC2_GRID,
) -> ChunkedSong:
    """Cut a song into chunks.

    Args:
        words: of the song, in any order.
        duration_seconds: length of its audio.
        language: in which digits and symbols are spelled out.
        options: None for the defaults.
        grid: frames of the acoustic model to be trained.
    """
    options = options or ChunkOptions()
    longest_seconds = options.chunk_seconds - 2 * _MARGIN_SECONDS
    left_out: Counter[str] = Counter()
    kept = []
    for number in sorted(range(len(words)), key=lambda number: words[number].start_seconds):
        word = words[number]
        if not any(token != WILDCARD for token in _spelled(word.text, language)):
            left_out["without a letter"] += 1
        elif word.end_seconds > duration_seconds:
            left_out[PAST_THE_END] += 1
        elif word.end_seconds - word.start_seconds > longest_seconds:
            left_out["longer than a chunk"] += 1
        else:
            kept.append(number)
    groups: list[_Run] = []
    for run in _runs(words, kept):
        if run.end_seconds - run.start_seconds > longest_seconds:
            left_out["overlapping for longer than a chunk"] += len(run.words)
        elif (
            groups
            and run.start_seconds - groups[-1].end_seconds <= options.pause_seconds
            and run.end_seconds - groups[-1].start_seconds <= longest_seconds
        ):
            groups[-1] = _Run(groups[-1].start_seconds, run.end_seconds, groups[-1].words + run.words)
        else:
            groups.append(run)
    chunks = []
    for group in groups:
        chunk = _with_margins(group, words, duration_seconds)
        frames = grid.count(int((chunk.end_seconds - chunk.start_seconds) * grid.sample_rate_hz))
        if min_frames(_tokens((words[number].text for number in chunk.words), language)) > frames:
            left_out["in a chunk with more tokens than frames"] += len(chunk.words)
        else:
            chunks.append(chunk)
    return ChunkedSong(tuple(chunks), left_out, len(groups) - len(chunks))


def silent_chunks(
    words: Sequence[TimedWord], duration_seconds: float, options: ChunkOptions | None = None
) -> tuple[Chunk, ...]:
    """Cut the pauses of a song into chunks without words, of `_SHORTEST_SILENCE_SECONDS` or more.

    Args:
        words: all words of the song, in any order.
        duration_seconds: length of its audio.
        options: None for the defaults.
    """
    longest_seconds = (options or ChunkOptions()).chunk_seconds
    chunks, pause_start = [], 0.0
    spans = sorted((word.start_seconds, word.end_seconds) for word in words)
    for start, end in [*spans, (duration_seconds + _MARGIN_SECONDS, math.inf)]:
        pause_end = min(start - _MARGIN_SECONDS, duration_seconds)
        if pause_end - pause_start >= _SHORTEST_SILENCE_SECONDS:
            count = math.ceil((pause_end - pause_start) / longest_seconds)
            edges = [pause_start + (pause_end - pause_start) * i / count for i in range(count + 1)]
            chunks += [Chunk(left, right, ()) for left, right in pairwise(edges)]
        pause_start = max(pause_start, end + _MARGIN_SECONDS)
    return tuple(chunks)


@dataclass(frozen=True)
class _Run:
    """Words that stay together, by their indices, from the start of the first to the end of the last."""

    start_seconds: float
    end_seconds: float
    words: tuple[int, ...]


def _runs(words: Sequence[TimedWord], numbers: Iterable[int]) -> Iterator[_Run]:
    """Words that overlap, as one; `numbers` are in the order of their starts."""
    run: _Run | None = None
    for number in numbers:
        word = words[number]
        if run is not None and word.start_seconds <= run.end_seconds - _TOUCHING_SECONDS:
            end_seconds = max(run.end_seconds, word.end_seconds)
            run = _Run(run.start_seconds, end_seconds, (*run.words, number))
            continue
        if run is not None:
            yield run
        run = _Run(word.start_seconds, word.end_seconds, (number,))
    if run is not None:
        yield run


def _with_margins(run: _Run, words: Sequence[TimedWord], duration_seconds: float) -> Chunk:
    start, end, own = run.start_seconds, run.end_seconds, frozenset(run.words)
    others = [word for number, word in enumerate(words) if number not in own]
    before = max((word.end_seconds for word in others if word.start_seconds <= start), default=0.0)
    after = min((word.start_seconds for word in others if word.end_seconds >= end), default=duration_seconds)
    return Chunk(
        max(0.0, start - _MARGIN_SECONDS, (min(before, start) + start) / 2),
        min(duration_seconds, end + _MARGIN_SECONDS, (max(after, end) + end) / 2),
        run.words,
    )


def _tokens(texts: Iterable[str], language: str) -> list[int]:
    delimiter = _LETTERS.word_delimiter_id
    assert delimiter is not None
    return [token for text in texts for token in (delimiter, *_spelled(text, language))][1:]


@lru_cache(maxsize=65_536)
def _spelled(text: str, language: str) -> tuple[int, ...]:
    return spell(text, _LETTERS, language)
