"""Prefix beam search with pyctcdecode, in Python: over letters, without language model look-ahead."""

import weakref
from collections.abc import Set

import kenlm
from jaxtyping import Float
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.decoder import BeamSearchDecoderCTC
from pyctcdecode.language_model import LanguageModel
from pygtrie import CharTrie
from torch import Tensor

from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import SegmentHypothesis
from lyrics_asr.decoding.lexicon import Symbols, WordLanguageModel, language_model_weight
from lyrics_asr.options import DecodingOptions

_FORBIDDEN = -1000.0
"""Score of a prefix of no known word with a closed vocabulary; low enough to drop it from the beam."""


class PyctcdecodeDecoder:
    """Searches all texts that the vocabulary can spell; see `SegmentDecoder`.

    The spelling penalty of an out-of-vocabulary word is charged while it is spelled, as soon as its letters are no
    prefix of a known word.
    """

    def __init__(self, symbols: Symbols, model: WordLanguageModel | None, options: DecodingOptions) -> None:
        self._symbols = symbols
        self._options = options
        self._model = None if model is None else _LanguageModel(model, options)
        self._decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(list(symbols.labels)), self._model)
        # pyctcdecode keeps language models in a class attribute, where they would outlive the decoder.
        weakref.finalize(self, self._decoder.cleanup)

    def decode(self, log_probs: Float[Tensor, "frames symbols"], hot_words: Set[str]) -> list[SegmentHypothesis]:
        """See `SegmentDecoder`."""
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
        found = [SegmentHypothesis(tuple(str(beam[0]).split()), float(beam[-2])) for beam in beams]
        if self._model is None or self._options.open_vocabulary:
            return found
        allowed = [each for each in found if all(map(self._model.knows, each.words))]
        return allowed or [SegmentHypothesis((), text_log_prob(log_probs, self._symbols, ()))]


class _LanguageModel(LanguageModel):
    """Penalizes unknown words per letter, and scores a beam that ends with a delimiter as a finished sentence.

    pyctcdecode's own class penalizes each unknown word by a constant, and scores such an end as an unknown word.
    """

    def __init__(self, model: WordLanguageModel, options: DecodingOptions) -> None:
        forms = list(map(model.form, model.lexicon))
        super().__init__(model.kenlm, forms, alpha=options.alpha, beta=options.beta, unk_score_offset=0.0)
        # Decoded text is in lower case, whatever the case of the model; pyctcdecode would drop words that it lacks.
        self._unigram_set = set(model.lexicon)
        self._char_trie = CharTrie.fromkeys(model.lexicon)
        self._form = model.form
        self._weight = language_model_weight(options)
        self._letter_score = self._weight * options.unk_char_log10
        self._open_vocabulary = options.open_vocabulary
        self.hot_words: Set[str] = frozenset()

    def score(self, prev_state: kenlm.State, word: str, is_last_word: bool = False) -> tuple[float, kenlm.State]:
        if word:
            score, state = super().score(prev_state, self._form(word), is_last_word)
            return float(score) + (0.0 if self.knows(word) else self._spelling_score(word)), state
        end_log10 = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self._weight * end_log10, prev_state

    def score_partial_token(self, partial_token: str) -> float:
        assert self._char_trie is not None  # built from the unigrams
        return 0.0 if self._char_trie.has_node(partial_token) else self._spelling_score(partial_token)

    def knows(self, word: str) -> bool:
        return word in self._unigram_set or word in self.hot_words

    def _spelling_score(self, letters: str) -> float:
        return self._letter_score * len(letters) if self._open_vocabulary else _FORBIDDEN
