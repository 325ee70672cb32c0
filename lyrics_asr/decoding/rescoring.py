"""Join the hypotheses of segments into hypotheses of a song, with language model context across segments.

Singers pause inside lines, and sometimes not between them. So the pause between two segments may or may not end a
sentence of the language model: both are tried, and the more likely one is kept.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import kenlm

from lyrics_asr.decoding.hypotheses import SegmentHypothesis
from lyrics_asr.decoding.lexicon import WordLanguageModel, language_model_weight
from lyrics_asr.options import DecodingOptions

_BEAM_PER_RESULT = 8
"""Partial hypotheses kept after each segment, per hypothesis that the caller asks for."""


@dataclass(frozen=True)
class SongHypothesis:
    """A candidate text of a song.

    Args:
        segments: the words of each segment.
        acoustic_score: sum of the segments' scores.
        language_model_log10: None without a language model.
        score: see `decoding.hypotheses`.
    """

    segments: tuple[tuple[str, ...], ...]
    acoustic_score: float
    language_model_log10: float | None
    score: float


@dataclass(frozen=True)
class _Partial:
    """A hypothesis of the segments so far."""

    score: float
    acoustic_score: float
    log10: float
    segments: tuple[tuple[str, ...], ...]
    state: Any
    has_words: bool


def join_segments(
    segments: Sequence[Sequence[SegmentHypothesis]],
    model: WordLanguageModel | None,
    options: DecodingOptions,
    hot_words: Set[str],
    count: int,
) -> list[SongHypothesis]:
    """Find the `count` best distinct texts by beam search over segments, best first.

    Args:
        segments: the hypotheses of each segment, at least one per segment.
        model: language model; None to rank by acoustic scores and hot words.
        options: weights of the score.
        hot_words: in lower case.
        count: at least 1.
    """

    @cache
    def word_score(words: tuple[str, ...]) -> float:
        bonus = options.hot_word_bonus * sum(word in hot_words for word in words)
        return bonus if model is None else bonus + options.beta * len(words)

    weight = language_model_weight(options)
    continued = _continuations(model, hot_words)
    beam = [_Partial(0.0, 0.0, 0.0, (), None if model is None else model.begin(), False)]
    for hypotheses in segments:
        longer = []
        for hypothesis in hypotheses:
            words, acoustic_score = hypothesis.words, hypothesis.acoustic_score
            for partial in beam:
                for log10, state in continued(partial, words):
                    score = partial.score + acoustic_score + weight * log10 + word_score(words)
                    acoustic_total = partial.acoustic_score + acoustic_score
                    texts = (*partial.segments, words)
                    has_words = partial.has_words or bool(words)
                    longer.append(_Partial(score, acoustic_total, partial.log10 + log10, texts, state, has_words))
        longer.sort(key=attrgetter("score"), reverse=True)
        beam = longer[: _BEAM_PER_RESULT * count]

    best: dict[tuple[str, ...], SongHypothesis] = {}
    for partial in beam:
        end_log10 = 0.0 if model is None else model.end_log10(partial.state)
        song = SongHypothesis(
            partial.segments,
            partial.acoustic_score,
            None if model is None else partial.log10 + end_log10,
            partial.score + weight * end_log10,
        )
        text = tuple(word for words in partial.segments for word in words)
        if text not in best or song.score > best[text].score:
            best[text] = song
    return sorted(best.values(), key=attrgetter("score"), reverse=True)[:count]


def _continuations(
    model: WordLanguageModel | None, hot_words: Set[str]
) -> Callable[[_Partial, tuple[str, ...]], list[tuple[float, Any]]]:
    """How a text continues a hypothesis, in the same sentence or in a new one: log10 probability and next state."""
    if model is None:
        return lambda partial, words: [(0.0, None)]
    begin = model.begin()

    @cache
    def after(state: kenlm.State, words: tuple[str, ...]) -> tuple[float, kenlm.State]:
        return model.log10(state, words, hot_words)

    def continued(partial: _Partial, words: tuple[str, ...]) -> list[tuple[float, Any]]:
        if not words:
            return [(0.0, partial.state)]
        same = after(partial.state, words)
        if not partial.has_words:
            return [same]
        log10, state = after(begin, words)
        return [same, (model.end_log10(partial.state) + log10, state)]

    return continued
