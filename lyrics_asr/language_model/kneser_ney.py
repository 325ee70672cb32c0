"""Our own estimator of n-gram models: interpolated modified Kneser-Ney, where KenLM's lmplz is not there.

Method: Chen & Goodman, 1998: An Empirical Study of Smoothing Techniques for Language Modeling, section 3, with the
conventions of lmplz (Heafield et al., 2013: Scalable Modified Kneser-Ney Language Model Estimation), so that both give
the same model:
- Every sentence stands between <s> and </s>; <s> is a context and is never predicted.
- n-grams below the highest order, but for those that begin with <s>, count the different words seen before them.
- The unigrams are interpolated with the uniform distribution over all words, </s> and <unk>, which so gets its share.
- An n-gram is pruned by how often it occurs, not by how many words are seen before it. What pruned n-grams had goes to
  their context's weight for the order below; discounts are estimated before anything is pruned.
- A limited vocabulary prunes all n-grams with other words in them; their unigrams' share is spread over what is left.
With few sentences an order's counts of counts may be zero, or its discounts out of range; that order then takes the
discounts 0.5, 1 and 1.5, as lmplz does with --discount_fallback.

Everything is held in memory, in arrays: an n-gram is the number of its context (the n-gram without its last word, among
those one word shorter) and the number of its last word. Arrays sorted by both are sorted by words.
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
    """The n-grams of one order, sorted, with all arrays parallel.

    Args:
        contexts: number of the n-gram without its last word, among those one word shorter.
        suffixes: number of the n-gram without its first word, likewise.
        words: number of the last word.
        counts: occurrences.
        begins: whether <s> is the first word.
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
        vocabulary: the words, sorted; <s> and </s> among them, <unk> not.
        ngrams: of every order.
        kept: which n-grams were not pruned.
        log10_probabilities: of every order; unspecified where pruned.
        log10_backoffs: of every order but the highest.
        unknown_log10: of <unk>.
    """

    vocabulary: tuple[str, ...]
    ngrams: tuple[NGrams, ...]
    kept: tuple[Mask, ...]
    log10_probabilities: tuple[Floats, ...]
    log10_backoffs: tuple[Floats, ...]
    unknown_log10: float

    def write(self, path: Path) -> None:
        """Write an ARPA file, sorted by words, so that equal sentences give equal files."""
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
        order: length of the longest n-grams; lowered to the longest sentence's length with its <s> and </s>.
        prune: for every order, how often an n-gram occurs at most to be left out.
        vocabulary: the words that are allowed; None for all.
    """
    names, tokens = _numbered(sentences)
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
        mine = (counts - discounts) / np.maximum(totals, 1)[level.contexts]
        mine += weights[level.contexts] * below[level.suffixes]
        probabilities.append(np.log10(np.maximum(mine, 1e-300)))
        if n == 0:
            unknown = float(log10_weights[0] + np.log10(uniform))
            probabilities[0][begin] = NEVER_LOG10
        else:
            backoffs.append(log10_weights)
        below = mine
    return Estimate(tuple(names), levels, kept, tuple(probabilities), tuple(backoffs), unknown)


def _numbered(sentences: Iterable[Sequence[str]]) -> tuple[list[str], Integers]:
    """The sorted words, and the text as their numbers, every sentence between <s> and </s>."""
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
    """All n-grams that occur, up to the highest order that any sentence is long enough for."""
    everything = np.arange(words, dtype=np.int32)
    nothing = np.zeros(words, np.int32)
    counts = np.bincount(tokens, minlength=words).astype(np.int32)
    levels = [NGrams(nothing, nothing, everything, counts, everything == begin)]
    at = tokens  # the number of the n-gram that starts at each place where one does
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
    """Counts, below the highest order replaced by the numbers of different words before the n-grams.

    Nothing stands before <s>, so that n-grams which begin with it keep their counts.
    """
    if longer is None:
        return level.counts.copy()
    different = np.bincount(longer.suffixes, minlength=len(level.counts)).astype(np.int32)
    return np.where(level.begins, level.counts, different)


def _discounts(counts: Integers) -> tuple[float, ...]:
    """What is taken from counts of 1, 2 and 3 or more (Chen & Goodman, equation 26)."""
    seen = [int((counts == k).sum()) for k in range(5)]
    if not all(seen[1:4]):
        return FALLBACK_DISCOUNTS
    y = seen[1] / (seen[1] + 2 * seen[2])
    discounts = tuple(k - (k + 1) * y * seen[k + 1] / seen[k] for k in (1, 2, 3))
    # Above 0, where lmplz takes 0 too: a context could be left with no weight for the words that it was not seen with.
    return discounts if all(0 < d <= k for k, d in enumerate(discounts, 1)) else FALLBACK_DISCOUNTS
