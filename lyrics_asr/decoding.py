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

import math
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import forced_align

from lyrics_asr.beam_search.flashlight import FlashlightDecoder
from lyrics_asr.beam_search.forward import text_log_prob
from lyrics_asr.beam_search.hypotheses import StretchDecoder, StretchHypothesis
from lyrics_asr.beam_search.joining import SongHypothesis, join
from lyrics_asr.beam_search.pyctcdecode import PyctcdecodeDecoder
from lyrics_asr.beam_search.symbols import BLANK, BLANK_COLUMN, DELIMITER, Symbols
from lyrics_asr.beam_search.words import WordModel
from lyrics_asr.config import DecodingOptions, LineOptions
from lyrics_asr.types import Emissions, FrameGrid, TimedLine, TimedWord, Vocabulary

_PAUSE_SECONDS = 0.6
"""The beam search begins anew after a silence this long."""

_LONGEST_STRETCH_SECONDS = 30.0
"""A stretch longer than this is parted at a shorter silence, if it has one."""

_JOINED = 5
"""Hypotheses of a stretch that are tried when stretches are joined, if no more are asked for."""


def greedy(emissions: Emissions) -> tuple[TimedWord, ...]:
    """The words of the most likely symbol at every frame."""
    symbols = Symbols.of(emissions.vocabulary)
    if not len(emissions.log_probs):
        return ()
    best_log_probs, best = symbols.columns(emissions.log_probs).max(dim=1)
    words: list[TimedWord] = []
    text, frames, previous = "", list[int](), BLANK_COLUMN
    for frame, column in enumerate([*best.tolist(), None]):
        label = DELIMITER if column is None else symbols.labels[column]
        if label not in (BLANK, DELIMITER):
            text += label if column != previous else ""
            frames.append(frame)
        elif label == DELIMITER and frames:
            score = mean_confidence(best_log_probs[frames].exp().tolist())
            words.append(_timed_word(text, WordSpan(frames[0], frames[-1] + 1, score), 0, emissions))
            text, frames = "", []
        previous = column
    return tuple(words)


@dataclass(frozen=True)
class Hypothesis:
    """Words that a song may be.

    Args:
        words: with their times and confidences, those of the most likely path that spells them.
        acoustic_score: natural logarithm of the words' probability, given the emissions: the sum over all paths that
            have each stretch's words in it.
        language_model_log10: base-10 logarithm of their probability in the language model, with what unknown words
            cost; None without a language model.
        score: natural logarithm; what hypotheses are ranked by (see `beam_search.hypotheses`).
    """

    words: tuple[TimedWord, ...]
    acoustic_score: float
    language_model_log10: float | None
    score: float


class BeamSearch:
    """Beam search by flashlight-text or pyctcdecode, one stretch of the song after the other.

    The emissions are cut in the middle of every long silence between two words. Each stretch is searched by itself, and
    the language model then joins the best hypotheses of all (see `beam_search.joining`). The back ends keep what they
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
                    yield _timed_word(text, span, start, emissions)

        return [
            Hypothesis(tuple(timed(song)), song.acoustic_score, song.language_model_log10, song.score)
            for song in join(heard, self._model, self._options, hot_words, count)
        ]


def cut_lines(words: Sequence[TimedWord], options: LineOptions) -> tuple[TimedLine, ...]:
    """Cut a transcript into lines at its silences; of equally long ones, the one nearest to the line's middle."""
    # Rounded, so that silences of equally many frames are equally long.
    gaps = [round(after.start_seconds - before.end_seconds, 6) for before, after in pairwise(words)]
    pauses = [i + 1 for i, gap in enumerate(gaps) if gap >= options.pause_seconds]
    pending = list(zip([0, *pauses], [*pauses, len(words)], strict=True))[::-1]
    lines = []
    while pending:
        start, end = pending.pop()
        if end - start > options.max_words:
            middle = (start + end) / 2
            cut = max(range(start + 1, end), key=lambda i: (gaps[i - 1], -abs(i - middle)))
            pending += [(cut, end), (start, cut)]
        elif end > start:
            lines.append(_timed_line(words[start:end]))
    return tuple(lines)


@dataclass(frozen=True)
class WordSpan:
    """Frames of a word, half open, and its confidence."""

    start: int
    end: int
    confidence: float


def word_spans(
    log_probs: Float[Tensor, "frames columns"],
    tokens: Sequence[int],
    words: Sequence[tuple[int, int]],
    blank_id: int,
    *,
    pauses: Collection[int] = (),
    heard: Float[Tensor, "frames columns"] | None = None,
) -> list[WordSpan]:
    """Where the most likely of the paths that spell `tokens` has each word.

    Args:
        log_probs: at least one frame for each token and for a blank between two equal ones.
        tokens: columns, without blanks.
        words: the half-open range of each word's tokens; none is empty, nor begins or ends with a pause.
        blank_id: column of the CTC blank.
        pauses: further columns that no word's confidence is read from.
        heard: what confidences are read from; `log_probs` where None.
    """
    if not words:
        return []
    path = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)[0][0]
    is_token, is_heard = path != blank_id, ~torch.isin(path, torch.tensor([blank_id, *pauses]))
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    origin = torch.zeros(1, dtype=torch.float64)
    path_scores = (log_probs if heard is None else heard).gather(1, path[:, None].long())[:, 0]
    scores = torch.cat([origin, path_scores.double().where(is_heard, 0.0).cumsum(0)]).tolist()
    counts = torch.cat([origin, is_heard.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def mean_confidence(confidences: Sequence[float]) -> float:
    """Geometric mean of confidences; 0 for none."""
    if not confidences or min(confidences) <= 0:
        return 0.0
    return min(1.0, math.exp(math.fsum(map(math.log, confidences)) / len(confidences)))


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


def _timed_word(text: str, span: WordSpan, offset: int, emissions: Emissions) -> TimedWord:
    start_seconds, end_seconds = emissions.seconds(offset + span.start), emissions.seconds(offset + span.end)
    return TimedWord(text, start_seconds, end_seconds, span.confidence)


def _timed_line(words: Sequence[TimedWord]) -> TimedLine:
    text = " ".join(word.text for word in words)
    score = mean_confidence([word.confidence for word in words])
    return TimedLine(text, words[0].start_seconds, words[-1].end_seconds, score, tuple(words))
