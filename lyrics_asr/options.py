"""Options of every stage of inference. The defaults live here."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SeparationOptions:
    """How a separator goes over a song.

    Args:
        overlap: share of a segment that it has in common with the next one, 0 <= overlap < 1.
        batch_size: segments that go through the network at once; None for what suits the device.
        precision: "float32", "bfloat16", or "auto" for what suits the device (see `precision.computing`).
    """

    overlap: float = 0.1
    batch_size: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_range("separation.overlap", self.overlap, 0 <= self.overlap < 1, "at least 0 and less than 1")
        check_computing("separation", self.batch_size, self.precision)


@dataclass(frozen=True)
class SilenceOptions:
    """Which stretches of separated vocals are not listened to.

    Args:
        threshold_db: level relative to the loud parts of the song below which it is silent; -inf to listen to all.
        minimum_seconds: shortest silence that is left out.
        margin_seconds: what is listened to at either end of it all the same.
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
    """How the acoustic model goes over a song.

    Args:
        window_seconds: longest stretch that goes through the network at once; longer than its two borders.
        context_seconds: context on either side of a window whose frames are dropped.
        silence: what is left out.
        batch_size: windows that go through the network at once; None for what suits the device.
        precision: "float32", "bfloat16", or "auto" for what suits the device (see `precision.computing`).
    """

    window_seconds: float = 20.0
    context_seconds: float = 1.0
    silence: SilenceOptions = field(default_factory=SilenceOptions)
    batch_size: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_range(
            "acoustic.context_seconds", self.context_seconds, 0 <= self.context_seconds < math.inf, "finite, at least 0"
        )
        check_range(
            "acoustic.window_seconds", self.window_seconds, 0 < self.window_seconds < math.inf, "finite, above 0"
        )
        check_range(
            "acoustic.window_seconds",
            self.window_seconds,
            self.window_seconds > 2 * self.context_seconds,
            f"more than twice acoustic.context_seconds {self.context_seconds}",
        )
        check_computing("acoustic", self.batch_size, self.precision)


@dataclass(frozen=True)
class DecodingOptions:
    """Beam search with a KenLM model; with `beam_width` 1 and no language model it is greedy search.

    Args:
        decoder: "flashlight" or "pyctcdecode"; the other options mean the same to both.
        open_vocabulary: whether words that the language model lacks may be heard, written by their letters.
        beam_width: hypotheses kept at each frame.
        alpha: weight of the language model's logarithms. With 0 and an open vocabulary the model is left out.
        beta: bonus for every word, in natural logarithms; without a language model there is none.
        unk_char_log10: added to the log10 probability of a word that the language model lacks, for each of
            its letters. With -1, ten letters are equally likely after any other.
        hot_word_bonus: for every word that the user expects, in natural logarithms.
        beam_prune_logp: hypotheses this much worse than the best one are dropped.
        token_min_logp: symbols less likely than this are not tried at a frame.
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
    """Where a transcript is cut into lines.

    A line ends at a silence of at least `pause_seconds`. A line that then has more than `max_words` words is cut at
    its longest inner silence, again and again, until none has.
    """

    pause_seconds: float = 0.6
    max_words: int = 12

    def __post_init__(self) -> None:
        check_range("lines.pause_seconds", self.pause_seconds, self.pause_seconds > 0, "above 0")
        if self.max_words < 1:
            raise ValueError(f"lines.max_words is {self.max_words}; a line needs at least 1 word")


@dataclass(frozen=True)
class InferenceOptions:
    """Everything that `transcribe` and `align` can be told."""

    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    lines: LineOptions = field(default_factory=LineOptions)


def check_range(key: str, value: int | float, valid: bool, allowed: str) -> None:
    """Raise a ValueError that names the key, unless the value is valid."""
    if not valid:
        raise ValueError(f"{key} {value} is out of range; it must be {allowed}")


def check_computing(part: str, batch_size: int | None, precision: str) -> None:
    """Check the batch size and the precision of a network."""
    if batch_size is not None:
        check_range(f"{part}.batch_size", batch_size, batch_size >= 1, "at least 1")
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"{part}.precision must be auto, float32 or bfloat16, not {precision!r}")
