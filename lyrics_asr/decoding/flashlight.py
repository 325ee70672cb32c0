"""Beam search with flashlight-text, in C++: a trie of the lexicon with language model look-ahead.

Source: `LexiconDecoder` and `LexiconFreeDecoder` of flashlight-text (Kahn et al., 2022: Flashlight: Enabling Innovation
in Tools for Machine Learning), with the CTC criterion and `log_add` (paths of the same text are summed).

How the score of `decoding.hypotheses` is mapped to flashlight-text
- Its KenLM returns base-10 logarithms, so the weight is alpha * ln(10).
- In the trie, every word ends with a delimiter. Each segment gets an extra last frame in which the delimiter has
  probability 1, so that the last word can end.
- Out-of-vocabulary words use a branch of the trie in which any letter may follow any other. A trie node has only one
  child per column, so this branch has its own copy of the letter columns. It also has one delimiter column per word
  length, whose log-probability includes the spelling penalty. KenLM scores the word as <unk>. Spellings that end in
  the same letter share a place in the beam: their probabilities are summed, and the best spelling is returned.
- A hot word ends with a delimiter column of its own, whose log-probability includes the bonus.
- If the vocabulary has no delimiter, a delimiter is added that is impossible except in the extra last frame, so that
  the whole segment is one word.
- Symbols below `token_min_logp` get the log-probability `_PRUNED_LOG_PROB` instead of being dropped, so that a text is
  returned, with a low score, even if no word fits the emissions.
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

from lyrics_asr.decoding.hypotheses import SegmentHypothesis
from lyrics_asr.decoding.lexicon import (
    BLANK_COLUMN,
    DELIMITER,
    Symbols,
    WordLanguageModel,
    collapse,
    language_model_weight,
)
from lyrics_asr.options import DecodingOptions

_PRUNED_LOG_PROB = -1000.0
_IMPOSSIBLE_LOG_PROB = -1e30

_MAX_SPELLED_LETTERS = 16
"""Longest out-of-vocabulary word. Each length costs time, and longer words are rare and rarely recognized correctly."""


class FlashlightDecoder:
    """Searches the language model's words, hot words and, with an open vocabulary, words spelled letter by letter.

    Without a language model, it searches all texts that the vocabulary can spell.

    Raises:
        ValueError: the vocabulary is closed, and can spell none of the language model's words.
    """

    def __init__(self, symbols: Symbols, model: WordLanguageModel | None, options: DecodingOptions) -> None:
        self._letters = _LexiconFreeSearch(symbols, options)
        self._lexicon = _LexiconSearch(symbols, model, options)
        self._has_model = model is not None
        self._bonus = options.hot_word_bonus

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[SegmentHypothesis]:
        """See `SegmentDecoder`."""
        if self._has_model:
            return self._lexicon.decode(log_probs, hot_words)
        spelled = self._letters.decode(log_probs)
        if not hot_words:
            return spelled
        # The lexicon search finds hot words that the lexicon-free search may have pruned.
        found = {each.words: each for each in (*self._lexicon.decode(log_probs, hot_words), *spelled)}

        def score(hypothesis: SegmentHypothesis) -> float:
            return hypothesis.acoustic_score + self._bonus * sum(word in hot_words for word in hypothesis.words)

        return sorted(found.values(), key=score, reverse=True)


class _LexiconFreeSearch:
    """Search over letters, without lexicon and language model."""

    def __init__(self, symbols: Symbols, options: DecodingOptions) -> None:
        self._labels = _with_delimiter(symbols)
        self._options = options

    def decode(self, log_probs: Float[Tensor, "frames symbols"]) -> list[SegmentHypothesis]:
        frames, symbols = log_probs.shape
        emissions = torch.full((frames, len(self._labels)), _IMPOSSIBLE_LOG_PROB)
        emissions[:, :symbols], max_tokens = _prune_tokens(log_probs, self._options)
        options = LexiconFreeDecoderOptions(
            beam_size=self._options.beam_width,
            beam_size_token=max_tokens,
            beam_threshold=-self._options.beam_prune_logp,
            lm_weight=0.0,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconFreeDecoder(options, ZeroLM(), self._labels.index(DELIMITER), BLANK_COLUMN, [])
        # Paths that only differ in the number of delimiters between two words spell the same text.
        scores: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for result in _decode(decoder, emissions):
            scores[tuple(collapse(result.tokens, self._labels).split())].append(result.score)
        summed = {words: torch.tensor(each, dtype=torch.float64).logsumexp(0).item() for words, each in scores.items()}
        return [
            SegmentHypothesis(words, summed[words]) for words in sorted(summed, key=summed.__getitem__, reverse=True)
        ]


class _LexiconSearch:
    """Search over the words of a trie.

    The emissions for flashlight-text have these columns: the symbols, including a delimiter; a copy of the symbols for
    spelled words; one delimiter per length of a spelled word; the delimiter of hot words.
    """

    def __init__(self, symbols: Symbols, model: WordLanguageModel | None, options: DecodingOptions) -> None:
        self._options = options
        self._labels = _with_delimiter(symbols)
        self._columns = {label: column for column, label in enumerate(self._labels) if label}
        self._delimiter = self._columns[DELIMITER]
        self._letters = torch.tensor([column for column in self._columns.values() if column != self._delimiter])
        self._spelled_delimiter = 2 * len(self._labels)
        self._hot_delimiter = self._spelled_delimiter + _MAX_SPELLED_LETTERS

        words = [] if model is None else [word for word in model.lexicon if self._can_spell(word)]
        open_vocabulary = options.open_vocabulary or model is None
        self._unknown = len(words)
        self._model = ZeroLM() if model is None else _load_kenlm(model.path, list(map(model.form, words)))
        start = self._model.start(False)
        self._unigrams_log10 = [self._model.score(start, label)[1] for label in range(len(words) + 1)]
        self._weight = 1.0 if model is None else language_model_weight(options)
        self._beta = 0.0 if model is None else options.beta
        letter_log10 = 0.0 if model is None else options.unk_char_log10
        self._spelling_log10 = letter_log10 * torch.arange(1, _MAX_SPELLED_LETTERS + 1)

        self._trie = Trie(self._hot_delimiter + 1, self._delimiter)
        for label, word in enumerate(words):
            self._trie.insert([*self._spell(word), self._delimiter], label, self._unigrams_log10[label])
        self._trie.smear(SmearingMode.MAX)
        self._root = self._trie.search([])
        if open_vocabulary:
            self._add_spelling()
        self._hot_words: Set[str] = frozenset()
        self._changed: list[tuple[Any, dict[int, Any], float]] = []

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[SegmentHypothesis]:
        self._set_hot_words(hot_words)
        frames, symbols = log_probs.shape
        emissions = torch.full((frames + 1, self._hot_delimiter + 1), _IMPOSSIBLE_LOG_PROB)
        emissions[:-1, :symbols], max_tokens = _prune_tokens(log_probs, self._options)
        emissions[-1] = _PRUNED_LOG_PROB
        emissions[-1, self._delimiter] = 0.0
        emissions[:, len(self._labels) + self._letters] = emissions[:, self._letters]
        delimiter = emissions[:, [self._delimiter]]
        emissions[:, self._spelled_delimiter : self._hot_delimiter] = delimiter + self._weight * self._spelling_log10
        emissions[:, [self._hot_delimiter]] = delimiter + self._options.hot_word_bonus
        options = LexiconDecoderOptions(
            beam_size=self._options.beam_width,
            beam_size_token=2 * max_tokens + _MAX_SPELLED_LETTERS + 1,
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
        best: dict[tuple[str, ...], SegmentHypothesis] = {}
        for result in _decode(decoder, emissions):
            hypothesis = self._hypothesis(result)
            best.setdefault(hypothesis.words, hypothesis)
        return list(best.values())

    def _hypothesis(self, result: Any) -> SegmentHypothesis:
        """The text of a decoded path, and its score without the scores of its words."""
        words, letters, previous = [], "", BLANK_COLUMN
        word_scores = self._weight * result.lmScore
        for column, label in zip(result.tokens, result.words, strict=True):
            if column != previous and column < self._spelled_delimiter:
                letters += self._labels[column % len(self._labels)].strip()
            if label >= 0:
                words.append(letters)
                letters = ""
                word_scores += self._beta
                if column == self._hot_delimiter:
                    word_scores += self._options.hot_word_bonus
                elif column >= self._spelled_delimiter:
                    word_scores += self._weight * self._spelling_log10[column - self._spelled_delimiter].item()
            previous = column
        return SegmentHypothesis(tuple(words), result.score - word_scores)

    def _add_spelling(self) -> None:
        """Add the branch of out-of-vocabulary words to the trie."""
        letters = (len(self._labels) + self._letters).tolist()
        longer: dict[int, Any] = {}
        for length in range(_MAX_SPELLED_LETTERS, 0, -1):
            column = self._spelled_delimiter + length - 1
            end = TrieNode(column)
            end.labels = [self._unknown]
            node = TrieNode(letters[0])
            node.max_score = self._unigrams_log10[-1] + self._spelling_log10[length - 1].item()
            node.children = {**longer, column: end}
            longer = dict.fromkeys(letters, node)
        self._root.children = {**self._root.children, **longer}

    def _set_hot_words(self, hot_words: Set[str]) -> None:
        """Undo the changes for the previous hot words, and add these to the trie."""
        if hot_words == self._hot_words:
            return
        for node, children, max_score in reversed(self._changed):
            node.children, node.max_score = children, max_score
        self._changed = []
        for word in sorted(hot_words):
            if word and self._can_spell(word):
                self._add_hot_word(word)
        self._hot_words = frozenset(hot_words)

    def _add_hot_word(self, word: str) -> None:
        """End a word with the hot-word delimiter, and spread its bonus over its letters in the look-ahead scores."""
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


def _prune_tokens(
    log_probs: Float[Tensor, "frames symbols"], options: DecodingOptions
) -> tuple[Float[Tensor, "frames symbols"], int]:
    """Prune symbols below `token_min_logp`, but never a frame's best one; also the most symbols left in any frame."""
    kept = log_probs >= options.token_min_logp
    kept[torch.arange(len(log_probs)), log_probs.argmax(dim=1)] = True
    return log_probs.where(kept, torch.tensor(_PRUNED_LOG_PROB)), int(kept.sum(dim=1).max())


def _decode(decoder: Any, emissions: Float[Tensor, "frames columns"]) -> list[Any]:
    array = emissions.contiguous().numpy()
    return list(decoder.decode(array.ctypes.data, *array.shape))


def _load_kenlm(path: Path, words: Sequence[str]) -> Any:
    """Load a model whose labels are the indices of `words`, plus one label for unknown words."""
    dictionary = Dictionary()
    for word in words:
        dictionary.add_entry(word)
    dictionary.add_entry("unknown word")  # contains a space, so no model has it
    try:
        with _no_stderr():
            return KenLM(str(path), dictionary)
    except RuntimeError as error:
        raise ValueError(f"{path}: KenLM cannot read it ({error}); build it with `lyrics-asr lm`") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Silence file descriptor 2: KenLM writes a progress bar to it and has no option to turn it off."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
