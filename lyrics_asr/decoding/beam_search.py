"""Emissions to words: greedy search and beam search with a KenLM model; words to lines.

Conventions
- Decoded text is in lower case, the case that language models are built in, whatever the vocabulary's.
- A word lasts from the first frame of its first letter to the end of the last frame of its last letter, on the most
  likely path that spells the text.
- The confidence of a word is the geometric mean of its letters' probabilities over their frames on that path, blanks
  left out. The confidence of a line is the geometric mean of its words' confidences.
- Only the blank, the word delimiter and single characters take part: other symbols, such as <unk>, are no lyrics.
- A vocabulary without a word delimiter gives a single word.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lyrics_asr.decoding.ctc_paths import timed_word, word_spans
from lyrics_asr.decoding.flashlight import FlashlightDecoder
from lyrics_asr.decoding.forward import text_log_prob
from lyrics_asr.decoding.hypotheses import StretchDecoder, StretchHypothesis
from lyrics_asr.decoding.lexicon import BLANK, BLANK_COLUMN, DELIMITER, Symbols
from lyrics_asr.decoding.pyctcdecode import PyctcdecodeDecoder
from lyrics_asr.decoding.rescoring import SongHypothesis, join
from lyrics_asr.decoding.word_model import WordModel
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import Emissions, FrameGrid, TimedWord, Vocabulary

_PAUSE_SECONDS = 0.6
"""The beam search begins anew after a silence this long."""

_LONGEST_STRETCH_SECONDS = 30.0
"""A stretch longer than this is parted at a shorter silence, if it has one."""

_JOINED = 5
"""Hypotheses of a stretch that are tried when stretches are joined, if no more are asked for."""


@dataclass(frozen=True)
class Hypothesis:
    """Words that a song may be.

    Args:
        words: with their times and confidences, those of the most likely path that spells them.
        acoustic_score: natural logarithm of the words' probability, given the emissions: the sum over all paths that
            have each stretch's words in it.
        language_model_log10: base-10 logarithm of their probability in the language model, with what unknown words
            cost; None without a language model.
        score: natural logarithm; what hypotheses are ranked by (see `decoding.hypotheses`).
    """

    words: tuple[TimedWord, ...]
    acoustic_score: float
    language_model_log10: float | None
    score: float


class BeamSearch:
    """Beam search by flashlight-text or pyctcdecode, one stretch of the song after the other.

    The emissions are cut in the middle of every long silence between two words. Each stretch is searched by itself, and
    the language model then joins the best hypotheses of all (see `decoding.rescoring`). The back ends keep what they
    have looked at, from the first word on: in one piece, the memory of pyctcdecode would grow with the square of the
    song's length.

    The frames that the back ends give are not used: where two prefixes merge they keep those of one of them, which put
    words off by up to half a second on noisy emissions.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: a language model that cannot be read, or that knows no word that the vocabulary can spell.
    """

    def __init__(self, vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> None:
        self._vocabulary = vocabulary
        self._options = options
        self._symbols = Symbols.of(vocabulary)
        self._model: WordModel | None = None
        if language_model_path is not None and (options.alpha > 0 or not options.open_vocabulary):
            self._model = WordModel(language_model_path, options)
        back_end = FlashlightDecoder if options.decoder == "flashlight" else PyctcdecodeDecoder
        self._decoder: StretchDecoder = back_end(self._symbols, self._model, options)

    def decode(self, emissions: Emissions, hot_words: Set[str] = frozenset()) -> tuple[TimedWord, ...]:
        """The words of the best hypothesis, as far as the search knows the hypotheses' acoustic scores.

        Args:
            emissions: of a song.
            hot_words: words that may well be sung, in lower case, such as those of the title.

        Raises:
            ValueError: emissions of another vocabulary.
        """
        return self._search(emissions, hot_words, 1, exact=False)[0].words

    def n_best(self, emissions: Emissions, count: int, hot_words: Set[str] = frozenset()) -> list[Hypothesis]:
        """Different texts, the best first; fewer than `count` where the beams hold no more.

        Args:
            emissions: of a song.
            count: how many.
            hot_words: words that may well be sung, in lower case, such as those of the title.

        Raises:
            ValueError: emissions of another vocabulary, or `count` below 1.
        """
        if count < 1:
            raise ValueError(f"{count} hypotheses asked for; ask for at least 1")
        return self._search(emissions, hot_words, count, exact=True)

    def _search(self, emissions: Emissions, hot_words: Set[str], count: int, *, exact: bool) -> list[Hypothesis]:
        if emissions.vocabulary != self._vocabulary:
            raise ValueError("these emissions have another vocabulary than the beam search was built for")
        labels = self._symbols.labels
        log_probs = self._symbols.columns(emissions.log_probs)
        spans = _stretches(log_probs, labels, emissions.grid)
        heard = []
        for start, end in spans:
            stretch = log_probs[start:end]
            hypotheses = self._decoder.decode(stretch, hot_words)[: max(_JOINED, count)]
            if exact:
                exact_scores = [text_log_prob(stretch, labels, each.words) for each in hypotheses]
                hypotheses = list(map(StretchHypothesis, (each.words for each in hypotheses), exact_scores))
            heard.append(hypotheses)

        def timed(song: SongHypothesis) -> Iterator[TimedWord]:
            for (start, end), words in zip(spans, song.stretches, strict=True):
                hushed = self._symbols.hush_edges(log_probs[start:end])
                for text, span in zip(
                    words, word_spans(hushed, *self._symbols.spell(words), BLANK_COLUMN), strict=True
                ):
                    yield timed_word(text, span, start, emissions)

        return [
            Hypothesis(tuple(timed(song)), song.acoustic_score, song.language_model_log10, song.score)
            for song in join(heard, self._model, self._options, hot_words, count)
        ]


def _stretches(
    log_probs: Float[Tensor, "frames symbols"], labels: tuple[str, ...], grid: FrameGrid
) -> list[tuple[int, int]]:
    """Spans that cover all frames, parted in the middle of silences that hold a word delimiter.

    A silence without one may be a long note inside a word.
    """
    frames = len(log_probs)
    if not frames:
        return []
    silences = list(_silences([labels[column] for column in log_probs.argmax(dim=1).tolist()]))
    shortest, longest = (seconds / grid.frame_seconds for seconds in (_PAUSE_SECONDS, _LONGEST_STRETCH_SECONDS))
    cuts = [0, *((start + end) // 2 for start, end in silences if end - start >= shortest), frames]
    pending, spans = list(pairwise(cuts))[::-1], []
    while pending:
        start, end = pending.pop()
        inside = []
        if end - start > longest:
            inside = [(b - a, (a + b) // 2) for a, b in silences if start < (a + b) // 2 < end]
        if inside:
            middle = (start + end) / 2
            _, cut = max(inside, key=lambda silence: (silence[0], -abs(silence[1] - middle)))
            pending += [(cut, end), (start, cut)]
        else:
            spans.append((start, end))
    return spans


def _silences(best: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Spans with a word delimiter and no letter, between two letters; `best` has the likeliest label of each frame."""
    last_letter: int | None = None
    for frame, label in enumerate(best):
        if label not in (BLANK, DELIMITER):
            if last_letter is not None and DELIMITER in best[last_letter + 1 : frame]:
                yield last_letter + 1, frame
            last_letter = frame
