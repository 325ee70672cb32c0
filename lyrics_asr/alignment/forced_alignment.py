"""CTC forced alignment of lyrics to a whole song, with a pause penalty.

Conventions
- The path is the best of all paths that spell the lyrics (Viterbi). Two equal letters in a row need a blank between.
- CTC has a single blank, for the gap between two letters as for a solo of a minute, and a path may stay in it for free.
  Singers hold a word together and pause between lines, so pauses have a penalty, which helps weak models most. A
  penalty of frame / m per frame corresponds to a geometric distribution of mean length m (it is -ln(1 - frame / m), to
  first order). The mean is `_LETTER_PAUSE_SECONDS` inside a word and `_WORD_PAUSE_SECONDS` between the words of a line.
  Pauses between lines and at both ends of the song are free, and so are pauses between words in lines of more than
  `_MAX_LINE_WORDS` words, which are lyrics without line breaks.
- In a pause, the blank and the word delimiter are equivalent. There is at least one frame of pause between two words.
- With probability `_ANYTHING`, a frame may be any symbol, whatever the model says. Otherwise one second in which the
  model is confidently wrong would outweigh the rest of the song.
- A word starts with the first frame of its first token and ends with the last frame of its last token.
- A letter that is not in the vocabulary is a wildcard: it matches the most likely letter of its frames.
- The confidence of a word is the geometric mean of its letters' probabilities, as the model gave them, over the frames
  they are aligned to, without pauses. The probability of a wildcard is that of the letter it matched. The confidence of
  a line is the geometric mean of its words' confidences.
- A word that cannot be spelled, such as "-", has zero length and confidence 0. It is placed at the end of the spelled
  word before it in its line, else at the start of the next one, else at the end of the previous line, else at the start
  of the song. It does not count towards the confidence of its line.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.ctc_paths import WordSpan, word_spans
from lyrics_asr.lyrics.spelling import WILDCARD, spell
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.types import AlignmentError, Emissions, TimedLine, TimedWord, Vocabulary, mean_confidence, min_frames

_LETTER_PAUSE_SECONDS = 0.1
_WORD_PAUSE_SECONDS = 0.2
_MAX_LINE_WORDS = 16
_ANYTHING = 0.01
_MIN_LOG_PROB = -50.0
"""A floor that keeps confidences finite, and reserves the padding frames at both ends of a song for pauses."""


def align_lyrics(emissions: Emissions, lyrics: Lyrics, *, language: str = "en") -> tuple[TimedLine, ...]:
    """Find the time of every word of the lyrics.

    Args:
        emissions: of the whole song.
        lyrics: what is sung, in order.
        language: language of the lyrics, to verbalize digits and symbols.

    Returns:
        The lines and words of the lyrics as written, with times and confidences.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    columns = _ExtraColumns.after(emissions.vocabulary)
    spellings = [[spell(word, emissions.vocabulary, language) for word in line.words] for line in lyrics.lines]
    target = _join_words(spellings, emissions.vocabulary, columns)
    _check_fit(target, emissions)
    found = iter(
        word_spans(
            _path_scores(emissions, columns),
            target.tokens,
            [word for word in target.words if word is not None],
            emissions.vocabulary.blank_id,
            pauses=(columns.word_pause, columns.line_pause),
            confidence_log_probs=_confidence_log_probs(emissions),
        )
    )
    spans = iter([None if word is None else _without_padding(next(found)) for word in target.words])

    lines: list[TimedLine] = []
    line_end = 0
    for line in lyrics.lines:
        line_spans = [next(spans) for _ in line.words]
        placed = _place_unspelled_words(line_spans, line_end)
        words = tuple(
            TimedWord(text, emissions.seconds(span.start), emissions.seconds(span.end), span.confidence)
            for text, span in zip(line.words, placed, strict=True)
        )
        score = mean_confidence([span.confidence for span in line_spans if span is not None])
        lines.append(TimedLine(line.text, words[0].start_seconds, words[-1].end_seconds, score, words))
        line_end = placed[-1].end
    return tuple(lines)


@dataclass(frozen=True)
class _ExtraColumns:
    """Columns after those of the vocabulary.

    Args:
        wildcards: any letter; two that alternate, so that neighbouring wildcards need no blank between them.
        word_pause: pause between the words of a line.
        line_pause: pause between lines.
    """

    wildcards: tuple[int, int]
    word_pause: int
    line_pause: int

    @classmethod
    def after(cls, vocabulary: Vocabulary) -> "_ExtraColumns":
        """The columns that follow those of `vocabulary`."""
        first = len(vocabulary.tokens)
        return cls((first, first + 1), first + 2, first + 3)


@dataclass(frozen=True)
class _Target:
    """The tokens of the lyrics, pauses included, and the half-open range of each word; None if it has no tokens."""

    tokens: tuple[int, ...]
    words: tuple[tuple[int, int] | None, ...]


def _join_words(spellings: list[list[tuple[int, ...]]], vocabulary: Vocabulary, columns: _ExtraColumns) -> _Target:
    """Join the words with pauses between them and at both ends."""
    tokens = [columns.line_pause]
    words: list[tuple[int, int] | None] = []
    for line in spellings:
        between = columns.word_pause if len(line) <= _MAX_LINE_WORDS else columns.line_pause
        is_first = True
        for spelling in line:
            if not spelling:
                words.append(None)
                continue
            if len(tokens) > 1:
                tokens.append(columns.line_pause if is_first else between)
            start = len(tokens)
            for token in spelling:
                if token == WILDCARD:
                    token = columns.wildcards[len(tokens) % 2]
                elif token == vocabulary.word_delimiter_id:
                    token = columns.word_pause
                tokens.append(token)
            words.append((start, len(tokens)))
            is_first = False
    tokens.append(columns.line_pause)
    return _Target(tuple(tokens), tuple(words))


def _check_fit(target: _Target, emissions: Emissions) -> None:
    frames, words = len(emissions.log_probs), len(target.words)
    tokens = target.tokens[1:-1]
    if not tokens or not emissions.vocabulary.character_ids:
        raise AlignmentError(
            f"none of the {words} words can be spelled with the model's letters; check that the lyrics are text"
        )
    needed = min_frames(tokens)
    if needed > frames:
        raise AlignmentError(
            f"the lyrics' {words} words need at least {needed} frames ({len(tokens)} tokens), but the song "
            f"has {frames} frames in {emissions.duration_seconds:.1f} s; check that the lyrics belong to this song"
        )


def _path_scores(emissions: Emissions, columns: _ExtraColumns) -> Float[Tensor, "padded columns"]:
    """Scores of all columns, pause penalties included, padded with one frame of pause at either end of the song."""
    log_probs, vocabulary = emissions.log_probs, emissions.vocabulary
    anything = torch.full_like(log_probs, math.log(_ANYTHING / log_probs.shape[1]))
    scores = _with_wildcards(torch.logaddexp(log_probs + math.log1p(-_ANYTHING), anything), vocabulary)
    pauses = [vocabulary.blank_id]
    if vocabulary.word_delimiter_id is not None:
        pauses.append(vocabulary.word_delimiter_id)
    pause = scores[:, pauses].logsumexp(dim=1, keepdim=True)
    frame_seconds = emissions.grid.frame_seconds
    scores[:, vocabulary.blank_id] -= frame_seconds / _LETTER_PAUSE_SECONDS
    scores = torch.cat([scores, pause - frame_seconds / _WORD_PAUSE_SECONDS, pause], dim=1)
    padding = torch.full((1, scores.shape[1]), _MIN_LOG_PROB)
    padding[0, columns.line_pause] = 0.0
    return torch.cat([padding, scores, padding])


def _confidence_log_probs(emissions: Emissions) -> Float[Tensor, "padded columns"]:
    """The model's log-probabilities in the layout of `_path_scores`; the pause columns are not used and hold zeros."""
    log_probs = _with_wildcards(emissions.log_probs, emissions.vocabulary).clamp(min=_MIN_LOG_PROB)
    return torch.nn.functional.pad(log_probs, (0, 2, 1, 1))


def _with_wildcards(log_probs: Float[Tensor, "frames vocab"], vocabulary: Vocabulary) -> Float[Tensor, "frames _"]:
    any_letter = log_probs[:, list(vocabulary.character_ids.values())].amax(dim=1, keepdim=True)
    return torch.cat([log_probs, any_letter, any_letter], dim=1)


def _without_padding(span: WordSpan) -> WordSpan:
    return WordSpan(span.start - 1, span.end - 1, span.confidence)


def _place_unspelled_words(spans: list[WordSpan | None], line_before_end: int) -> list[WordSpan]:
    now = next((span.start for span in spans if span is not None), line_before_end)
    placed = []
    for span in spans:
        placed.append(span or WordSpan(now, now, 0.0))
        now = placed[-1].end
    return placed
