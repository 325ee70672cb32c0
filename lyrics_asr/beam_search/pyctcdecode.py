"""Prefix beam search by pyctcdecode: in Python, over letters, without looking ahead in the language model."""

import math
import weakref
from collections.abc import Sequence
from pathlib import Path

import kenlm
from jaxtyping import Float
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.decoder import BeamSearchDecoderCTC
from pyctcdecode.language_model import LanguageModel
from torch import Tensor

from lyrics_asr.beam_search.hypotheses import SentenceHypothesis
from lyrics_asr.beam_search.symbols import BLANK_COLUMN, DELIMITER, Symbols
from lyrics_asr.config import DecodingOptions
from lyrics_asr.language_model import load_kenlm, read_unigrams

_CLOSED_LOG10 = -1000.0


class PyctcdecodeDecoder:
    """Searches every text that the vocabulary can spell.

    pyctcdecode marks down beginnings of words that the lexicon lacks while they grow. With a closed vocabulary the mark
    is so low that only beginnings of known words stay in the beam, and what unknown words do come through is left out.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: a language model that cannot be read.
    """

    def __init__(self, symbols: Symbols, language_model_path: Path | None, options: DecodingOptions) -> None:
        self._symbols = symbols
        self._options = options
        self._model = None if language_model_path is None else _LanguageModel.load(language_model_path, options)
        self._decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(list(symbols.labels)), self._model)
        # pyctcdecode keeps language models in a class attribute, where they would outlive their decoders.
        weakref.finalize(self, self._decoder.cleanup)

    def decode(self, sentences: Sequence[Float[Tensor, "_ symbols"]]) -> list[list[SentenceHypothesis]]:
        """See `SentenceDecoder`."""
        return [self._decode(log_probs) for log_probs in sentences]

    def _decode(self, log_probs: Float[Tensor, "frames symbols"]) -> list[SentenceHypothesis]:
        beams = self._decoder.decode_beams(
            log_probs.numpy(),
            beam_width=self._options.beam_width,
            beam_prune_logp=self._options.beam_prune_logp,
            token_min_logp=self._options.token_min_logp,
        )
        heard = [(tuple(str(beam[0]).split()), float(beam[-2])) for beam in beams]
        if self._model is None:
            return [SentenceHypothesis(words, acoustic_score, None) for words, acoustic_score in heard]
        if not self._options.open_vocabulary:
            known = [(words, acoustic_score) for words, acoustic_score in heard if self._model.knows(words)]
            heard = known or [((), self._log_prob_of_silence(log_probs))]
        return [SentenceHypothesis(words, acoustic_score, self._model.log10(words)) for words, acoustic_score in heard]

    def _log_prob_of_silence(self, log_probs: Float[Tensor, "frames symbols"]) -> float:
        columns = [i for i, label in enumerate(self._symbols.labels) if i == BLANK_COLUMN or label == DELIMITER]
        return log_probs[:, columns].logsumexp(dim=1).sum().item()


class _LanguageModel(LanguageModel):
    """Scores the end of a beam whose last symbol is a delimiter, where pyctcdecode scores an unknown word."""

    @classmethod
    def load(cls, path: Path, options: DecodingOptions) -> "_LanguageModel":
        unigrams = read_unigrams(path)
        unknown_log10 = options.unknown_word_log10 if options.open_vocabulary else _CLOSED_LOG10
        return cls(load_kenlm(path), unigrams, alpha=options.alpha, beta=options.beta, unk_score_offset=unknown_log10)

    def score(self, prev_state: kenlm.State, word: str, is_last_word: bool = False) -> tuple[float, kenlm.State]:
        if word:
            score, state = super().score(prev_state, word, is_last_word)
            return float(score), state
        end_log10 = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self.alpha * end_log10 * math.log(10), prev_state

    def knows(self, words: Sequence[str]) -> bool:
        return all(word in self._unigram_set for word in words)

    def log10(self, words: Sequence[str]) -> float:
        """Of a sentence, with the mark-down of unknown words."""
        unknown = sum(word not in self._unigram_set for word in words)
        return float(self._kenlm_model.score(" ".join(words))) + unknown * self.unk_score_offset
