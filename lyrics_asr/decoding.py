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
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import kenlm
import torch
from jaxtyping import Float
from pyctcdecode.alphabet import Alphabet
from pyctcdecode.decoder import BeamSearchDecoderCTC
from pyctcdecode.language_model import LanguageModel
from torch import Tensor
from torchaudio.functional import forced_align

from lyrics_asr.config import DecodingOptions, LineOptions
from lyrics_asr.language_model import read_unigrams
from lyrics_asr.types import Emissions, FrameGrid, TimedLine, TimedWord, Vocabulary

_BLANK, _DELIMITER = "", " "
_BLANK_COLUMN = 0

_SENTENCE_PAUSE_SECONDS = 0.6
"""The beam search takes a silence this long for the end of a sentence."""


def greedy(emissions: Emissions) -> tuple[TimedWord, ...]:
    """The words of the most likely symbol at every frame."""
    symbols = _Symbols.of(emissions.vocabulary)
    if not len(emissions.log_probs):
        return ()
    best_log_probs, best = symbols.columns(emissions.log_probs).max(dim=1)
    words: list[TimedWord] = []
    text, frames, previous = "", list[int](), _BLANK_COLUMN
    for frame, column in enumerate([*best.tolist(), None]):
        label = _DELIMITER if column is None else symbols.labels[column]
        if label not in (_BLANK, _DELIMITER):
            text += label if column != previous else ""
            frames.append(frame)
        elif label == _DELIMITER and frames:
            score = mean_confidence(best_log_probs[frames].exp().tolist())
            words.append(_timed_word(text, WordSpan(frames[0], frames[-1] + 1, score), 0, emissions))
            text, frames = "", []
        previous = column
    return tuple(words)


class BeamSearch:
    """Prefix beam search by pyctcdecode, one sentence after the other.

    The emissions are cut in the middle of every long silence between two words, and each piece is decoded as a sentence
    of its own, as language models are built from lines. pyctcdecode keeps a score for every text that it has looked at,
    from the first word on: in one piece, its memory would grow with the square of the song's length.

    Raises:
        FileNotFoundError: no such language model.
        ValueError: a language model that is not ARPA.
    """

    def __init__(self, vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> None:
        self._vocabulary = vocabulary
        self._options = options
        self._symbols = _Symbols.of(vocabulary)
        model = None if language_model_path is None else _load_language_model(language_model_path, options)
        self._decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(list(self._symbols.labels)), model)
        # pyctcdecode keeps language models in a class attribute, where they would outlive their decoders.
        weakref.finalize(self, self._decoder.cleanup)

    def decode(self, emissions: Emissions) -> tuple[TimedWord, ...]:
        """The words of the best beam, at the times of its most likely path.

        The frames that pyctcdecode gives are not used: where two prefixes merge it keeps those of the first and not of
        the likelier one, which put words off by up to half a second on noisy emissions.

        Raises:
            ValueError: emissions of another vocabulary.
        """
        if emissions.vocabulary != self._vocabulary:
            raise ValueError("these emissions have another vocabulary than the beam search was built for")
        log_probs = self._symbols.columns(emissions.log_probs)
        words: list[TimedWord] = []
        for start, end in _sentences(log_probs, self._symbols.labels, emissions.grid):
            piece = log_probs[start:end]
            beams = self._decoder.decode_beams(
                piece.numpy(),
                beam_width=self._options.beam_width,
                beam_prune_logp=self._options.beam_prune_logp,
                token_min_logp=self._options.token_min_logp,
            )
            texts = str(beams[0][0]).split()
            spans = word_spans(self._symbols.hush_edges(piece), *self._symbols.spell(texts), _BLANK_COLUMN)
            words.extend(_timed_word(text, span, start, emissions) for text, span in zip(texts, spans, strict=True))
        return tuple(words)


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
) -> list[WordSpan]:
    """Where the most likely of the paths that spell `tokens` has each word.

    Args:
        log_probs: at least one frame for each token and for a blank between two equal ones.
        tokens: columns, without blanks.
        words: the half-open range of each word's tokens; none is empty.
        blank_id: column of the CTC blank.
    """
    if not words:
        return []
    paths, path_scores = forced_align(log_probs[None].contiguous(), torch.tensor([list(tokens)]), blank=blank_id)
    path, is_token = paths[0], paths[0] != blank_id
    edge, changes = torch.ones(1, dtype=torch.bool), path[1:] != path[:-1]
    starts = (is_token & torch.cat([edge, changes])).nonzero()[:, 0].tolist()
    ends = (1 + (is_token & torch.cat([changes, edge])).nonzero()[:, 0]).tolist()
    assert len(starts) == len(ends) == len(tokens)

    origin = torch.zeros(1, dtype=torch.float64)
    scores = torch.cat([origin, (path_scores[0].double() * is_token).cumsum(0)]).tolist()
    counts = torch.cat([origin, is_token.double().cumsum(0)]).tolist()
    frames = [(starts[first], ends[last - 1]) for first, last in words]
    means = [(scores[end] - scores[start]) / (counts[end] - counts[start]) for start, end in frames]
    return [WordSpan(*span, math.exp(min(0.0, mean))) for span, mean in zip(frames, means, strict=True)]


def mean_confidence(confidences: Sequence[float]) -> float:
    """Geometric mean of confidences; 0 for none."""
    if not confidences or min(confidences) <= 0:
        return 0.0
    return min(1.0, math.exp(math.fsum(map(math.log, confidences)) / len(confidences)))


@dataclass(frozen=True)
class _Symbols:
    """What the search chooses from: labels in lower case, each with the columns of the vocabulary that it stands for.

    "" is the blank, always first, and " " the word delimiter: pyctcdecode's names for them.
    """

    labels: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "_Symbols":
        sources: dict[str, list[int]] = {_BLANK: [vocabulary.blank_id]}
        if vocabulary.word_delimiter_id is not None:
            sources[_DELIMITER] = [vocabulary.word_delimiter_id]
        for character, column in vocabulary.character_ids.items():
            lowered = character.lower() if len(character.lower()) == 1 else character
            sources.setdefault(_DELIMITER if character.isspace() else lowered, []).append(column)
        return cls(tuple(sources), tuple(map(tuple, sources.values())))

    def columns(self, log_probs: Float[Tensor, "frames vocab"]) -> Float[Tensor, "frames symbols"]:
        """Log-probabilities of the labels, renormalised; those of a letter's two cases add up."""
        chosen = torch.stack([log_probs[:, list(source)].logsumexp(dim=1) for source in self.sources], dim=1)
        return chosen.log_softmax(dim=1)

    def hush_edges(self, log_probs: Float[Tensor, "frames symbols"]) -> Float[Tensor, "frames symbols"]:
        """Let blanks stand for word delimiters too, before the first letter heard and after the last.

        A text has no delimiters at its ends; without this, its outer letters would be drawn over them.
        """
        if _DELIMITER not in self.labels:
            return log_probs
        delimiter_column = self.labels.index(_DELIMITER)
        best = log_probs.argmax(dim=1)
        heard = ((best != _BLANK_COLUMN) & (best != delimiter_column)).nonzero()[:, 0].tolist() or [len(best)]
        hushed = log_probs.clone()
        for edge in (slice(0, heard[0]), slice(heard[-1] + 1, None)):
            hushed[edge, _BLANK_COLUMN] = log_probs[edge, [_BLANK_COLUMN, delimiter_column]].logsumexp(dim=1)
        return hushed

    def spell(self, words: Sequence[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """The labels of a text of these words, and the range of each word's labels in it."""
        tokens: list[int] = []
        ranges = []
        for word in words:
            if tokens:
                tokens.append(self.labels.index(_DELIMITER))
            start = len(tokens)
            tokens.extend(self.labels.index(character) for character in word)
            ranges.append((start, len(tokens)))
        return tokens, ranges


class _LanguageModel(LanguageModel):
    """Scores the end of a beam whose last symbol is a delimiter, where pyctcdecode scores an unknown word."""

    def score(self, prev_state: kenlm.State, word: str, is_last_word: bool = False) -> tuple[float, kenlm.State]:
        if word:
            score, state = super().score(prev_state, word, is_last_word)
            return float(score), state
        end_log10 = self._get_raw_end_score(prev_state) if is_last_word else 0.0
        return self.alpha * end_log10 * math.log(10), prev_state


def _load_language_model(path: Path, options: DecodingOptions) -> LanguageModel:
    unigrams = read_unigrams(path)
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        model = kenlm.Model(str(path), config)
    except OSError as error:
        raise ValueError(f"{path}: KenLM cannot read it ({error}); build it with `lyrics-asr lm`") from error
    return _LanguageModel(
        model,
        unigrams,
        alpha=options.alpha,
        beta=options.beta,
        unk_score_offset=options.unknown_word_log10,
    )


def _sentences(
    log_probs: Float[Tensor, "frames symbols"], labels: tuple[str, ...], grid: FrameGrid
) -> list[tuple[int, int]]:
    """Spans that cover all frames, parted in the middle of silences that hold a word delimiter.

    A silence without one may be a long note inside a word.
    """
    frames = len(log_probs)
    if not frames:
        return []
    best = [labels[column] for column in log_probs.argmax(dim=1).tolist()]
    shortest = math.ceil(_SENTENCE_PAUSE_SECONDS / grid.frame_seconds)
    cuts, start = [0], 0
    for frame in range(frames + 1):
        if frame < frames and best[frame] in (_BLANK, _DELIMITER):
            continue
        if start > 0 and frame < frames and frame - start >= shortest and _DELIMITER in best[start:frame]:
            cuts.append((start + frame) // 2)
        start = frame + 1
    return list(zip(cuts, [*cuts[1:], frames], strict=True))


def _timed_word(text: str, span: WordSpan, offset: int, emissions: Emissions) -> TimedWord:
    start_seconds, end_seconds = emissions.seconds(offset + span.start), emissions.seconds(offset + span.end)
    return TimedWord(text, start_seconds, end_seconds, span.confidence)


def _timed_line(words: Sequence[TimedWord]) -> TimedLine:
    text = " ".join(word.text for word in words)
    score = mean_confidence([word.confidence for word in words])
    return TimedLine(text, words[0].start_seconds, words[-1].end_seconds, score, tuple(words))
