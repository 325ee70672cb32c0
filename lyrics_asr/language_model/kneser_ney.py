"""The built-in estimator of n-gram models: interpolated modified Kneser-Ney, used if KenLM's lmplz is not installed.

Method: Chen & Goodman, 1998: An Empirical Study of Smoothing Techniques for Language Modeling, section 3, with the
conventions of lmplz (Heafield et al., 2013: Scalable Modified Kneser-Ney Language Model Estimation), so that both give
the same model:
- Every sentence is enclosed in <s> and </s>. <s> only serves as context and is never predicted.
- Below the highest order, the count of an n-gram is the number of distinct words that precede it, except for n-grams
  that start with <s>.
- Unigrams are interpolated with the uniform distribution over all words, </s> and <unk>; this gives <unk> its
  probability.
- Pruning uses occurrences, not the adjusted counts. The mass of pruned n-grams goes to the backoff weight of their
  context. Discounts are estimated before pruning.
- A limited vocabulary prunes all n-grams with other words. The mass of their unigrams is distributed uniformly.
With few sentences, an order may lack counts of counts or have invalid discounts. It then uses the discounts 0.5, 1 and
1.5, like lmplz with --discount_fallback.

All n-grams are held in memory, as arrays: an n-gram is the index of its context (the n-gram without its last word,
among the n-grams of the order below) and the index of its last word. Arrays sorted by both are sorted by words.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.language_model.files import BEGIN, NEVER_LOG10, UNKNOWN, Entry, write_arpa

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_CHUNK = 1 << 16


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one order, sorted, as parallel arrays.

    Args:
        contexts: index of the n-gram without its last word, among the n-grams of the order below.
        suffixes: index of the n-gram without its first word, likewise.
        words: index of the last word.
        counts: occurrences.
        begins: whether the first word is <s>.
    """

    contexts: Integers
    suffixes: Integers
    words: Integers
    counts: Integers
    begins: Mask


@dataclass(frozen=True)
class Estimate:
    """A model in memory.

    Args:
        vocabulary: the words, sorted, including <s> and </s> but not <unk>.
        ngrams: per order.
        kept: which n-grams are not pruned, per order.
        log10_probabilities: per order; undefined for pruned n-grams.
        log10_backoffs: per order except the highest.
        unknown_log10: log10 probability of <unk>.
    """

    vocabulary: tuple[str, ...]
    ngrams: tuple[NGrams, ...]
    kept: tuple[Mask, ...]
    log10_probabilities: tuple[Floats, ...]
    log10_backoffs: tuple[Floats, ...]
    unknown_log10: float

    def write(self, path: Path) -> None:
        """Write an ARPA file, sorted by words, so that the same sentences give the same file."""
        counts = [int(kept.sum()) for kept in self.kept]
        counts[0] += 1
        write_arpa(path, counts, (self._section(n) for n in range(len(self.ngrams))))

    def _section(self, level: int) -> Iterator[Entry]:
        highest = level == len(self.ngrams) - 1
        if level == 0:
            yield Entry(self.unknown_log10, UNKNOWN, 0.0)
        names = np.array(self.vocabulary, dtype=object)
        kept = self.kept[level].nonzero()[0]
        for start in range(0, len(kept), _CHUNK):
            numbers = kept[start : start + _CHUNK]
            columns, below = [], numbers
            for ngrams in self.ngrams[level::-1]:
                columns.append(names[ngrams.words[below]])
                below = ngrams.contexts[below]
            scores = self.log10_probabilities[level][numbers].tolist()
            backoffs = [None] * len(scores) if highest else self.log10_backoffs[level][numbers].tolist()
            for score, backoff, *words in zip(scores, backoffs, *reversed(columns), strict=True):
                yield Entry(score, " ".join(words), backoff)


def estimate(
    sentences: Iterable[Sequence[str]], order: int, prune: Sequence[int], vocabulary: Collection[str] | None
) -> Estimate:
    """Estimate a model.

    Args:
        sentences: words, without <s> and </s>; at least one sentence, none empty.
        order: length of the longest n-grams; at most the length of the longest sentence, <s> and </s> included.
        prune: pruning threshold per order.
        vocabulary: the allowed words; None for all.
    """
    names, tokens = _index_words(sentences)
    begin = names.index(BEGIN)
    levels = _collect(tokens, len(names), begin, order)
    del tokens
    kept = _unpruned(levels, prune, names, vocabulary)

    uniform = 1 / (kept[0].sum() - 1 + 1)  # without <s>, with <unk>
    below: Floats = np.full(1, uniform)
    probabilities, backoffs = [], []
    unknown = 0.0
    for n, level in enumerate(levels):
        counts = _adjusted(level, levels[n + 1] if n + 1 < len(levels) else None)
        if n == 0:
            counts[begin] = 0
        by_count = np.array([0.0, *_discounts(counts)])
        discounts = by_count[np.minimum(counts, 3)]
        totals = np.bincount(level.contexts, counts, len(below))
        left = np.bincount(level.contexts, np.where(kept[n], discounts, counts), len(below))
        weights = np.divide(left, totals, out=np.ones_like(left), where=totals > 0)
        with np.errstate(divide="ignore"):
            log10_weights = np.log10(weights)
        level_probabilities = (counts - discounts) / np.maximum(totals, 1)[level.contexts]
        level_probabilities += weights[level.contexts] * below[level.suffixes]
        probabilities.append(np.log10(np.maximum(level_probabilities, 1e-300)))
        if n == 0:
            unknown = float(log10_weights[0] + np.log10(uniform))
            probabilities[0][begin] = NEVER_LOG10
        else:
            backoffs.append(log10_weights)
        below = level_probabilities
    return Estimate(tuple(names), levels, kept, tuple(probabilities), tuple(backoffs), unknown)


def _index_words(sentences: Iterable[Sequence[str]]) -> tuple[list[str], Integers]:
    """The sorted words, and the text as their indices, with every sentence enclosed in <s> and </s>."""
    numbers = {BEGIN: 0, "</s>": 1}
    text = array("i")
    for words in sentences:
        text.append(0)
        text.extend([numbers.setdefault(word, len(numbers)) for word in words])
        text.append(1)
    names = sorted(numbers)
    renumbered = np.empty(len(names), np.int32)
    renumbered[[numbers[name] for name in names]] = np.arange(len(names))
    return names, renumbered[np.frombuffer(text, np.int32)]


def _collect(tokens: Integers, words: int, begin: int, order: int) -> tuple[NGrams, ...]:
    """Count all n-grams, up to `order` or the length of the longest sentence."""
    everything = np.arange(words, dtype=np.int32)
    nothing = np.zeros(words, np.int32)
    counts = np.bincount(tokens, minlength=words).astype(np.int32)
    levels = [NGrams(nothing, nothing, everything, counts, everything == begin)]
    at = tokens  # index of the n-gram that starts at each position, if one does
    places = np.arange(len(tokens), dtype=np.int64)
    for n in range(2, order + 1):
        places = places[places + n - 1 < len(tokens)]
        places = places[tokens[places + n - 1] != begin]
        if not len(places):
            break
        keys = at[places].astype(np.int64) * words + tokens[places + n - 1]
        unique, inverse, counted = np.unique(keys, return_inverse=True, return_counts=True)
        del keys
        suffixes = np.empty(len(unique), np.int32)
        suffixes[inverse] = at[places + 1]
        at = np.full(len(tokens), -1, np.int32)
        at[places] = inverse
        del inverse
        contexts = (unique // words).astype(np.int32)
        last = (unique % words).astype(np.int32)
        levels.append(NGrams(contexts, suffixes, last, counted.astype(np.int32), levels[-1].begins[contexts]))
    return tuple(levels)


def _unpruned(
    levels: Sequence[NGrams], prune: Sequence[int], names: Sequence[str], vocabulary: Collection[str] | None
) -> tuple[Mask, ...]:
    special = np.array([name in (BEGIN, "</s>") for name in names])
    allowed = special.copy()
    if vocabulary is None:
        allowed[:] = True
    else:
        allowed |= np.array([name in vocabulary for name in names])
    kept = [special | (allowed & (levels[0].counts > prune[0]))]
    inside = allowed
    for level, threshold in zip(levels[1:], prune[1:], strict=False):
        inside = inside[level.contexts] & allowed[level.words]
        kept.append(inside & (level.counts > threshold))
    return tuple(kept)


def _adjusted(level: NGrams, longer: NGrams | None) -> Integers:
    """The counts that probabilities are estimated from: below the highest order, the number of preceding words.

    No word precedes <s>, so n-grams that start with it keep their occurrences.
    """
    if longer is None:
        return level.counts.copy()
    different = np.bincount(longer.suffixes, minlength=len(level.counts)).astype(np.int32)
    return np.where(level.begins, level.counts, different)


def _discounts(counts: Integers) -> tuple[float, ...]:
    """Discounts of the counts 1, 2 and 3 or more (Chen & Goodman, equation 26)."""
    seen = [int((counts == k).sum()) for k in range(5)]
    if not all(seen[1:4]):
        return FALLBACK_DISCOUNTS
    y = seen[1] / (seen[1] + 2 * seen[2])
    discounts = tuple(k - (k + 1) * y * seen[k + 1] / seen[k] for k in (1, 2, 3))
    # Unlike lmplz, we do not allow a discount of 0: it could leave a context without mass for unseen words.
    return discounts if all(0 < d <= k for k, d in enumerate(discounts, 1)) else FALLBACK_DISCOUNTS
