"""Words in the language model: what a text costs, word by word."""

import math
from collections.abc import Sequence, Set
from functools import cached_property
from pathlib import Path

import kenlm

from lyrics_asr.language_model import load_kenlm, read_unigrams
from lyrics_asr.language_model.files import END
from lyrics_asr.options import DecodingOptions


class WordModel:
    """A KenLM model with the spelling of the words that it lacks (see `decoding.hypotheses`).

    Args:
        path: of the model.
        options: whose weights are used.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: a language model that cannot be read.
    """

    def __init__(self, path: Path, options: DecodingOptions) -> None:
        self.path = path
        self.lexicon = read_unigrams(path)
        self.kenlm = load_kenlm(path)
        self._letter_log10 = options.unk_char_log10

    @cached_property
    def known(self) -> frozenset[str]:
        """The words of the lexicon."""
        return frozenset(self.lexicon)

    def begin(self) -> kenlm.State:
        """The state at the beginning of a sentence."""
        state = kenlm.State()
        self.kenlm.BeginSentenceWrite(state)
        return state

    def log10(self, state: kenlm.State, words: Sequence[str], hot_words: Set[str]) -> tuple[float, kenlm.State]:
        """Base-10 logarithm of the probability of `words` after `state`, and the state after them."""
        total = 0.0
        for word in words:
            after = kenlm.State()
            total += self.kenlm.BaseScore(state, word, after)
            if word not in self.known and word not in hot_words:
                total += len(word) * self._letter_log10
            state = after
        return total, state

    def end_log10(self, state: kenlm.State) -> float:
        """Base-10 logarithm of the probability that the sentence ends after `state`."""
        return float(self.kenlm.BaseScore(state, END, kenlm.State()))


def language_model_weight(options: DecodingOptions) -> float:
    """What a base-10 logarithm of the language model counts in a score of natural logarithms."""
    return options.alpha * math.log(10)
