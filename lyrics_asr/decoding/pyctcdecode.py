"""Prefix beam search by pyctcdecode: in Python, over letters, without looking ahead in the language model."""

import weakref
from collections.abc import Set

import kenlm
from jaxtyping import Float
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.decoder import BeamSearchDecoderCTC
from pyctcdecode.language_model import LanguageModel
from torch import Tensor

from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import StretchHypothesis
from lyrics_asr.decoding.lexicon import Symbols
from lyrics_asr.decoding.word_model import WordModel, language_model_weight
from lyrics_asr.options import DecodingOptions

_FORBIDDEN = -1000.0
"""What the beginning of no known word costs with a closed vocabulary: others are left in the beam alone."""


class PyctcdecodeDecoder:
    """Searches every text that the vocabulary can spell; see `StretchDecoder`.

    Words that the language model lacks pay for their letters while they grow, from the first letter on that no known
    word has there.
    """

    def __init__(self, symbols: Symbols, model: WordModel | None, options: DecodingOptions) -> None:
        self._symbols = symbols
        self._options = options
        self._model = None if model is None else _LanguageModel(model, options)
        self._decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(list(symbols.labels)), self._model)
        # pyctcdecode keeps language models in a class attribute, where they would outlive their decoders.
        weakref.finalize(self, self._decoder.cleanup)

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[StretchHypothesis]:
        """See `StretchDecoder`."""
        if self._model is not None:
            self._model.hot_words = hot_words
        beams = self._decoder.decode_beams(
            log_probs.numpy(),
            beam_width=self._options.beam_width,
            beam_prune_logp=self._options.beam_prune_logp,
            token_min_logp=self._options.token_min_logp,
            hotwords=sorted(hot_words),
            hotword_weight=self._options.hot_word_bonus,
        )
        heard = [StretchHypothesis(tuple(str(beam[0]).split()), float(beam[-2])) for beam in beams]
        if self._model is None or self._options.open_vocabulary:
            return heard
        allowed = [each for each in heard if all(map(self._model.knows, each.words))]
        return allowed or [StretchHypothesis((), text_log_prob(log_probs, self._symbols.labels, ()))]


class _LanguageModel(LanguageModel):
    """Charges unknown words by the letter, and scores the end of a beam that ends with a delimiter.

    pyctcdecode itself marks unknown words down by a constant, and scores such an end as an unknown word.
    """

    def __init__(self, model: WordModel, options: DecodingOptions) -> None:
        super().__init__(model.kenlm, model.lexicon, alpha=options.alpha, beta=options.beta, unk_score_offset=0.0)
        self._weight = language_model_weight(options)
        self._letter_score = self._weight * options.unk_char_log10
        self._open_vocabulary = options.open_vocabulary
        self.hot_words: Set[str] = frozenset()

    def score(self, prev_state: kenlm.State, word: str, is_last_word: bool = False) -> tuple[float, kenlm.State]:
        if word:
            score, state = super().score(prev_state, word, is_last_word)
            return float(score) + (0.0 if self.knows(word) else self._spelling_score(word)), state
        end_log10 = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self._weight * end_log10, prev_state

    def score_partial_token(self, partial_token: str) -> float:
        assert self._char_trie is not None  # there are unigrams
        return 0.0 if self._char_trie.has_node(partial_token) else self._spelling_score(partial_token)

    def knows(self, word: str) -> bool:
        return word in self._unigram_set or word in self.hot_words

    def _spelling_score(self, letters: str) -> float:
        return self._letter_score * len(letters) if self._open_vocabulary else _FORBIDDEN
