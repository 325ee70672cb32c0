"""Beam search over the emissions of a song, with an optional KenLM model.

A song is split into segments in the middle of its long pauses. A back end decodes each segment: flashlight-text or
pyctcdecode, and for word pieces and phonemes `word_search`. The language model then joins the best hypotheses of all
segments (see `decoding.rescoring`). Back ends keep their whole search history: without the split, the memory of
pyctcdecode would grow with the square of the length.

The frames that back ends report are not used. Where two prefixes merge, they keep the frames of only one of them, which
shifts words by up to half a second on noisy emissions. The final text is force-aligned instead (see
`alignment.word_spans`).
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lyrics_asr.alignment.word_spans import WordSpan, timed_words, word_spans
from lyrics_asr.decoding.flashlight import FlashlightDecoder
from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import SegmentDecoder, SegmentHypothesis
from lyrics_asr.decoding.lexicon import BLANK, BLANK_COLUMN, DELIMITER, Symbols, WordLanguageModel, require_spellable
from lyrics_asr.decoding.rescoring import SongHypothesis, join_segments
from lyrics_asr.decoding.word_search import WordSearch
from lyrics_asr.emissions import Emissions
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import FrameGrid, TimedWord, Vocabulary

_MIN_PAUSE_SECONDS = 0.6
"""A song is split at pauses of at least this length."""

_MAX_SEGMENT_SECONDS = 30.0
"""Longer segments are split at a shorter pause, if they have one."""

_MIN_SEGMENT_HYPOTHESES = 5
"""Hypotheses per segment that are joined; more if the caller asks for more."""


@dataclass(frozen=True)
class Hypothesis:
    """A candidate text of a song.

    Args:
        words: with times and confidences from the most likely path that spells them.
        acoustic_score: natural logarithm of the text's probability given the emissions, summed over all paths that
            keep each segment's words in their segment.
        language_model_log10: base-10 logarithm of the text's probability in the language model, penalties of
            out-of-vocabulary words included; None without a language model.
        score: natural logarithm; hypotheses are ranked by it (see `decoding.hypotheses`).
    """

    words: tuple[TimedWord, ...]
    acoustic_score: float
    language_model_log10: float | None
    score: float


class BeamSearch:
    """A beam search decoder for one vocabulary, one language model and one set of options.

    Args:
        vocabulary: of the emissions.
        language_model_path: KenLM model; None to decode without one.
        options: back end, beam and weights.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: the language model cannot be read, or the vocabulary can spell almost none of its words; or there is
            no language model, whose words a vocabulary of phonemes needs.
        ModuleNotFoundError: pyctcdecode is not installed.
    """

    def __init__(self, vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> None:
        self._vocabulary = vocabulary
        self._language_model_path = language_model_path
        self._options = options
        self._symbols = Symbols.of(vocabulary)
        self._model: WordLanguageModel | None = None
        needs_lexicon = vocabulary.unit == "phonemes" or not options.open_vocabulary
        if language_model_path is not None and (options.alpha > 0 or needs_lexicon):
            self._model = WordLanguageModel(language_model_path, options)
            require_spellable(self._model, self._symbols)
        self._decoder: SegmentDecoder
        if vocabulary.unit != "letters":
            self._decoder = WordSearch(self._symbols, self._model, options)
        elif options.decoder == "flashlight":
            self._decoder = FlashlightDecoder(self._symbols, self._model, options)
        else:
            from lyrics_asr.decoding.pyctcdecode import PyctcdecodeDecoder  # an extra

            self._decoder = PyctcdecodeDecoder(self._symbols, self._model, options)

    def __reduce__(self) -> tuple[type["BeamSearch"], tuple[Vocabulary, Path | None, DecodingOptions]]:
        """Pickle the arguments, which are small; loading builds the decoder anew, in another process as well."""
        return type(self), (self._vocabulary, self._language_model_path, self._options)

    def decode(self, emissions: Emissions, hot_words: Set[str] = frozenset()) -> tuple[TimedWord, ...]:
        """Decode the best text.

        Hypotheses are ranked by the acoustic scores of the beam, which lack pruned paths; `n_best` computes exact ones.

        Args:
            emissions: of a song.
            hot_words: words to expect, in lower case, such as those of the title.

        Raises:
            ValueError: the emissions have a different vocabulary.
        """
        return self._search(emissions, hot_words, 1, exact=False)[0].words

    def n_best(self, emissions: Emissions, count: int, hot_words: Set[str] = frozenset()) -> list[Hypothesis]:
        """Decode the best distinct texts, best first.

        Args:
            emissions: of a song.
            count: number of texts; the result has fewer if the beam holds fewer.
            hot_words: words to expect, in lower case, such as those of the title.

        Raises:
            ValueError: the emissions have a different vocabulary, or `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        return self._search(emissions, hot_words, count, exact=True)

    def _search(self, emissions: Emissions, hot_words: Set[str], count: int, *, exact: bool) -> list[Hypothesis]:
        if emissions.vocabulary != self._vocabulary:
            raise ValueError("the emissions have a different vocabulary from the one this decoder was built for")
        log_probs = self._symbols.columns(emissions.log_probs)
        spans = _split_at_pauses(log_probs, self._symbols, emissions.grid)
        segments = []
        for start, end in spans:
            segment = log_probs[start:end]
            hypotheses = self._decoder.decode(segment, hot_words)[: max(_MIN_SEGMENT_HYPOTHESES, count)]
            if exact:
                exact_scores = [text_log_prob(segment, self._symbols, each.words) for each in hypotheses]
                hypotheses = list(map(SegmentHypothesis, (each.words for each in hypotheses), exact_scores))
            segments.append(hypotheses)

        def timed(song: SongHypothesis) -> tuple[TimedWord, ...]:
            texts, placed = list[str](), list[WordSpan]()
            for (start, end), words in zip(spans, song.segments, strict=True):
                segment = self._symbols.merge_edge_delimiters(log_probs[start:end])
                texts += words
                for span in word_spans(segment, *self._symbols.tokenize(words), BLANK_COLUMN):
                    placed.append(span.shifted(start))
            return timed_words(texts, placed, emissions)

        return [
            Hypothesis(timed(song), song.acoustic_score, song.language_model_log10, song.score)
            for song in join_segments(segments, self._model, self._options, hot_words, count)
        ]


def _split_at_pauses(
    log_probs: Float[Tensor, "frames symbols"], symbols: Symbols, grid: FrameGrid
) -> list[tuple[int, int]]:
    """Half-open spans that cover all frames, split in the middle of pauses between words, see `_pauses`."""
    frames = len(log_probs)
    if not frames:
        return []
    pauses = list(_pauses([symbols.labels[column] for column in log_probs.argmax(dim=1).tolist()], symbols))
    min_pause, max_segment = (seconds / grid.frame_seconds for seconds in (_MIN_PAUSE_SECONDS, _MAX_SEGMENT_SECONDS))
    cuts = [0, *((start + end) // 2 for start, end in pauses if end - start >= min_pause), frames]
    pending, spans = list(pairwise(cuts))[::-1], []
    while pending:
        start, end = pending.pop()
        inside = []
        if end - start > max_segment:
            inside = [(b - a, (a + b) // 2) for a, b in pauses if start < (a + b) // 2 < end]
        if inside:
            middle = (start + end) / 2
            _, cut = max(inside, key=lambda pause: (pause[0], -abs(pause[1] - middle)))
            pending += [(cut, end), (start, cut)]
        else:
            spans.append((start, end))
    return spans


def _pauses(best: Sequence[str], symbols: Symbols) -> Iterator[tuple[int, int]]:
    """Spans between two words, as their symbols tell: those that contain a word delimiter, or end at a word piece.

    Any other pause may be a long note inside a word.

    Args:
        best: the most likely label of each frame.
        symbols: of the labels.
    """
    last_letter: int | None = None
    for frame, label in enumerate(best):
        if label not in (BLANK, DELIMITER):
            if last_letter is not None and frame > last_letter + 1:
                is_between = DELIMITER in best[last_letter + 1 : frame]
                if is_between or (symbols.unit == "pieces" and symbols.starts_word(label)):
                    yield last_letter + 1, frame
            last_letter = frame
