"""What a search chooses from at each frame: the letters of a vocabulary, its blank and its word delimiter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.types import Vocabulary

BLANK, DELIMITER = "", " "
BLANK_COLUMN = 0


def collapse(path: Sequence[int], labels: Sequence[str]) -> str:
    """The text of a path through the frames, as CTC reads it: repeats are one, blanks are none."""
    return "".join(labels[column] for column, _ in groupby(path))


@dataclass(frozen=True)
class Symbols:
    """Labels in lower case, each with the columns of the vocabulary that it stands for.

    "" is the blank, always first, and " " the word delimiter.
    """

    labels: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Symbols":
        """The symbols of a vocabulary: its blank, its word delimiter and its single characters."""
        sources: dict[str, list[int]] = {BLANK: [vocabulary.blank_id]}
        if vocabulary.word_delimiter_id is not None:
            sources[DELIMITER] = [vocabulary.word_delimiter_id]
        for character, column in vocabulary.character_ids.items():
            lowered = character.lower() if len(character.lower()) == 1 else character
            sources.setdefault(DELIMITER if character.isspace() else lowered, []).append(column)
        return cls(tuple(sources), tuple(map(tuple, sources.values())))

    def columns(self, log_probs: Float[Tensor, "frames vocab"]) -> Float[Tensor, "frames symbols"]:
        """Log-probabilities of the labels, renormalised; those of a letter's two cases add up."""
        chosen = torch.stack([log_probs[:, list(source)].logsumexp(dim=1) for source in self.sources], dim=1)
        return chosen.log_softmax(dim=1)

    def hush_edges(self, log_probs: Float[Tensor, "frames symbols"]) -> Float[Tensor, "frames symbols"]:
        """Let blanks stand for word delimiters too, before the first letter heard and after the last.

        A text has no delimiters at its ends; without this, its outer letters would be drawn over them.
        """
        if DELIMITER not in self.labels:
            return log_probs
        delimiter_column = self.labels.index(DELIMITER)
        best = log_probs.argmax(dim=1)
        heard = ((best != BLANK_COLUMN) & (best != delimiter_column)).nonzero()[:, 0].tolist() or [len(best)]
        hushed = log_probs.clone()
        for edge in (slice(0, heard[0]), slice(heard[-1] + 1, None)):
            hushed[edge, BLANK_COLUMN] = log_probs[edge, [BLANK_COLUMN, delimiter_column]].logsumexp(dim=1)
        return hushed

    def spell(self, words: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """The labels of a text of these words, and the range of each word's labels in it."""
        tokens: list[int] = []
        ranges = []
        for word in words:
            if tokens:
                tokens.append(self.labels.index(DELIMITER))
            start = len(tokens)
            tokens.extend(self.labels.index(character) for character in word)
            ranges.append((start, len(tokens)))
        return tokens, ranges
