"""Hypotheses of stretches to hypotheses of a song, with the language model's context carried across the pauses.

Singers pause at the ends of lines and also inside them, and go on from one line to the next without a pause. A pause
can therefore end a sentence of the language model, or not: both are tried, and the likelier one counts.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import kenlm

from lyrics_asr.decoding.hypotheses import StretchHypothesis
from lyrics_asr.decoding.word_model import WordModel, language_model_weight
from lyrics_asr.options import DecodingOptions

_BEAM = 8
"""Hypotheses of the song that are kept after each stretch, for each that is asked for."""


@dataclass(frozen=True)
class SongHypothesis:
    """Words that a song may be.

    Args:
        stretches: words of each.
        acoustic_score: sum of the stretches' scores.
        language_model_log10: None without a language model.
        score: see `decoding.hypotheses`.
    """

    stretches: tuple[tuple[str, ...], ...]
    acoustic_score: float
    language_model_log10: float | None
    score: float


@dataclass(frozen=True)
class _Partial:
    """A hypothesis of the stretches so far."""

    score: float
    acoustic_score: float
    log10: float
    stretches: tuple[tuple[str, ...], ...]
    state: Any
    has_words: bool


def join(
    stretches: Sequence[Sequence[StretchHypothesis]],
    model: WordModel | None,
    options: DecodingOptions,
    hot_words: Set[str],
    count: int,
) -> list[SongHypothesis]:
    """The `count` best different texts, the best first, as far as the beam keeps them.

    Args:
        stretches: the hypotheses of each; at least one.
        model: None for none.
        options: whose weights are used.
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
    for hypotheses in stretches:
        longer = []
        for hypothesis in hypotheses:
            words, acoustic_score = hypothesis.words, hypothesis.acoustic_score
            for partial in beam:
                for log10, state in continued(partial, words):
                    score = partial.score + acoustic_score + weight * log10 + word_score(words)
                    acoustic_total = partial.acoustic_score + acoustic_score
                    texts = (*partial.stretches, words)
                    has_words = partial.has_words or bool(words)
                    longer.append(_Partial(score, acoustic_total, partial.log10 + log10, texts, state, has_words))
        longer.sort(key=attrgetter("score"), reverse=True)
        beam = longer[: _BEAM * count]

    best: dict[tuple[str, ...], SongHypothesis] = {}
    for partial in beam:
        end_log10 = 0.0 if model is None else model.end_log10(partial.state)
        song = SongHypothesis(
            partial.stretches,
            partial.acoustic_score,
            None if model is None else partial.log10 + end_log10,
            partial.score + weight * end_log10,
        )
        text = tuple(word for words in partial.stretches for word in words)
        if text not in best or song.score > best[text].score:
            best[text] = song
    return sorted(best.values(), key=attrgetter("score"), reverse=True)[:count]


def _continuations(
    model: WordModel | None, hot_words: Set[str]
) -> Callable[[_Partial, tuple[str, ...]], list[tuple[float, Any]]]:
    """What words cost after a hypothesis, in the same sentence and in a new one, and the states after them."""
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
