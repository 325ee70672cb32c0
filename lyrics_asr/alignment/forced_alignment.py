"""Emissions and given lyrics to timed words and lines: CTC forced alignment of the whole song, with pauses.

Conventions
- The path is the best one of all that spell the lyrics (Viterbi); a letter twice in a row needs a blank between.
- CTC has one blank for the rest between two letters and for a solo of a minute, and a path may hold out in either for
  nothing. Singers do not: they hold a word together, and rest between lines. A pause of mean length m is geometrically
  distributed when each of its frames costs about frame / m (the log-probability of going on, ln(1 - frame / m)). Pauses
  inside a word cost as of mean length `_LETTER_PAUSE_SECONDS`, those between the words of a line as of
  `_WORD_PAUSE_SECONDS`; those between lines, before the first and after the last cost nothing. In a line of more than
  `_LONGEST_LINE_WORDS` words, which is lyrics without their lines, those between words cost nothing either.
- Where the lyrics pause, blank and word delimiter are the same. Every two words have a frame of pause between them.
- A frame may be anything, whatever the network says, with probability `_ANYTHING`: a network that is sure and wrong for
  a second would else outweigh the rest of a song.
- A word lasts from the first frame of its first token to the end of the last frame of its last token.
- A letter that the vocabulary lacks matches whatever letter is the most likely at its frames (a wildcard).
- The confidence of a word is the geometric mean of its letters' probabilities, as the network gave them, over the
  frames that they are aligned to, pauses left out; a wildcard's probability is that of the letter which it matched. The
  confidence of a line is the geometric mean of its words' confidences.
- A word that cannot be spelled, such as "-", has no length and confidence 0. It stands at the end of the spelled word
  before it in its line, else at the start of the one after it, else at the end of the line before, else at the start of
  the song. Lines leave it out of their confidence.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.ctc_paths import WordSpan, mean_confidence, word_spans
from lyrics_asr.lyrics.spelling import WILDCARD, spell
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.types import AlignmentError, Emissions, TimedLine, TimedWord, Vocabulary, least_frames

_LETTER_PAUSE_SECONDS = 0.1
_WORD_PAUSE_SECONDS = 0.2
_LONGEST_LINE_WORDS = 16
_ANYTHING = 0.01
_LOWEST_LOG_PROB = -50.0
"""Keeps the confidence of impossible symbols finite, and the edges of a song to pauses."""


def align_lyrics(emissions: Emissions, lyrics: Lyrics, *, language: str = "en") -> tuple[TimedLine, ...]:
    """Time every word of the lyrics, in order and as written.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    columns = _Columns.after(emissions.vocabulary)
    spellings = [[spell(word, emissions.vocabulary, language) for word in line.words] for line in lyrics.lines]
    plan = _plan(spellings, emissions.vocabulary, columns)
    _check_fit(plan, emissions)
    found = iter(
        word_spans(
            _scores(emissions, columns),
            plan.tokens,
            [word for word in plan.words if word is not None],
            emissions.vocabulary.blank_id,
            pauses=(columns.word_pause, columns.line_pause),
            heard=_heard(emissions),
        )
    )
    spans = iter([None if word is None else _without_edge(next(found)) for word in plan.words])

    lines: list[TimedLine] = []
    line_end = 0
    for line in lyrics.lines:
        line_spans = [next(spans) for _ in line.words]
        placed = _place_unspelled(line_spans, line_end)
        words = tuple(
            TimedWord(text, emissions.seconds(span.start), emissions.seconds(span.end), span.confidence)
            for text, span in zip(line.words, placed, strict=True)
        )
        score = mean_confidence([span.confidence for span in line_spans if span is not None])
        lines.append(TimedLine(line.text, words[0].start_seconds, words[-1].end_seconds, score, words))
        line_end = placed[-1].end
    return tuple(lines)


@dataclass(frozen=True)
class _Columns:
    """Columns that stand after those of the vocabulary.

    Args:
        wildcards: any letter; they take turns, so that none needs a blank before it.
        word_pause: between the words of a line.
        line_pause: between lines.
    """

    wildcards: tuple[int, int]
    word_pause: int
    line_pause: int

    @classmethod
    def after(cls, vocabulary: Vocabulary) -> "_Columns":
        """The next columns after the vocabulary's."""
        first = len(vocabulary.tokens)
        return cls((first, first + 1), first + 2, first + 3)


@dataclass(frozen=True)
class _Plan:
    """All tokens of the lyrics in order, pauses among them, and each word's range; None where it has none."""

    tokens: tuple[int, ...]
    words: tuple[tuple[int, int] | None, ...]


def _plan(spellings: list[list[tuple[int, ...]]], vocabulary: Vocabulary, columns: _Columns) -> _Plan:
    """Join the words by pauses; one before the first and one after the last."""
    tokens = [columns.line_pause]
    words: list[tuple[int, int] | None] = []
    for line in spellings:
        between = columns.word_pause if len(line) <= _LONGEST_LINE_WORDS else columns.line_pause
        begins = True
        for spelling in line:
            if not spelling:
                words.append(None)
                continue
            if len(tokens) > 1:
                tokens.append(columns.line_pause if begins else between)
            start = len(tokens)
            for token in spelling:
                if token == WILDCARD:
                    token = columns.wildcards[len(tokens) % 2]
                elif token == vocabulary.word_delimiter_id:
                    token = columns.word_pause
                tokens.append(token)
            words.append((start, len(tokens)))
            begins = False
    tokens.append(columns.line_pause)
    return _Plan(tuple(tokens), tuple(words))


def _check_fit(plan: _Plan, emissions: Emissions) -> None:
    frames, words = len(emissions.log_probs), len(plan.words)
    tokens = plan.tokens[1:-1]
    if not tokens or not emissions.vocabulary.character_ids:
        raise AlignmentError(
            f"none of the {words} words can be spelled with the model's letters; check that the lyrics are text"
        )
    needed = least_frames(tokens)
    if needed > frames:
        raise AlignmentError(
            f"the lyrics' {words} words need at least {needed} frames ({len(tokens)} tokens), but the song "
            f"has {frames} frames in {emissions.duration_seconds:.1f} s; check that the lyrics belong to this song"
        )


def _scores(emissions: Emissions, columns: _Columns) -> Float[Tensor, "padded columns"]:
    """What each column adds to a path at each frame, with a frame of pause before the song and one after it."""
    log_probs, vocabulary = emissions.log_probs, emissions.vocabulary
    anything = torch.full_like(log_probs, math.log(_ANYTHING / log_probs.shape[1]))
    scores = _with_wildcards(torch.logaddexp(log_probs + math.log1p(-_ANYTHING), anything), vocabulary)
    silent = [vocabulary.blank_id]
    if vocabulary.word_delimiter_id is not None:
        silent.append(vocabulary.word_delimiter_id)
    pause = scores[:, silent].logsumexp(dim=1, keepdim=True)
    frame_seconds = emissions.grid.frame_seconds
    scores[:, vocabulary.blank_id] -= frame_seconds / _LETTER_PAUSE_SECONDS
    scores = torch.cat([scores, pause - frame_seconds / _WORD_PAUSE_SECONDS, pause], dim=1)
    edge = torch.full((1, scores.shape[1]), _LOWEST_LOG_PROB)
    edge[0, columns.line_pause] = 0.0
    return torch.cat([edge, scores, edge])


def _heard(emissions: Emissions) -> Float[Tensor, "padded columns"]:
    """What the network heard, beside `_scores`; what it says of pauses is not asked for."""
    heard = _with_wildcards(emissions.log_probs, emissions.vocabulary).clamp(min=_LOWEST_LOG_PROB)
    return torch.nn.functional.pad(heard, (0, 2, 1, 1))


def _with_wildcards(log_probs: Float[Tensor, "frames vocab"], vocabulary: Vocabulary) -> Float[Tensor, "frames _"]:
    any_letter = log_probs[:, list(vocabulary.character_ids.values())].amax(dim=1, keepdim=True)
    return torch.cat([log_probs, any_letter, any_letter], dim=1)


def _without_edge(span: WordSpan) -> WordSpan:
    return WordSpan(span.start - 1, span.end - 1, span.confidence)


def _place_unspelled(spans: list[WordSpan | None], line_before_end: int) -> list[WordSpan]:
    now = next((span.start for span in spans if span is not None), line_before_end)
    placed = []
    for span in spans:
        placed.append(span or WordSpan(now, now, 0.0))
        now = placed[-1].end
    return placed
