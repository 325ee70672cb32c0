"""What every back end gives for a stretch of a song, and how a text is scored.

The score of a text is

    ln P(text | emissions) + alpha * ln(10) * log10 P(text | language model) + beta * words
        + hot_word_bonus * hot words

where the first term sums over all the paths that spell the text. Without a language model the second and the third are
left out: the bonus for words balances what the language model takes for each.

The language model gives words that it lacks the probability of <unk>, times 10 ** `unk_char_log10` for every
letter: a word model and a spelling model, in which all letters are equally likely, as one (Bisani & Ney, 2005, Open
Vocabulary Speech Recognition with Flat Hybrid Models, there with a model of the spelling). Hot words that it lacks are
<unk> alone.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class StretchHypothesis:
    """Words that a stretch of a song may be.

    Args:
        words: in lower case.
        acoustic_score: natural logarithm of the words' probability, given the emissions, as far as the search knows it.
    """

    words: tuple[str, ...]
    acoustic_score: float


class StretchDecoder(Protocol):
    """A back end of the beam search, built for one vocabulary, one language model and one set of options."""

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[StretchHypothesis]:
        """What is left in the beam of a search for one sentence: at least one text, the best first, none twice.

        Args:
            log_probs: of `Symbols.labels`, at least one frame.
            hot_words: in lower case.
        """
