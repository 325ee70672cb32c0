"""Several language models made one: static linear interpolation with weights tuned on held-out text.

    p(w | h) = sum over i of weight_i * p_i(w | h)    for every n-gram hw that one of the models has

as SRILM's `ngram -mix-lm` does it: an n-gram that a model lacks gets what that model's backoff gives, a word that a
model does not know has probability 0 there, and the backoff weights are computed anew, so that probabilities sum to 1
after every context. (What is not stored is reached by the mixture's backoff and no longer the exact sum.)
The weights come from expectation maximisation on the words of the held-out text, as in SRILM's compute-best-mix: a
weight becomes the mean share that its model has in the words' probabilities. The likelihood grows with every step and
has one maximum. Words that no model knows do not count.

The mixture's n-grams are held in memory: about 250 bytes each.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import kenlm
import numpy as np
from numpy.typing import NDArray

from lyrics_asr.language_model.files import BEGIN, END, NEVER_LOG10, UNKNOWN, Entry, read_entries, write_arpa

_STEPS = 1000
_SMALLEST_CHANGE = 1e-6
_SMALLEST_PROBABILITY = 1e-99
_NOTHING_LEFT = 1e-9


@dataclass(frozen=True)
class TunedWeights:
    """What expectation maximisation found.

    Args:
        weights: of the models; they sum to 1.
        perplexity: of the mixture over the held-out words and line ends that some model knows.
    """

    weights: tuple[float, ...]
    perplexity: float


@dataclass(frozen=True)
class Mixture:
    """A model in memory: for every order its n-grams, sorted, with log10 probabilities and backoffs."""

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
    """Find the weights with which the models predict the sentences best.

    Raises:
        ValueError: no model knows any word of the sentences.
    """
    rows, heard = [], False
    for sentence in sentences:
        words = sentence.split()
        heard = heard or any(word in model for model in models for word in words)
        scores = [[score for score, _, _ in model.full_scores(sentence)] for model in models]
        for at, word in enumerate([*words, END]):
            rows.append([10 ** scores[i][at] if word in model else 0.0 for i, model in enumerate(models)])
    if not heard:
        raise ValueError("no model knows any word of the held-out text; is it in another language?")
    table = np.array(rows)
    known = table[table.any(axis=1)]
    weights = np.full(len(models), 1 / len(models))
    for _ in range(_STEPS):
        shares = known * weights
        updated = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        change = np.abs(updated - weights).max()
        weights = updated
        if change < _SMALLEST_CHANGE:
            break
    perplexity = math.exp(-float(np.log(known @ weights).mean()))
    return TunedWeights(tuple(weights.tolist()), perplexity)


def mix(files: Sequence[Path], models: Sequence[kenlm.Model], weights: Sequence[float]) -> Mixture:
    """The weighted sum of models.

    Args:
        files: the models' ARPA files.
        models: the same, loaded.
        weights: of each; they sum to 1.
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
        mine = sum(
            weight * np.fromiter(_probabilities(model, ngrams), np.float64, len(ngrams))
            for model, weight in zip(models, weights, strict=True)
        )
        assert isinstance(mine, np.ndarray)
        if levels:
            backoffs.append(_backoffs(ngrams, mine, numbers, probabilities[-1]))
        if not levels:
            ngrams.append(BEGIN)
            mine = np.append(mine, 0.0)
        numbers = {ngram: i for i, ngram in enumerate(ngrams)}
        levels.append(ngrams)
        probabilities.append(mine)
    scores = [np.log10(np.maximum(level, _SMALLEST_PROBABILITY)) for level in probabilities]
    scores[0][-1] = NEVER_LOG10
    return Mixture(tuple(levels), tuple(scores), tuple(backoffs))


def _probabilities(model: kenlm.Model, ngrams: Iterable[str]) -> Iterator[float]:
    """A model's probability of each n-gram's last word after the others; 0 for a word that it does not know."""
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
    ngrams: Sequence[str], mine: NDArray[np.float64], numbers: dict[str, int], below: NDArray[np.float64]
) -> NDArray[np.float64]:
    """log10 of what a context h leaves for h', the same without its first word.

    (1 - sum of p(w | h)) / (1 - sum of p(w | h')), both over the words w that were seen after h.
    """
    contexts = np.fromiter((numbers[ngram.rpartition(" ")[0]] for ngram in ngrams), np.int64, len(ngrams))
    suffixes = np.fromiter((numbers[ngram.partition(" ")[2]] for ngram in ngrams), np.int64, len(ngrams))
    left = 1 - np.bincount(contexts, mine, len(below))
    left_below = 1 - np.bincount(contexts, below[suffixes], len(below))
    possible = (left > _NOTHING_LEFT) & (left_below > _NOTHING_LEFT)
    weights: NDArray[np.float64] = np.divide(left, left_below, out=np.ones_like(left), where=possible)
    return np.log10(weights).astype(np.float64)
