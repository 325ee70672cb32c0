"""Beam search by flashlight-text: in C++, through the letter tree of a lexicon, with look-ahead in the language model.

Source: `LexiconDecoder` and `LexiconFreeDecoder` of flashlight-text (Kahn et al., 2022: Flashlight: Enabling Innovation
in Tools for Machine Learning), with CTC and with paths of equal text added up.

How our conventions are carried over
- Its KenLM gives base-10 logarithms: the weight is alpha * ln(10).
- A word of the lexicon ends with a delimiter. Each stretch gets one more frame, which is a delimiter for certain, so
  that its last word can end as well.
- Words that the lexicon lacks go through a branch of the tree in which any letter may follow any other. Its letters
  have columns of their own, copies of the vocabulary's, because a node of the tree has one child for a column; so have
  the delimiters that end such a word, one for every length, whose log-probabilities include what the letters cost.
  KenLM scores the word as <unk>. Texts that differ in the spelling of such words share places in the beam where they
  end in the same letter, and their probabilities are added up: it is the spelling of the best of them that comes out.
- A hot word ends with another delimiter, whose log-probability includes the bonus.
- A vocabulary without delimiter has one that is impossible but in that last frame, so that it gives a single word.
- A symbol below `token_min_logp` gets the log-probability `_NOT_TRIED`. Where no word fits what is heard, the best of
  the poor hypotheses then still comes out, with a poor score.
"""

import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from flashlight.lib.text.decoder import (
    CriterionType,
    LexiconDecoder,
    LexiconDecoderOptions,
    LexiconFreeDecoder,
    LexiconFreeDecoderOptions,
    SmearingMode,
    Trie,
    TrieNode,
    ZeroLM,
)
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.hypotheses import StretchHypothesis
from lyrics_asr.decoding.lexicon import BLANK_COLUMN, DELIMITER, Symbols, collapse
from lyrics_asr.decoding.word_model import WordModel, language_model_weight
from lyrics_asr.options import DecodingOptions

_NOT_TRIED = -1000.0
_IMPOSSIBLE = -1e30

_MOST_LETTERS = 16
"""Of a word that the lexicon lacks. Every length costs time, and the few longer words are hardly ever heard right."""


class FlashlightDecoder:
    """Searches texts of the language model's words, of hot words and of words spelled letter by letter.

    Without a language model, it searches every text that the vocabulary can spell.

    Raises:
        ValueError: a language model with no word that the vocabulary can spell, and no other words are asked for.
    """

    def __init__(self, symbols: Symbols, model: WordModel | None, options: DecodingOptions) -> None:
        self._speller = _Speller(symbols, options)
        self._lexicon = _Lexicon(symbols, model, options)
        self._has_model = model is not None
        self._bonus = options.hot_word_bonus

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[StretchHypothesis]:
        """See `StretchDecoder`."""
        if self._has_model:
            return self._lexicon.decode(log_probs, hot_words)
        spelled = self._speller.decode(log_probs)
        if not hot_words:
            return spelled
        # The tree finds the hot words, where the other search may have dropped them.
        heard = {each.words: each for each in (*self._lexicon.decode(log_probs, hot_words), *spelled)}

        def score(hypothesis: StretchHypothesis) -> float:
            return hypothesis.acoustic_score + self._bonus * sum(word in hot_words for word in hypothesis.words)

        return sorted(heard.values(), key=score, reverse=True)


class _Speller:
    """Search without lexicon and language model."""

    def __init__(self, symbols: Symbols, options: DecodingOptions) -> None:
        self._labels = _with_delimiter(symbols)
        self._options = options

    def decode(self, log_probs: Float[Tensor, "frames symbols"]) -> list[StretchHypothesis]:
        frames, symbols = log_probs.shape
        given = torch.full((frames, len(self._labels)), _IMPOSSIBLE)
        given[:, :symbols], tried = _tried(log_probs, self._options)
        options = LexiconFreeDecoderOptions(
            beam_size=self._options.beam_width,
            beam_size_token=tried,
            beam_threshold=-self._options.beam_prune_logp,
            lm_weight=0.0,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconFreeDecoder(options, ZeroLM(), self._labels.index(DELIMITER), BLANK_COLUMN, [])
        # Texts that differ in the number of delimiters between two words are the same text.
        scores: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for result in _results(decoder, given):
            scores[tuple(collapse(result.tokens, self._labels).split())].append(result.score)
        summed = {words: torch.tensor(each, dtype=torch.float64).logsumexp(0).item() for words, each in scores.items()}
        return [
            StretchHypothesis(words, summed[words]) for words in sorted(summed, key=summed.__getitem__, reverse=True)
        ]


class _Lexicon:
    """Search through the letter tree.

    The columns of what flashlight-text is given: the symbols, with a delimiter; the symbols once more, for spelled
    words; a delimiter for every length of a spelled word; the delimiter of hot words.
    """

    def __init__(self, symbols: Symbols, model: WordModel | None, options: DecodingOptions) -> None:
        self._options = options
        self._labels = _with_delimiter(symbols)
        self._columns = {label: column for column, label in enumerate(self._labels) if label}
        self._delimiter = self._columns[DELIMITER]
        self._letters = torch.tensor([column for column in self._columns.values() if column != self._delimiter])
        self._spelled_delimiter = 2 * len(self._labels)
        self._hot_delimiter = self._spelled_delimiter + _MOST_LETTERS

        words = [] if model is None else [word for word in model.lexicon if self._can_spell(word)]
        open_vocabulary = options.open_vocabulary or model is None
        if model is not None and not words and not open_vocabulary:
            raise ValueError(
                f"{model.path}: the acoustic model's vocabulary can spell none of its words; lower-case text makes the "
                "language models that fit"
            )
        self._unknown = len(words)
        self._model = ZeroLM() if model is None else _load_kenlm(model.path, words)
        start = self._model.start(False)
        self._unigrams_log10 = [self._model.score(start, label)[1] for label in range(len(words) + 1)]
        self._weight = 1.0 if model is None else language_model_weight(options)
        self._beta = 0.0 if model is None else options.beta
        letter_log10 = 0.0 if model is None else options.unk_char_log10
        self._spelling_log10 = letter_log10 * torch.arange(1, _MOST_LETTERS + 1)

        self._trie = Trie(self._hot_delimiter + 1, self._delimiter)
        for label, word in enumerate(words):
            self._trie.insert([*self._spell(word), self._delimiter], label, self._unigrams_log10[label])
        self._trie.smear(SmearingMode.MAX)
        self._root = self._trie.search([])
        if open_vocabulary:
            self._add_spelling()
        self._hot_words: Set[str] = frozenset()
        self._changed: list[tuple[Any, dict[int, Any], float]] = []

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[StretchHypothesis]:
        self._expect(hot_words)
        frames, symbols = log_probs.shape
        given = torch.full((frames + 1, self._hot_delimiter + 1), _IMPOSSIBLE)
        given[:-1, :symbols], tried = _tried(log_probs, self._options)
        given[-1] = _NOT_TRIED
        given[-1, self._delimiter] = 0.0
        given[:, len(self._labels) + self._letters] = given[:, self._letters]
        delimiter = given[:, [self._delimiter]]
        given[:, self._spelled_delimiter : self._hot_delimiter] = delimiter + self._weight * self._spelling_log10
        given[:, [self._hot_delimiter]] = delimiter + self._options.hot_word_bonus
        options = LexiconDecoderOptions(
            beam_size=self._options.beam_width,
            beam_size_token=2 * tried + _MOST_LETTERS + 1,
            beam_threshold=-self._options.beam_prune_logp,
            lm_weight=self._weight,
            word_score=self._beta,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconDecoder(
            options, self._trie, self._model, self._delimiter, BLANK_COLUMN, self._unknown, [], False
        )
        best: dict[tuple[str, ...], StretchHypothesis] = {}
        for result in _results(decoder, given):
            hypothesis = self._hypothesis(result)
            best.setdefault(hypothesis.words, hypothesis)
        return list(best.values())

    def _hypothesis(self, result: Any) -> StretchHypothesis:
        """What a path of the search spells, and its score without what its words cost."""
        words, letters, previous = [], "", BLANK_COLUMN
        costs = self._weight * result.lmScore
        for column, label in zip(result.tokens, result.words, strict=True):
            if column != previous and column < self._spelled_delimiter:
                letters += self._labels[column % len(self._labels)].strip()
            if label >= 0:
                words.append(letters)
                letters = ""
                costs += self._beta
                if column == self._hot_delimiter:
                    costs += self._options.hot_word_bonus
                elif column >= self._spelled_delimiter:
                    costs += self._weight * self._spelling_log10[column - self._spelled_delimiter].item()
            previous = column
        return StretchHypothesis(tuple(words), result.score - costs)

    def _add_spelling(self) -> None:
        """Hang a branch of any letters on the tree."""
        letters = (len(self._labels) + self._letters).tolist()
        longer: dict[int, Any] = {}
        for length in range(_MOST_LETTERS, 0, -1):
            column = self._spelled_delimiter + length - 1
            end = TrieNode(column)
            end.labels = [self._unknown]
            node = TrieNode(letters[0])
            node.max_score = self._unigrams_log10[-1] + self._spelling_log10[length - 1].item()
            node.children = {**longer, column: end}
            longer = dict.fromkeys(letters, node)
        self._root.children = {**self._root.children, **longer}

    def _expect(self, hot_words: Set[str]) -> None:
        """Make the tree expect these hot words and no others."""
        if hot_words == self._hot_words:
            return
        for node, children, max_score in reversed(self._changed):
            node.children, node.max_score = children, max_score
        self._changed = []
        for word in sorted(hot_words):
            if word and self._can_spell(word):
                self._heat(word)
        self._hot_words = frozenset(hot_words)

    def _heat(self, word: str) -> None:
        """Let a word end with the delimiter of hot words, and more of the bonus count with every letter."""
        spelling = self._spell(word)
        known = self._trie.search([*spelling, self._delimiter])
        label = known.labels[0] if known is not None else self._unknown
        full = self._options.hot_word_bonus / self._weight if self._weight else 0.0
        node = self._root
        for length, column in enumerate(spelling, 1):
            children = node.children
            if column not in children:
                child = TrieNode(column)
                child.max_score = -math.inf
                self._change(node, {**children, column: child})
            child = node.children[column]
            child_score = self._unigrams_log10[label] + full * length / len(spelling)
            self._change(child, child.children, max(child.max_score, child_score))
            node = child
        end = TrieNode(self._hot_delimiter)
        end.labels = [label]
        others = {column: child for column, child in node.children.items() if column != self._delimiter}
        self._change(node, {**others, self._hot_delimiter: end})

    def _change(self, node: Any, children: dict[int, Any], max_score: float | None = None) -> None:
        self._changed.append((node, node.children, node.max_score))
        node.children = children
        node.max_score = node.max_score if max_score is None else max_score

    def _can_spell(self, word: str) -> bool:
        return all(character in self._columns for character in word)

    def _spell(self, word: str) -> list[int]:
        return [self._columns[character] for character in word]


def _with_delimiter(symbols: Symbols) -> tuple[str, ...]:
    return symbols.labels if DELIMITER in symbols.labels else (*symbols.labels, DELIMITER)


def _tried(
    log_probs: Float[Tensor, "frames symbols"], options: DecodingOptions
) -> tuple[Float[Tensor, "frames symbols"], int]:
    """Log-probabilities of the symbols that are tried, and how many they are at most at one frame."""
    tried = log_probs >= options.token_min_logp
    tried[torch.arange(len(log_probs)), log_probs.argmax(dim=1)] = True
    return log_probs.where(tried, torch.tensor(_NOT_TRIED)), int(tried.sum(dim=1).max())


def _results(decoder: Any, given: Float[Tensor, "frames columns"]) -> list[Any]:
    array = given.contiguous().numpy()
    return list(decoder.decode(array.ctypes.data, *array.shape))


def _load_kenlm(path: Path, words: Sequence[str]) -> Any:
    """The model, with the words' places in the list for labels, and one more label for words that it lacks."""
    dictionary = Dictionary()
    for word in words:
        dictionary.add_entry(word)
    dictionary.add_entry("unknown word")  # with white space, so that no model knows it
    try:
        with _hushed_stderr():
            return KenLM(str(path), dictionary)
    except RuntimeError as error:
        raise ValueError(f"{path}: KenLM cannot read it ({error}); build it with `lyrics-asr lm`") from error


@contextmanager
def _hushed_stderr() -> Iterator[None]:
    """KenLM draws a progress bar on the process's standard error, which it cannot be told not to."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
