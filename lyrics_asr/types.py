"""The data types that stages exchange, without those of PyTorch. Frames are converted to seconds here and nowhere else.

Conventions
- Times are float seconds from the first sample of the song.
- A frame of the acoustic model is placed at the centre of its receptive field, plus a correction that is measured for
  each model: `(index * stride + receptive_field / 2) / sample_rate + correction`.
- A span of frames is half open, `[start, end)`, as in Python slices.
- A word ends at the fall of the voice, see `alignment.word_ends`.
- Confidences are in 0..1. Log-probabilities are natural logarithms.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import eq
from typing import Literal

WORD_START = "\u2581"
"""What word pieces that start a word begin with, as in SentencePiece: a low block, "▁"."""

WILDCARD = -1
"""In a spelling, in place of a column: a letter that the vocabulary lacks."""

Voice = Literal["lead", "backing"]
"""Backing vocals may overlap the lead."""


class AlignmentError(ValueError):
    """The lyrics cannot be aligned: they have more tokens than the audio has frames, or no word can be spelled."""


@dataclass(frozen=True)
class FrameGrid:
    """The time axis of an acoustic model.

    Args:
        stride_samples: samples from the start of one frame to the start of the next.
        receptive_field_samples: samples that influence one frame.
        sample_rate_hz: rate of these samples.
        correction_seconds: how much later words start than the model says, as measured on songs.
    """

    stride_samples: int
    receptive_field_samples: int
    sample_rate_hz: int
    correction_seconds: float = 0.0

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.stride_samples / self.sample_rate_hz

    def seconds(self, frame: int) -> float:
        """Time of `frame`, at least 0."""
        centre = (frame * self.stride_samples + self.receptive_field_samples / 2) / self.sample_rate_hz
        return max(0.0, centre + self.correction_seconds)

    def frame(self, seconds: float) -> int:
        """The frame whose time is nearest to `seconds`, at least 0."""
        samples = (seconds - self.correction_seconds) * self.sample_rate_hz
        position = (samples - self.receptive_field_samples / 2) / self.stride_samples
        return max(0, round(position))

    def count(self, samples: int) -> int:
        """Number of frames of `samples` samples (convolutions have no padding); 0 if there are too few."""
        if samples < self.receptive_field_samples:
            return 0
        return (samples - self.receptive_field_samples) // self.stride_samples + 1


@dataclass(frozen=True)
class Vocabulary:
    """The output symbols of an acoustic model.

    Args:
        tokens: one string per column of the emissions; letters in the case that the model uses.
        blank_id: column of the CTC blank.
        word_delimiter_id: column of the symbol between words; None if the model has none.
        piece_tokenizer: of a model of word pieces, which start words with `WORD_START`: a `tokenizers.Tokenizer` as
            JSON; else empty.
        phoneme_voice: of a model of phonemes: the voice of espeak-ng whose phonemes they are, such as "en-us"; else
            empty.
    """

    tokens: tuple[str, ...]
    blank_id: int
    word_delimiter_id: int | None
    piece_tokenizer: str = ""
    phoneme_voice: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.blank_id < len(self.tokens):
            raise ValueError(f"blank_id {self.blank_id} is outside a vocabulary of {len(self.tokens)} tokens")

    @property
    def unit(self) -> Literal["letters", "pieces", "phonemes"]:
        """What lyrics are spelled with."""
        return "pieces" if self.piece_tokenizer else "phonemes" if self.phoneme_voice else "letters"

    @cached_property
    def text_ids(self) -> Mapping[str, int]:
        """Columns of the tokens that lyrics can be spelled with: of letters, the single characters."""
        special = {self.blank_id, self.word_delimiter_id}
        ids = {}
        for i, token in enumerate(self.tokens):
            is_text = len(token) == 1 if self.unit == "letters" else bool(token) and not is_special(token)
            if is_text and i not in special:
                ids[token] = i
        return ids

    def text(self, columns: Iterable[int]) -> str:
        """The text that columns spell, in lower case, with spaces between words; between all phonemes."""
        tokens = [" " if column == self.word_delimiter_id else self.tokens[column] for column in columns]
        joined = (" " if self.unit == "phonemes" else "").join(tokens).lower()
        return " ".join((joined.replace(WORD_START, " ") if self.unit == "pieces" else joined).split())


def is_special(token: str) -> bool:
    """Whether a token is no text, such as "<unk>", or a single byte, such as "<0xE2>"."""
    return len(token) > 2 and token[0] + token[-1] in ("<>", "[]")


def min_frames(tokens: Sequence[int]) -> int:
    """Length of the shortest CTC path: one frame per token, plus a blank between two equal tokens."""
    return len(tokens) + list(map(eq, tokens, tokens[1:])).count(True)


@dataclass(frozen=True)
class Candidate:
    """A possible text of a segment.

    Args:
        lines: sung lines.
        log_prob: natural logarithm of its probability.
    """

    lines: tuple[str, ...]
    log_prob: float


@dataclass(frozen=True)
class SegmentText:
    """What may be sung in a segment of a song: at least one candidate, likeliest first."""

    start_seconds: float
    end_seconds: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class SongText:
    """What an attention model found in a song.

    Args:
        language: of the texts, an ISO 639-1 code.
        heard: the language that the song sounds like; None if the model knows one language only.
        heard_probability: the model's confidence in it, in 0..1.
        segments: candidate texts, in order of time.
    """

    language: str
    heard: str | None
    heard_probability: float
    segments: tuple[SegmentText, ...]


@dataclass(frozen=True)
class TimedWord:
    """A word as written or transcribed, with its time in the song and the model's confidence."""

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float

    def __post_init__(self) -> None:
        _check_span(self.text, self.start_seconds, self.end_seconds, self.confidence)


@dataclass(frozen=True)
class TimedLine:
    """A sung line: its text as written or transcribed, and its words in order.

    Args:
        text: as written or transcribed.
        start_seconds: start of its first word.
        end_seconds: end of its last word.
        confidence: confidence in the line.
        words: words in order.
        status: "repeated" if the line was sung again without being written again.
        number: place among the sung lines of the lyrics, from 0; None if it was transcribed.
        voice: who sings it.
    """

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float
    words: tuple[TimedWord, ...]
    status: Literal["sung", "repeated"] = "sung"
    number: int | None = None
    voice: Voice = "lead"

    def __post_init__(self) -> None:
        _check_span(self.text, self.start_seconds, self.end_seconds, self.confidence)


@dataclass(frozen=True)
class MissingLine:
    """A line of the lyrics that was not found in the song, and its place among the sung lines of the lyrics."""

    text: str
    number: int
    words: tuple[str, ...]
    voice: Voice = "lead"


@dataclass(frozen=True)
class Segment:
    """A part of a song."""

    start_seconds: float
    end_seconds: float

    def __post_init__(self) -> None:
        _check_span("the segment", self.start_seconds, self.end_seconds, 0.0)


@dataclass(frozen=True)
class Alignment:
    """What was sung of given lyrics.

    Args:
        lines: sung lines, in order of time.
        not_found: the other lines, in order of the lyrics.
        uncovered: singing without lyrics, in order of time.
        confidence: probability that the lyrics belong to the song.
    """

    lines: tuple[TimedLine, ...]
    not_found: tuple[MissingLine, ...]
    uncovered: tuple[Segment, ...]
    confidence: float


@dataclass(frozen=True)
class AudioInfo:
    """The audio file of a transcript, with the file's own sample rate."""

    path: str
    duration_seconds: float
    sample_rate_hz: int


@dataclass(frozen=True)
class ModelInfo:
    """The models that produced a transcript, by the names that `load_model` takes; `transcriber` found the words."""

    name: str
    separator: str
    acoustic: str
    language_model: str | None
    transcriber: str | None = None


@dataclass(frozen=True)
class Transcript:
    """The timed lyrics of one song.

    Args:
        task: "transcribe" if the words were recognized, "align" if they were given.
        text: all words; for "align", the lyrics exactly as the user wrote them, with headings and blank lines.
        lines: the sung lines, in order of time.
        not_found: lines of the lyrics that were not found, in order of the lyrics.
        uncovered: singing without lyrics, in order of time; always empty for "transcribe".
        language: of the lyrics, such as "en"; None in files of older versions.
        confidence: probability that given lyrics belong to the song; None if unknown, and for "transcribe".
    """

    task: Literal["transcribe", "align"]
    audio: AudioInfo
    model: ModelInfo
    text: str
    lines: tuple[TimedLine, ...]
    not_found: tuple[MissingLine, ...] = ()
    uncovered: tuple[Segment, ...] = ()
    language: str | None = None
    confidence: float | None = None


def _check_span(text: str, start_seconds: float, end_seconds: float, confidence: float) -> None:
    if not (math.isfinite(start_seconds) and math.isfinite(end_seconds) and 0 <= start_seconds <= end_seconds):
        raise ValueError(f"{text!r} has no valid time: {start_seconds} to {end_seconds} s")
    if not 0 <= confidence <= 1:
        raise ValueError(f"{text!r} has confidence {confidence}, outside 0..1")


@dataclass(frozen=True)
class Note:
    """A note of the melody; `midi` 69 is 440 Hz."""

    start_seconds: float
    end_seconds: float
    midi: int


@dataclass(frozen=True)
class Syllable:
    """A sung syllable.

    Args:
        text: part of its word.
        start_seconds: start.
        end_seconds: end.
        line: index of its line among those that were sung.
        word: index of its word in the line.
        notes: its notes in order; none if it has no pitch.
    """

    text: str
    start_seconds: float
    end_seconds: float
    line: int
    word: int
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class SungTranscript(Transcript):
    """A transcript with its melody: the syllables of the lead's words, in the order of `lines`."""

    melody: tuple[Syllable, ...] = ()
