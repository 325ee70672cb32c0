"""What every back end gives for a sentence, and how a hypothesis is scored.

The score of a text is

    ln P(text | emissions) + alpha * ln(10) * log10 P(text | language model) + beta * words

where the first term sums over all the paths that spell the text, as far as the beam has kept them, and the second
counts the ends of sentences and `unknown_word_log10` for every word that the language model lacks. Without a language
model the score is the first term alone: the bonus for words balances what the language model takes for each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from lyrics_asr.config import DecodingOptions


@dataclass(frozen=True)
class SentenceHypothesis:
    """Words that a sentence may be.

    Args:
        words: in lower case.
        acoustic_score: natural logarithm of the words' probability, given the emissions.
        language_model_log10: base-10 logarithm of the sentence's probability, as KenLM states it; None without
            a language model.
    """

    words: tuple[str, ...]
    acoustic_score: float
    language_model_log10: float | None

    def score(self, options: DecodingOptions) -> float:
        """The score that hypotheses are ranked by (see the module's docstring)."""
        if self.language_model_log10 is None:
            return self.acoustic_score
        language_model = options.alpha * math.log(10) * self.language_model_log10
        return self.acoustic_score + language_model + options.beta * len(self.words)


class SentenceDecoder(Protocol):
    """A back end of the beam search, built for one vocabulary, one language model and one set of options."""

    def decode(self, sentences: Sequence[Float[Tensor, "_ symbols"]]) -> list[list[SentenceHypothesis]]:
        """The hypotheses that are left in the beam for each sentence of a song: at least one, no text twice.

        Args:
            sentences: log-probabilities of `Symbols.labels`, at least one frame each.
        """
