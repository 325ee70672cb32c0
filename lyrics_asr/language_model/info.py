"""What a language model is, and how well it predicts a text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import kenlm

from lyrics_asr.language_model.files import read_header


@dataclass(frozen=True)
class LanguageModelInfo:
    """A model's file.

    Args:
        kind: "ARPA", or the data structure of a KenLM binary: "probing", "trie", ...
        counts: n-grams of every order, from unigrams on, with <s>, </s> and <unk>.
        size_bytes: of the file.
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
    """How well a model predicts a text, as KenLM's `query` counts it.

    Args:
        tokens: words and ends of sentences.
        oov_words: words that the model does not know.
        with_oov: perplexity over all tokens, unknown words with the probability of <unk>.
        without_oov: perplexity over the other tokens alone; unknown words still are context.
    """

    tokens: int
    sentences: int
    oov_words: int
    with_oov: float
    without_oov: float

    @property
    def oov_rate(self) -> float:
        """Share of the words that the model does not know, ends of sentences not counted."""
        words = self.tokens - self.sentences
        return self.oov_words / words if words else 0.0


def describe_language_model(path: Path) -> LanguageModelInfo:
    """Look into the file of a model.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither an ARPA file nor a KenLM binary, or a damaged one.
    """
    header = read_header(path)
    return LanguageModelInfo(header.kind, header.counts, path.stat().st_size)


def measure_perplexity(model: kenlm.Model, sentences: Iterable[str]) -> Perplexity:
    """Perplexity of a model on normalised sentences, each from <s> to </s>; empty ones are skipped.

    Raises:
        ValueError: no sentence.
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
