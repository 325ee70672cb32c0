"""The interface of the beam search back ends, and how they score a text.

The score of a text is

    ln P(text | emissions) + alpha * ln(10) * log10 P(text | language model) + beta * words
        + hot_word_bonus * hot words

The first term sums over all CTC paths that spell the text. Without a language model, the second and third terms are
left out: the word bonus only compensates for what the language model charges per word.

Out-of-vocabulary words are spelled letter by letter. Each has the probability of <unk> in the language model, times
10 ** `unk_char_log10` per letter: a word model combined with a spelling model in which all letters are equally likely
(after Bisani & Ney, 2005, Open Vocabulary Speech Recognition with Flat Hybrid Models, who train the spelling model).
Out-of-vocabulary hot words only have the probability of <unk>.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SegmentHypothesis:
    """A candidate text of one segment of a song.

    Args:
        words: in lower case.
        acoustic_score: natural logarithm of the text's probability given the emissions, over the paths in the beam.
    """

    words: tuple[str, ...]
    acoustic_score: float


class SegmentDecoder(Protocol):
    """A beam search back end, built for one vocabulary, one language model and one set of options."""

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[SegmentHypothesis]:
        """Decode a segment as one sentence.

        Args:
            log_probs: columns as in `Symbols.labels`; at least one frame.
            hot_words: in lower case.

        Returns:
            The distinct texts in the final beam, best first; at least one.
        """
