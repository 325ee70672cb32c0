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
- A letter that is not in the vocabulary, and has no sound in its letters, is a wildcard: it matches the most likely
  letter of its frames.
- The confidence of a word is the geometric mean of its letters' probabilities, as the model gave them, over the frames
  they are aligned to, without pauses. A wildcard says nothing about the lyrics, so that its probability is that of a
  guess among all letters. The confidence of a line is the geometric mean of its words' confidences.
- A word that cannot be spelled, such as "-", has zero length and confidence 0. It is placed at the end of the spelled
  word before it in its line, else at the start of the next one, else at the end of the previous line, else at the start
  of the song. It does not count towards the confidence of its line.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import forced_align

from lyrics_asr.lyrics.spelling import WILDCARD, spell_by_sound
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.types import AlignmentError, Emissions, TimedLine, TimedWord, Vocabulary, mean_confidence, min_frames

_LETTER_PAUSE_SECONDS = 0.1
_WORD_PAUSE_SECONDS = 0.2
_MAX_LINE_WORDS = 16
_ANYTHING = 0.01
_PADDING_FRAMES = 1
"""Padding frames before and after the song, which belong to pauses."""
_MIN_LOG_PROB = -50.0
"""A floor that keeps confidences finite, and reserves the padding frames at both ends of a song for pauses."""


def align_lyrics(emissions: Emissions, lyrics: Lyrics, *, language: str = "en") -> tuple[TimedLine, ...]:
    """Find the time of every word of the lyrics.

    Args:
        emissions: emissions of the whole song.
        lyrics: lyrics in the order in which they are sung.
        language: language of the lyrics, to verbalize digits and symbols.

    Returns:
        The lines and words of the lyrics as written, with times and confidences.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    columns = _ExtraColumns.after(emissions.vocabulary)
    target = _join_words(lyrics, emissions.vocabulary, columns, language)
    _check_fit(target, emissions)
    found = iter(
        word_spans(
            _path_scores(emissions, columns),
            target.tokens,
            list(filter(None, target.words)),
            emissions.vocabulary.blank_id,
            pauses=(columns.word_pause, columns.line_pause),
            confidence_log_probs=_confidence_log_probs(emissions),
        )
    )
    lines: list[TimedLine] = []
    spelled = iter(target.words)
    line_end = _PADDING_FRAMES
    for line in lyrics.lines:
        spans, confidences = [], []
        for _ in line.words:
            spans.append(None if next(spelled) is None else next(found))
            if spans[-1] is not None:
                confidences.append(spans[-1].confidence)
        words = []
        for text, span in zip(line.words, _place_unspelled_words(spans, line_end), strict=True):
            words.append(timed_word(text, span, -_PADDING_FRAMES, emissions))
            line_end = span.end
        lines.append(
            TimedLine(
                line.text, words[0].start_seconds, words[-1].end_seconds, mean_confidence(confidences), tuple(words)
            )
        )
    return tuple(lines)


@dataclass(frozen=True)
class WordSpan:
    """The frames of a word, half open, and its confidence in 0..1."""

    start: int
    end: int
    confidence: float


def word_spans(
    log_probs: Float[Tensor, "frames columns"],
    tokens: Sequence[int],
    words: Sequence[tuple[int, int]],
    blank_id: int,
    *,
    pauses: Collection[int] = (),
    confidence_log_probs: Float[Tensor, "frames columns"] | None = None,
) -> list[WordSpan]:
    """Find each word on the most likely path that spells `tokens`.

    Args:
        log_probs: scores of the path; needs at least one frame per token, plus a blank between two equal tokens.
        tokens: columns, without blanks.
        words: half-open range of each word's tokens; not empty, and without a pause at either end.
        blank_id: column of the CTC blank.
        pauses: other columns that do not count towards confidences.
        confidence_log_probs: log-probabilities for confidences; `log_probs` if None.
    """
    if not words:
        return []
    path = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)[0][0]
    is_token, is_letter = path != blank_id, ~torch.isin(path, torch.tensor([blank_id, *pauses]))
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    zero = torch.zeros(1, dtype=torch.float64)
    confidences = log_probs if confidence_log_probs is None else confidence_log_probs
    path_scores = confidences.gather(1, path[:, None].long())[:, 0]
    scores = torch.cat([zero, path_scores.double().where(is_letter, 0.0).cumsum(0)]).tolist()
    counts = torch.cat([zero, is_letter.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def timed_word(text: str, span: WordSpan, offset: int, emissions: Emissions) -> TimedWord:
    """Convert a span whose frame 0 is frame `offset` of the song to a word with times in seconds."""
    start_seconds, end_seconds = emissions.seconds(offset + span.start), emissions.seconds(offset + span.end)
    return TimedWord(text, start_seconds, end_seconds, span.confidence)


@dataclass(frozen=True)
class _ExtraColumns:
    """Columns after those of the vocabulary.

    Args:
        wildcards: columns that match any letter; they alternate, so that adjacent wildcards need no blank between them.
        word_pause: column of a pause between the words of a line.
        line_pause: column of a pause between lines.
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


def _join_words(lyrics: Lyrics, vocabulary: Vocabulary, columns: _ExtraColumns, language: str) -> _Target:
    """Spell the words, and join them with pauses between them and at both ends."""
    tokens = [columns.line_pause]
    words: list[tuple[int, int] | None] = []
    for line in lyrics.lines:
        between = columns.word_pause if len(line.words) <= _MAX_LINE_WORDS else columns.line_pause
        is_first = True
        for word in line.words:
            spelling = spell_by_sound(word, vocabulary, language)
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
    log_probs = emissions.log_probs.clamp(min=_MIN_LOG_PROB)
    guess = math.log(1 / max(1, len(emissions.vocabulary.character_ids)))
    return torch.nn.functional.pad(torch.nn.functional.pad(log_probs, (0, 2), value=guess), (0, 2, 1, 1))


def _with_wildcards(log_probs: Float[Tensor, "frames vocab"], vocabulary: Vocabulary) -> Float[Tensor, "frames _"]:
    any_letter = log_probs[:, list(vocabulary.character_ids.values())].amax(dim=1, keepdim=True)
    return torch.cat([log_probs, any_letter, any_letter], dim=1)


def _place_unspelled_words(spans: list[WordSpan | None], line_before_end: int) -> list[WordSpan]:
    first = next(filter(None, spans), None)
    now = line_before_end if first is None else first.start
    placed = []
    for span in spans:
        placed.append(span or WordSpan(now, now, 0.0))
        now = placed[-1].end
    return placed
