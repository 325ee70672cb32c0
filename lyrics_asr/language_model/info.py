"""Describe a language model file, and measure the perplexity of a model on a text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import kenlm

from lyrics_asr.language_model.files import read_header


@dataclass(frozen=True)
class LanguageModelInfo:
    """A language model file.

    Args:
        kind: "ARPA", or the data structure of a KenLM binary: "probing", "trie", ...
        counts: number of n-grams per order, from unigrams on, including <s>, </s> and <unk>.
        size_bytes: size of the file.
    """

    kind: str
    counts: tuple[int, ...]
    size_bytes: int

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.counts)


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of a model on a text, as counted by KenLM's `query`.

    Args:
        tokens: words and sentence ends.
        sentences: sentences that are not empty.
        oov_words: out-of-vocabulary words.
        with_oov: perplexity over all tokens; out-of-vocabulary words have the probability of <unk>.
        without_oov: perplexity without out-of-vocabulary words, which still serve as context.
    """

    tokens: int
    sentences: int
    oov_words: int
    with_oov: float
    without_oov: float

    @property
    def oov_rate(self) -> float:
        """Fraction of out-of-vocabulary words among the words, in 0..1."""
        words = self.tokens - self.sentences
        return self.oov_words / words if words else 0.0


def describe_language_model(path: Path) -> LanguageModelInfo:
    """Read format, number of n-grams and size of a language model file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ARPA file or KenLM binary, or it is damaged.
    """
    header = read_header(path)
    return LanguageModelInfo(header.kind, header.counts, path.stat().st_size)


def measure_perplexity(model: kenlm.Model, sentences: Iterable[str]) -> Perplexity:
    """Measure perplexity on normalized sentences, each from <s> to </s>; empty ones are skipped.

    Raises:
        ValueError: there is no sentence.
    """
    total = unknown = 0.0
    tokens = lines = oov_words = 0
    for sentence in sentences:
        if not sentence.split():
            continue
        lines += 1
        for log10_probability, _, oov in model.full_scores(sentence):
            tokens += 1
            total += log10_probability
            if oov:
                oov_words += 1
                unknown += log10_probability
    if not tokens:
        raise ValueError("no sentences to measure the perplexity on")
    with_oov = _perplexity(total, tokens)
    return Perplexity(tokens, lines, oov_words, with_oov, _perplexity(total - unknown, tokens - oov_words))


def _perplexity(log10_total: float, tokens: int) -> float:
    exponent = -log10_total / tokens
    return 10**exponent if exponent < 300 else math.inf
