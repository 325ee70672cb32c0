"""Options of every stage of inference, with their defaults.

Conventions
- Every class checks its values. The message names the full key, such as `acoustic.window_seconds`, and the valid range.
- Field names are the keys of YAML files and of `key.sub=value` overrides.
"""

import math
from dataclasses import asdict, dataclass, field

DEFAULT_MODEL = "embedded"
"""The model where none is named, see `models.registry.load_model`."""


@dataclass(frozen=True)
class SeparationOptions:
    """How a song is separated, segment by segment.

    Args:
        overlap: fraction of a segment that overlaps with the next one, 0 <= overlap < 1; of Demucs networks.
        segment_seconds: longest segment, to save memory; None for the network's own length.
        mask_extension: mask of a U-Net above the frequencies that it sees, 11 kHz for Spleeter's: "zeros" to remove
            them, or "average" for the mean of the mask below. It makes no difference to the acoustic model.
        batch_size: segments per forward pass; None to choose by device.
        precision: "float32", "bfloat16", or "auto" to choose by device (see `models.precision.for_device`).
        runtime: "torch", or "openvino" to run the networks of a U-Net in OpenVINO, on a CPU.
    """

    overlap: float = 0.1
    segment_seconds: float | None = None
    mask_extension: str = "zeros"
    batch_size: int | None = None
    precision: str = "auto"
    runtime: str = "torch"

    def __post_init__(self) -> None:
        check_range("separation.overlap", self.overlap, 0 <= self.overlap < 1, "at least 0 and less than 1")
        if self.segment_seconds is not None:
            check_range("separation.segment_seconds", self.segment_seconds, self.segment_seconds > 0, "above 0")
        if self.mask_extension not in ("zeros", "average"):
            raise ValueError(f"separation.mask_extension must be zeros or average, not {self.mask_extension!r}")
        if self.runtime not in ("torch", "openvino"):
            raise ValueError(f"separation.runtime must be torch or openvino, not {self.runtime!r}")
        check_computing("separation", self.batch_size, self.precision)


@dataclass(frozen=True)
class SilenceOptions:
    """Which non-vocal regions of the separated vocals are skipped (voice activity detection).

    Args:
        threshold_db: level below which the vocals are silent, relative to the song's loud parts; -inf to skip nothing.
        minimum_seconds: shortest silence that is skipped.
        margin_seconds: margin at both ends of a silence that is not skipped.
    """

    threshold_db: float = -25.0
    minimum_seconds: float = 1.0
    margin_seconds: float = 0.2

    def __post_init__(self) -> None:
        check_range("acoustic.silence.threshold_db", self.threshold_db, self.threshold_db < 0, "below 0")
        check_range("acoustic.silence.margin_seconds", self.margin_seconds, self.margin_seconds >= 0, "at least 0")
        check_range(
            "acoustic.silence.minimum_seconds",
            self.minimum_seconds,
            self.minimum_seconds > 2 * self.margin_seconds,
            f"more than twice acoustic.silence.margin_seconds {self.margin_seconds}",
        )


@dataclass(frozen=True)
class AcousticOptions:
    """How the acoustic model runs over a song, in overlapping windows.

    Args:
        window_seconds: longest window, context included; more than twice the context. None for what suits the model:
            20 s over raw audio, and the 30 s that Whisper's encoder was trained with.
        context_seconds: context at both ends of a window, whose frames are dropped. None for what suits the model: 1 s
            over raw audio, 2.5 s for Whisper's encoder.
        silence: which regions are skipped.
        batch_size: windows per forward pass; None to choose by device.
        precision: "float32", "bfloat16", or "auto" to choose by device (see `models.precision.for_device`).
    """

    window_seconds: float | None = None
    context_seconds: float | None = None
    silence: SilenceOptions = field(default_factory=SilenceOptions)
    batch_size: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        window, context = self.window_seconds, self.context_seconds
        if context is not None:
            check_range("acoustic.context_seconds", context, 0 <= context < math.inf, "finite, at least 0")
        if window is not None:
            check_range("acoustic.window_seconds", window, 0 < window < math.inf, "finite, above 0")
        if window is not None and context is not None:
            needed = f"more than twice acoustic.context_seconds {context}"
            check_range("acoustic.window_seconds", window, window > 2 * context, needed)
        check_computing("acoustic", self.batch_size, self.precision)


@dataclass(frozen=True)
class DecodingOptions:
    """Beam search with a KenLM model; greedy search with `beam_width` 1 and no language model.

    Args:
        decoder: "flashlight" or "pyctcdecode"; the other options mean the same for both. Models of word pieces and of
            phonemes have a decoder of their own, see `decoding.word_search`.
        open_vocabulary: whether out-of-vocabulary words may be decoded, spelled letter by letter.
        beam_width: hypotheses kept per frame.
        alpha: weight of the language model. With 0 and an open vocabulary, the model is not used.
        beta: bonus per word, in natural logarithms; not used without a language model.
        unk_char_log10: added to the log10 probability of an out-of-vocabulary word, per letter. -1 corresponds to ten
            equally likely letters.
        hot_word_bonus: bonus per hot word, in natural logarithms.
        beam_prune_logp: hypotheses whose score is this far below the best are pruned.
        token_min_logp: symbols with a lower log-probability are pruned.
    """

    decoder: str = "flashlight"
    open_vocabulary: bool = True
    beam_width: int = 100
    alpha: float = 0.9
    beta: float = 0.0
    unk_char_log10: float = -1.0
    hot_word_bonus: float = 4.0
    beam_prune_logp: float = -14.0
    token_min_logp: float = -5.0

    def __post_init__(self) -> None:
        if self.decoder not in ("flashlight", "pyctcdecode"):
            raise ValueError(f"decoding.decoder must be flashlight or pyctcdecode, not {self.decoder!r}")
        check_range("decoding.alpha", self.alpha, 0 <= self.alpha < math.inf, "finite, at least 0")
        check_range("decoding.beam_width", self.beam_width, self.beam_width >= 1, "at least 1")
        check_range("decoding.beam_prune_logp", self.beam_prune_logp, self.beam_prune_logp <= 0, "0 or less")
        check_range("decoding.token_min_logp", self.token_min_logp, self.token_min_logp <= 0, "0 or less")


@dataclass(frozen=True)
class LineOptions:
    """How a transcript is split into lines.

    Args:
        pause_seconds: a line ends at a pause of at least this length, from the fall of the voice to the next word.
        max_words: lines of more words are split at their longest pause until none is too long.
    """

    pause_seconds: float = 0.4
    max_words: int = 12

    def __post_init__(self) -> None:
        check_range("lines.pause_seconds", self.pause_seconds, self.pause_seconds > 0, "above 0")
        if self.max_words < 1:
            raise ValueError(f"lines.max_words is {self.max_words}; a line needs at least 1 word")


@dataclass(frozen=True)
class TranscriberOptions:
    """Transcription with an attention model, see `inference.attention`.

    Args:
        beams: width of its beam search, and the most candidate texts per segment. None to choose by device: 5, or 1 on
            a CPU, where more take several times as long.
        ctc_weight: weight of the CTC model in the choice between the candidates, in 0..1.
        min_confidence: words with a lower confidence are dropped, as text that nobody sings.
    """

    beams: int | None = None
    ctc_weight: float = 0.3
    min_confidence: float = 0.001

    def __post_init__(self) -> None:
        check_range("transcriber.beams", self.beams or 0, self.beams is None or self.beams >= 1, "at least 1")
        check_range("transcriber.ctc_weight", self.ctc_weight, 0 <= self.ctc_weight <= 1, "in 0..1")
        check_range("transcriber.min_confidence", self.min_confidence, 0 <= self.min_confidence < 1, "in 0..1, below 1")


@dataclass(frozen=True)
class AlignmentOptions:
    """Prices of the alignment graph (see `alignment.graph`), in natural logarithms.

    Args:
        letter_pause_seconds: mean pause between the letters of a word.
        word_pause_seconds: mean pause between the words of a line.
        max_line_words: lines of more words may pause for free between words: they are lyrics without line breaks.
        anything: probability that the model is mistaken and a frame may be any symbol.
        letter: where the score of a letter that is sung lies, from the letters' cost in the lyrics (0) to that in the
            decoys (1).
        omission: price of leaving out lines in a row, whatever their number.
        omitted_line: further price of each line that is left out.
        omitted_letter: further price of each of its letters, divided by the difference of these costs: the less the
            model understands, the more the lyrics are believed.
        max_omitted_letter: largest price of each of its letters.
        min_cost_difference: smallest difference of these costs.
        jump: price of going back to any line, and largest price of leaving out lines in a row.
        filler: price of each stretch of singing that no line covers.
        filler_second: further price per second of it.
        margin_seconds: with `use_times`, how far from its given time a line may be.
    """

    letter_pause_seconds: float = 0.1
    word_pause_seconds: float = 0.2
    max_line_words: int = 16
    anything: float = 0.01
    letter: float = 0.5
    omission: float = 3.0
    omitted_line: float = 3.0
    omitted_letter: float = 0.6
    max_omitted_letter: float = 0.7
    min_cost_difference: float = 0.15
    jump: float = 45.0
    filler: float = 5.0
    filler_second: float = 5.0
    margin_seconds: float = 2.0

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if key != "anything":
                check_range(f"alignment.{key}", value, value >= 0, "at least 0")
        for key in ("letter_pause_seconds", "word_pause_seconds", "min_cost_difference"):
            check_range(f"alignment.{key}", getattr(self, key), getattr(self, key) > 0, "above 0")
        check_range("alignment.anything", self.anything, 0 < self.anything < 1, "above 0 and below 1")


@dataclass(frozen=True)
class InferenceOptions:
    """Options of `transcribe` and `align`."""

    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    lines: LineOptions = field(default_factory=LineOptions)
    transcriber: TranscriberOptions = field(default_factory=TranscriberOptions)
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)


def check_range(key: str, value: int | float, valid: bool, allowed: str) -> None:
    """Raise a ValueError that names the key and the allowed range if a value is not valid."""
    if not valid:
        raise ValueError(f"{key} {value} is out of range; it must be {allowed}")


def check_computing(part: str, batch_size: int | None, precision: str) -> None:
    """Raise a ValueError that names the key if a network's batch size or precision is not valid."""
    if batch_size is not None:
        check_range(f"{part}.batch_size", batch_size, batch_size >= 1, "at least 1")
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"{part}.precision must be auto, float32 or bfloat16, not {precision!r}")
