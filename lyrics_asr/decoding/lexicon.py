"""What the decoders search over: the symbols of a vocabulary, and the words of a language model.

Conventions
- Decoded text is in lower case, like language models, whatever the case of the vocabulary.
- Only the blank, the word delimiter and single characters are decoded; of other vocabularies word pieces, or phonemes.
  Other tokens, such as <unk>, are not lyrics.
- Without a word delimiter in a vocabulary of letters, the whole text is one word. Word pieces mark where words start.
  Words of phonemes follow each other without a mark; a lexicon tells them apart.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal

import kenlm
import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.language_model import load_kenlm, read_unigrams
from lyrics_asr.language_model.files import END
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import WORD_START, Vocabulary

BLANK, DELIMITER = "", " "
BLANK_COLUMN = 0

_MIN_SPELLED_SHARE = 0.01


@dataclass(frozen=True)
class Symbols:
    """Lower-case labels, each with the vocabulary columns that it merges.

    The blank is "" and always comes first; the word delimiter is " ".
    """

    labels: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Symbols":
        """The symbols of a vocabulary: its blank, its word delimiter, and what it spells with."""
        sources: dict[str, list[int]] = {BLANK: [vocabulary.blank_id]}
        if vocabulary.word_delimiter_id is not None:
            # Words of pieces and of phonemes are told apart without it.
            label = DELIMITER if vocabulary.unit == "letters" else BLANK
            sources.setdefault(label, []).append(vocabulary.word_delimiter_id)
        for token, column in vocabulary.text_ids.items():
            lowered = token.lower() if len(token.lower()) == len(token) else token
            sources.setdefault(DELIMITER if token.isspace() else lowered, []).append(column)
        return cls(tuple(sources), tuple(map(tuple, sources.values())), vocabulary)

    @property
    def unit(self) -> Literal["letters", "pieces", "phonemes"]:
        """What words are spelled with."""
        return self.vocabulary.unit

    def starts_word(self, label: str) -> bool:
        """Whether a label ends the word before it. Without a lexicon, each phoneme is a word for itself."""
        if self.unit == "letters":
            return label == DELIMITER
        return label.startswith(WORD_START) if self.unit == "pieces" else label != BLANK

    def spell(self, word: str) -> tuple[int, ...] | None:
        """The columns of a lower-case word; None if it cannot be spelled."""
        if self.unit == "letters":
            columns = [self._columns.get(letter) for letter in word]
        else:
            language = self.vocabulary.phoneme_voice or "en"  # words of a lexicon have nothing to be read out
            columns = [self._columns_of_sources.get(source) for source in spell(word, self.vocabulary, language)]
        spelled = tuple(column for column in columns if column is not None)
        return spelled if spelled and len(spelled) == len(columns) else None

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {label: column for column, label in enumerate(self.labels)}

    @cached_property
    def _columns_of_sources(self) -> dict[int, int]:
        return {source: column for column, sources in enumerate(self.sources) for source in sources}

    def columns(self, log_probs: Float[Tensor, "frames vocab"]) -> Float[Tensor, "frames symbols"]:
        """Log-probabilities of the labels, renormalized; upper and lower case of a letter are summed."""
        chosen = torch.stack([log_probs[:, list(source)].logsumexp(dim=1) for source in self.sources], dim=1)
        return chosen.log_softmax(dim=1)

    def merge_edge_delimiters(self, log_probs: Float[Tensor, "frames symbols"]) -> Float[Tensor, "frames symbols"]:
        """Add the delimiter's probability to the blank's before the first and after the last likely letter.

        A text neither starts nor ends with a delimiter. Without this step, forced alignment would extend its outer
        letters over the delimiter frames.
        """
        if DELIMITER not in self.labels:
            return log_probs
        delimiter_column = self.labels.index(DELIMITER)
        best = log_probs.argmax(dim=1)
        letters = ((best != BLANK_COLUMN) & (best != delimiter_column)).nonzero()[:, 0].tolist() or [len(best)]
        merged = log_probs.clone()
        for edge in (slice(0, letters[0]), slice(letters[-1] + 1, None)):
            merged[edge, BLANK_COLUMN] = log_probs[edge, [BLANK_COLUMN, delimiter_column]].logsumexp(dim=1)
        return merged

    def tokenize(self, words: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """The columns of a text, with delimiters between words of letters, and the half-open range of each word.

        Raises:
            ValueError: a word cannot be spelled.
        """
        tokens: list[int] = []
        ranges = []
        for word in words:
            spelled = self.spell(word)
            if spelled is None:
                raise ValueError(f"{word!r} cannot be spelled with this vocabulary")
            if tokens and DELIMITER in self._columns:
                tokens.append(self._columns[DELIMITER])
            ranges.append((len(tokens), len(tokens) + len(spelled)))
            tokens.extend(spelled)
        return tokens, ranges


def collapse(path: Sequence[int], labels: Sequence[str]) -> str:
    """Collapse a CTC path to its text: merge repeats, drop blanks."""
    return "".join(labels[column] for column, _ in groupby(path))


class WordLanguageModel:
    """A KenLM model that also scores out-of-vocabulary words, by their letters (see `decoding.hypotheses`).

    Words are given in lower case. A model may have them in another case: a word that it lacks in lower case is looked
    up in the first form that it has.

    Args:
        path: the KenLM model.
        options: weights of the score.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a KenLM model, or a damaged one.
    """

    def __init__(self, path: Path, options: DecodingOptions) -> None:
        self.path = path
        unigrams = read_unigrams(path)
        self._forms = {word.lower(): word for word in reversed(unigrams)}
        self._forms.update((word, word) for word in unigrams if word == word.lower())
        self.lexicon = tuple(self._forms)
        self.kenlm = load_kenlm(path)
        self._letter_log10 = options.unk_char_log10

    @cached_property
    def known(self) -> frozenset[str]:
        """The words of the lexicon."""
        return frozenset(self.lexicon)

    def form(self, word: str) -> str:
        """A lower-case word as the model has it."""
        return self._forms.get(word, word)

    def begin(self) -> kenlm.State:
        """The state at the start of a sentence."""
        state = kenlm.State()
        self.kenlm.BeginSentenceWrite(state)
        return state

    def log10(self, state: kenlm.State, words: Sequence[str], hot_words: Set[str]) -> tuple[float, kenlm.State]:
        """Base-10 log-probability of `words` after `state`, and the state that follows."""
        total = 0.0
        for word in words:
            after = kenlm.State()
            total += self.kenlm.BaseScore(state, self.form(word), after)
            if word not in self.known and word not in hot_words:
                total += len(word) * self._letter_log10
            state = after
        return total, state

    def end_log10(self, state: kenlm.State) -> float:
        """Base-10 log-probability that the sentence ends after `state`."""
        return float(self.kenlm.BaseScore(state, END, kenlm.State()))


def require_spellable(model: WordLanguageModel, symbols: Symbols) -> None:
    """Check that a language model has words for the letters of an acoustic model.

    Raises:
        ValueError: fewer than one word in a hundred can be spelled.
    """
    spelled = sum(symbols.spell(word) is not None for word in model.lexicon)
    if spelled < _MIN_SPELLED_SHARE * len(model.lexicon):
        raise ValueError(
            f"{model.path}: the acoustic model's letters can spell {spelled} of its {len(model.lexicon)} words; build "
            "the language model from text in the language and script of the acoustic model"
        )


def language_model_weight(options: DecodingOptions) -> float:
    """Factor from a base-10 logarithm of the language model to the natural-logarithm score."""
    return options.alpha * math.log(10)
