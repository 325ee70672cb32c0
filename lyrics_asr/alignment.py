"""Emissions and given lyrics to timed words and lines: CTC forced alignment of the whole song.

Conventions
- The path is the most likely one of all that spell the lyrics (Viterbi); a letter twice in a row needs a blank between.
- A word lasts from the first frame of its first token to the end of the last frame of its last token.
- A letter that the vocabulary lacks matches whatever letter is the most likely at its frames (a wildcard).
- The confidence of a word is the geometric mean of its tokens' probabilities over the frames that they are aligned to,
  blanks left out; a wildcard's probability is that of the letter which it matched. The confidence of a line is the
  geometric mean of its words' confidences.
- A word that cannot be spelled, such as "-", has no length and confidence 0. It stands at the end of the spelled word
  before it in its line, else at the start of the one after it, else at the end of the line before, else at the start of
  the song. Lines leave it out of their confidence.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding import WordSpan, mean_confidence, word_spans
from lyrics_asr.text import WILDCARD, Lyrics, spell
from lyrics_asr.types import AlignmentError, Emissions, TimedLine, TimedWord, Vocabulary, least_frames

_LOWEST_LOG_PROB = -50.0
"""Keeps the sums of impossible symbols finite and exact enough over a song, in float32."""


def align_lyrics(emissions: Emissions, lyrics: Lyrics, *, language: str = "en") -> tuple[TimedLine, ...]:
    """Time every word of the lyrics, in order and as written.

    Raises:
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    spellings = [spell(word, emissions.vocabulary, language) for line in lyrics.lines for word in line.words]
    plan = _plan(spellings, emissions.vocabulary)
    _check_fit(plan, emissions)
    spelled = [word for word in plan.words if word is not None]
    found = iter(word_spans(_with_wildcards(emissions), plan.tokens, spelled, emissions.vocabulary.blank_id))
    spans = iter([None if word is None else next(found) for word in plan.words])

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
class _Plan:
    """All tokens of the lyrics in order, word delimiters among them, and each word's range; None where it has none."""

    tokens: tuple[int, ...]
    words: tuple[tuple[int, int] | None, ...]


def _plan(spellings: list[tuple[int, ...]], vocabulary: Vocabulary) -> _Plan:
    """Join the words. Wildcards take turns at the two columns after the last, so that none needs a blank before it."""
    wildcard_id = len(vocabulary.tokens)
    tokens: list[int] = []
    words: list[tuple[int, int] | None] = []
    for spelling in spellings:
        if not spelling:
            words.append(None)
            continue
        if tokens and vocabulary.word_delimiter_id is not None:
            tokens.append(vocabulary.word_delimiter_id)
        start = len(tokens)
        for token in spelling:
            tokens.append(wildcard_id + len(tokens) % 2 if token == WILDCARD else token)
        words.append((start, len(tokens)))
    return _Plan(tuple(tokens), tuple(words))


def _check_fit(plan: _Plan, emissions: Emissions) -> None:
    frames, words = len(emissions.log_probs), len(plan.words)
    if not plan.tokens or not emissions.vocabulary.character_ids:
        raise AlignmentError(
            f"none of the {words} words can be spelled with the model's letters; check that the lyrics are text"
        )
    needed = least_frames(plan.tokens)
    if needed > frames:
        raise AlignmentError(
            f"the lyrics' {words} words need at least {needed} frames ({len(plan.tokens)} tokens), but the song "
            f"has {frames} frames in {emissions.duration_seconds:.1f} s; check that the lyrics belong to this song"
        )


def _with_wildcards(emissions: Emissions) -> Float[Tensor, "frames columns"]:
    letters = list(emissions.vocabulary.character_ids.values())
    any_letter = emissions.log_probs[:, letters].amax(dim=1, keepdim=True)
    return torch.cat([emissions.log_probs, any_letter, any_letter], dim=1).clamp(min=_LOWEST_LOG_PROB)


def _place_unspelled(spans: list[WordSpan | None], line_before_end: int) -> list[WordSpan]:
    now = next((span.start for span in spans if span is not None), line_before_end)
    placed = []
    for span in spans:
        placed.append(span or WordSpan(now, now, 0.0))
        now = placed[-1].end
    return placed
