"""Beam search by flashlight-text: in C++, through the letter tree of a lexicon, with look-ahead in the language model.

Source: `LexiconDecoder` and `LexiconFreeDecoder` of flashlight-text (Kahn et al., 2022: Flashlight: Enabling Innovation
in Tools for Machine Learning), with CTC and with paths of equal text added up.

How our conventions are carried over
- Its KenLM gives base-10 logarithms: the weight is alpha * ln(10).
- A word of the lexicon ends with a delimiter. Each sentence gets one more frame, which is a delimiter for certain, so
  that its last word can end as well.
- An unknown word ends with a delimiter of its own, whose log-probability is that of the delimiter and the weighted
  `unknown_word_log10`: this marks down the word exactly once. KenLM scores it as <unk>.
- A vocabulary without delimiter has one that is impossible but in that last frame, so that it gives a single word.
- A symbol below `token_min_logp` gets the log-probability `_NOT_TRIED`. Where the lexicon has no word for what is
  heard, the best of the poor hypotheses then still comes out, with a poor score.
"""

import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
    ZeroLM,
)
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.beam_search.hypotheses import SentenceDecoder, SentenceHypothesis
from lyrics_asr.beam_search.symbols import BLANK_COLUMN, DELIMITER, Symbols, collapse
from lyrics_asr.config import DecodingOptions
from lyrics_asr.language_model import read_unigrams

_NOT_TRIED = -1000.0
_IMPOSSIBLE = -1e30

_SPELLED_TEXTS = 10
"""Texts without lexicon whose words may be heard in every sentence of the song."""

_MOST_UNKNOWN_WORDS = 10_000
"""Different unknown words of one song; what is heard beyond them is left to the lexicon."""


class FlashlightDecoder:
    """Searches the sentences that can be made of the language model's words and of unknown words heard in the song.

    With an open vocabulary, the words of the ten best texts of a search without lexicon that the lexicon lacks may be
    heard anywhere in the song. On noisy synthetic emissions this gave 19.8 % of words wrong; words from the most likely
    path alone gave 20.7 %, in a sixth of the time, and those of a hundred texts 19.6 %. Without a language model the
    search without lexicon is all.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: a language model that cannot be read, or one with no word that the vocabulary can spell.
    """

    def __init__(self, symbols: Symbols, language_model_path: Path | None, options: DecodingOptions) -> None:
        self._search: SentenceDecoder = (
            _Speller(symbols, options)
            if language_model_path is None
            else _Lexicon(symbols, language_model_path, options)
        )

    def decode(self, sentences: Sequence[Float[Tensor, "_ symbols"]]) -> list[list[SentenceHypothesis]]:
        """See `SentenceDecoder`."""
        return self._search.decode(sentences)


class _Speller:
    """Search without lexicon and language model."""

    def __init__(self, symbols: Symbols, options: DecodingOptions) -> None:
        self._labels = symbols.labels if DELIMITER in symbols.labels else (*symbols.labels, DELIMITER)
        self._options = options

    def decode(self, sentences: Sequence[Float[Tensor, "_ symbols"]]) -> list[list[SentenceHypothesis]]:
        return [self._decode(log_probs) for log_probs in sentences]

    def _decode(self, log_probs: Float[Tensor, "frames symbols"]) -> list[SentenceHypothesis]:
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
        ranked = sorted(summed, key=summed.__getitem__, reverse=True)
        return [SentenceHypothesis(words, summed[words], None) for words in ranked]


class _Lexicon:
    """Search through the letter tree of a language model's words, which looks ahead to the likeliest word beyond."""

    def __init__(self, symbols: Symbols, path: Path, options: DecodingOptions) -> None:
        self._options = options
        self._speller = _Speller(symbols, options)
        self._columns = {label: column for column, label in enumerate(symbols.labels) if label}
        self._delimiter = self._columns.setdefault(DELIMITER, len(symbols.labels))
        self._unknown_delimiter = max(self._columns.values()) + 1
        self._words = [word for word in read_unigrams(path) if self._spelled(word)]
        self._known = frozenset(self._words)
        if not self._words and not options.open_vocabulary:
            raise ValueError(
                f"{path}: the acoustic model's vocabulary can spell none of its words; lower-case text makes the "
                "language models that fit"
            )
        dictionary = Dictionary()
        for word in self._words:
            dictionary.add_entry(word)
        for i in range(_MOST_UNKNOWN_WORDS if options.open_vocabulary else 1):
            dictionary.add_entry(f"unknown word {i}")  # with white space, so that no model knows it
        self._model = _load_kenlm(path, dictionary)
        start = self._model.start(False)
        self._unigrams_log10 = [self._model.score(start, i)[1] for i in range(len(self._words) + 1)]

    def decode(self, sentences: Sequence[Float[Tensor, "_ symbols"]]) -> list[list[SentenceHypothesis]]:
        unknown: list[str] = []
        if self._options.open_vocabulary:
            texts = [text for spelled in self._speller.decode(sentences) for text in spelled[:_SPELLED_TEXTS]]
            heard = dict.fromkeys(word for text in texts for word in text.words)
            unknown = [word for word in heard if word not in self._known][:_MOST_UNKNOWN_WORDS]
        trie = self._trie(unknown)
        return [self._decode(log_probs, trie, [*self._words, *unknown]) for log_probs in sentences]

    def _decode(
        self, log_probs: Float[Tensor, "frames symbols"], trie: Any, words: Sequence[str]
    ) -> list[SentenceHypothesis]:
        weight = self._options.alpha * math.log(10)
        frames, symbols = log_probs.shape
        given = torch.full((frames + 1, self._unknown_delimiter + 1), _IMPOSSIBLE)
        given[:-1, :symbols], tried = _tried(log_probs, self._options)
        given[-1] = _NOT_TRIED
        given[-1, self._delimiter] = 0.0
        given[:, self._unknown_delimiter] = given[:, self._delimiter] + weight * self._options.unknown_word_log10
        options = LexiconDecoderOptions(
            beam_size=self._options.beam_width,
            beam_size_token=tried + 1,
            beam_threshold=-self._options.beam_prune_logp,
            lm_weight=weight,
            word_score=self._options.beta,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconDecoder(options, trie, self._model, self._delimiter, BLANK_COLUMN, len(self._words), [], False)
        hypotheses = []
        for result in _results(decoder, given):
            labels = [label for label in result.words if label >= 0]
            unknown = sum(label >= len(self._words) for label in labels)
            log10 = result.lmScore + unknown * self._options.unknown_word_log10
            acoustic_score = result.score - weight * log10 - self._options.beta * len(labels)
            hypotheses.append(SentenceHypothesis(tuple(words[i] for i in labels), acoustic_score, log10))
        return hypotheses

    def _trie(self, unknown: Sequence[str]) -> Any:
        trie = Trie(self._unknown_delimiter + 1, self._delimiter)
        for label, word in enumerate(self._words):
            spelling = [self._columns[character] for character in word]
            trie.insert([*spelling, self._delimiter], label, self._unigrams_log10[label])
        unknown_log10 = self._unigrams_log10[-1] + self._options.unknown_word_log10
        for label, word in enumerate(unknown, len(self._words)):
            spelling = [self._columns[character] for character in word]
            trie.insert([*spelling, self._unknown_delimiter], label, unknown_log10)
        trie.smear(SmearingMode.MAX)
        return trie

    def _spelled(self, word: str) -> bool:
        return all(character in self._columns for character in word)


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


def _load_kenlm(path: Path, dictionary: Any) -> Any:
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
