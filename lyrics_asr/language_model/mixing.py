"""Static linear interpolation of language models, with weights tuned on held-out text.

    p(w | h) = sum over i of weight_i * p_i(w | h)    for every n-gram hw in any of the models

As in SRILM's `ngram -mix-lm`, a model that lacks an n-gram contributes its backoff probability, and a word that a model
does not know has probability 0 in it. Backoff weights are recomputed so that probabilities sum to 1 in every context.
(N-grams that are not stored use the mixture's backoff, which is no longer the exact sum.)

Weights are found by expectation maximization on the held-out words, as in SRILM's compute-best-mix: each weight becomes
its model's mean share of the words' probabilities. The likelihood never decreases and has a single maximum. Words that
no model knows are ignored.

The n-grams of the mixture are held in memory, at about 250 bytes each.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import kenlm
import numpy as np
from numpy.typing import NDArray

from lyrics_asr.language_model.files import BEGIN, END, NEVER_LOG10, UNKNOWN, Entry, read_entries, write_arpa

_MAX_STEPS = 1000
_MIN_CHANGE = 1e-6
_MIN_PROBABILITY = 1e-99
_MIN_BACKOFF_MASS = 1e-9


@dataclass(frozen=True)
class TunedWeights:
    """Result of expectation maximization.

    Args:
        weights: per model; they sum to 1.
        perplexity: of the mixture over the held-out words and line ends, without words that no model knows.
    """

    weights: tuple[float, ...]
    perplexity: float


@dataclass(frozen=True)
class Mixture:
    """A model in memory: sorted n-grams per order, with log10 probabilities and backoffs."""

    ngrams: tuple[list[str], ...]
    log10_probabilities: tuple[NDArray[np.float64], ...]
    log10_backoffs: tuple[NDArray[np.float64], ...]

    def write(self, path: Path) -> None:
        """Write an ARPA file."""
        write_arpa(path, [len(ngrams) for ngrams in self.ngrams], map(self._section, range(len(self.ngrams))))

    def _section(self, level: int) -> Iterator[Entry]:
        highest = level == len(self.ngrams) - 1
        for i, ngram in enumerate(self.ngrams[level]):
            backoff = None if highest else float(self.log10_backoffs[level][i])
            yield Entry(float(self.log10_probabilities[level][i]), ngram, backoff)


def tune_weights(models: Sequence[kenlm.Model], sentences: Iterable[str]) -> TunedWeights:
    """Find the weights that maximize the likelihood of the sentences.

    Raises:
        ValueError: no model knows any word of the sentences.
    """
    rows, any_known = [], False
    for sentence in sentences:
        words = sentence.split()
        any_known = any_known or any(word in model for model in models for word in words)
        scores = [[score for score, _, _ in model.full_scores(sentence)] for model in models]
        for at, word in enumerate([*words, END]):
            rows.append([10 ** scores[i][at] if word in model else 0.0 for i, model in enumerate(models)])
    if not any_known:
        raise ValueError("no model knows any word of the held-out text; is it in a different language?")
    table = np.array(rows)
    known = table[table.any(axis=1)]
    weights = np.full(len(models), 1 / len(models))
    for _ in range(_MAX_STEPS):
        shares = known * weights
        updated = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        change = np.abs(updated - weights).max()
        weights = updated
        if change < _MIN_CHANGE:
            break
    perplexity = math.exp(-float(np.log(known @ weights).mean()))
    return TunedWeights(tuple(weights.tolist()), perplexity)


def mix(files: Sequence[Path], models: Sequence[kenlm.Model], weights: Sequence[float]) -> Mixture:
    """Interpolate models.

    Args:
        files: ARPA files of the models.
        models: the loaded models, in the same order.
        weights: per model; they sum to 1.
    """
    found: list[set[str]] = []
    for file in files:
        for order, entry in read_entries(file):
            found.extend(set() for _ in range(order - len(found)))
            found[order - 1].add(entry.ngram)
    found[0] -= {BEGIN}
    levels: list[list[str]] = []
    probabilities: list[NDArray[np.float64]] = []
    backoffs: list[NDArray[np.float64]] = []
    numbers: dict[str, int] = {}
    while found:
        ngrams = sorted(found.pop(0))
        mixed = sum(
            weight * np.fromiter(_probabilities(model, ngrams), np.float64, len(ngrams))
            for model, weight in zip(models, weights, strict=True)
        )
        assert isinstance(mixed, np.ndarray)
        if levels:
            backoffs.append(_backoffs(ngrams, mixed, numbers, probabilities[-1]))
        if not levels:
            ngrams.append(BEGIN)
            mixed = np.append(mixed, 0.0)
        numbers = {ngram: i for i, ngram in enumerate(ngrams)}
        levels.append(ngrams)
        probabilities.append(mixed)
    scores = [np.log10(np.maximum(level, _MIN_PROBABILITY)) for level in probabilities]
    scores[0][-1] = NEVER_LOG10
    return Mixture(tuple(levels), tuple(scores), tuple(backoffs))


def _probabilities(model: kenlm.Model, ngrams: Iterable[str]) -> Iterator[float]:
    """A model's probability of each n-gram's last word given the others; 0 if the model does not know the word."""
    before, state, following = None, kenlm.State(), kenlm.State()
    for ngram in ngrams:
        context, _, word = ngram.rpartition(" ")
        if context != before:
            before, state = context, _state_after(model, context.split())
        known = word == UNKNOWN or word in model
        yield 10 ** model.BaseScore(state, word, following) if known else 0.0


def _state_after(model: kenlm.Model, context: Sequence[str]) -> kenlm.State:
    state = kenlm.State()
    if context[:1] == [BEGIN]:
        model.BeginSentenceWrite(state)
    else:
        model.NullContextWrite(state)
    for word in context[1:] if context[:1] == [BEGIN] else context:
        following = kenlm.State()
        model.BaseScore(state, word, following)
        state = following
    return state


def _backoffs(
    ngrams: Sequence[str], mixed: NDArray[np.float64], numbers: dict[str, int], below: NDArray[np.float64]
) -> NDArray[np.float64]:
    """log10 backoff weights of contexts h, where h' is h without its first word.

    (1 - sum of p(w | h)) / (1 - sum of p(w | h')), both over the words w that follow h in stored n-grams.
    """
    contexts = np.fromiter((numbers[ngram.rpartition(" ")[0]] for ngram in ngrams), np.int64, len(ngrams))
    suffixes = np.fromiter((numbers[ngram.partition(" ")[2]] for ngram in ngrams), np.int64, len(ngrams))
    left = 1 - np.bincount(contexts, mixed, len(below))
    left_below = 1 - np.bincount(contexts, below[suffixes], len(below))
    possible = (left > _MIN_BACKOFF_MASS) & (left_below > _MIN_BACKOFF_MASS)
    weights: NDArray[np.float64] = np.divide(left, left_below, out=np.ones_like(left), where=possible)
    return np.log10(weights).astype(np.float64)
