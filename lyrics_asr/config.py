"""Options of every stage, composed; YAML and dotlist in, resolved YAML out.

The only module that knows OmegaConf. Unknown keys, wrong types, wrong choices and values out of range fail with the
name of the key.
The defaults live here; the files in configs/ hold departures from them only.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")


@dataclass(frozen=True)
class SeparationOptions:
    """How a separator goes over a song.

    Args:
        overlap: share of a segment that it has in common with the next one, 0 <= overlap < 1.
        batch_size: segments that go through the network at once; None for what suits the device.
        precision: "float32", "bfloat16", or "auto" for what suits the device (see `precision.computing`).
    """

    overlap: float = 0.25
    batch_size: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        _check("separation.overlap", self.overlap, 0 <= self.overlap < 1, "at least 0 and less than 1")
        _check_computing("separation", self.batch_size, self.precision)


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
        _check("acoustic.silence.threshold_db", self.threshold_db, self.threshold_db < 0, "below 0")
        _check("acoustic.silence.margin_seconds", self.margin_seconds, self.margin_seconds >= 0, "at least 0")
        _check(
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
        border_seconds: context on either side of a window whose frames are dropped.
        silence: what is left out.
        batch_size: windows that go through the network at once; None for what suits the device.
        precision: "float32", "bfloat16", or "auto" for what suits the device (see `precision.computing`).
    """

    window_seconds: float = 30.0
    border_seconds: float = 2.0
    silence: SilenceOptions = field(default_factory=SilenceOptions)
    batch_size: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        _check(
            "acoustic.border_seconds", self.border_seconds, 0 <= self.border_seconds < math.inf, "finite, at least 0"
        )
        _check("acoustic.window_seconds", self.window_seconds, 0 < self.window_seconds < math.inf, "finite, above 0")
        _check(
            "acoustic.window_seconds",
            self.window_seconds,
            self.window_seconds > 2 * self.border_seconds,
            f"more than twice acoustic.border_seconds {self.border_seconds}",
        )
        _check_computing("acoustic", self.batch_size, self.precision)


@dataclass(frozen=True)
class DecodingOptions:
    """Beam search with a KenLM model; with `beam_width` 1 and no language model it is greedy search.

    Args:
        decoder: "flashlight" or "pyctcdecode"; the other options mean the same to both.
        open_vocabulary: whether words that the language model lacks may be heard, written by their letters.
        beam_width: hypotheses kept at each frame.
        alpha: weight of the language model's logarithms. With 0 and an open vocabulary the model is left out.
        beta: bonus for every word, in natural logarithms; without a language model there is none.
        unknown_word_letter_log10: added to the log10 probability of a word that the language model lacks, for each of
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
    unknown_word_letter_log10: float = -1.0
    hot_word_bonus: float = 4.0
    beam_prune_logp: float = -14.0
    token_min_logp: float = -5.0

    def __post_init__(self) -> None:
        if self.decoder not in ("flashlight", "pyctcdecode"):
            raise ValueError(f"decoding.decoder must be flashlight or pyctcdecode, not {self.decoder!r}")
        _check("decoding.alpha", self.alpha, 0 <= self.alpha < math.inf, "finite, at least 0")
        _check("decoding.beam_width", self.beam_width, self.beam_width >= 1, "at least 1")
        _check("decoding.beam_prune_logp", self.beam_prune_logp, self.beam_prune_logp <= 0, "0 or less")
        _check("decoding.token_min_logp", self.token_min_logp, self.token_min_logp <= 0, "0 or less")


@dataclass(frozen=True)
class LineOptions:
    """Where a transcript is cut into lines.

    A line ends at a silence of at least `pause_seconds`. A line that then has more than `max_words` words is cut at
    its longest inner silence, again and again, until none has.
    """

    pause_seconds: float = 0.6
    max_words: int = 12

    def __post_init__(self) -> None:
        _check("lines.pause_seconds", self.pause_seconds, self.pause_seconds > 0, "above 0")
        if self.max_words < 1:
            raise ValueError(f"lines.max_words is {self.max_words}; a line needs at least 1 word")


@dataclass(frozen=True)
class InferenceOptions:
    """Everything that `transcribe` and `align` can be told."""

    separation: SeparationOptions = field(default_factory=SeparationOptions)
    acoustic: AcousticOptions = field(default_factory=AcousticOptions)
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    lines: LineOptions = field(default_factory=LineOptions)


def load_config(schema: type[T], path: Path | None = None, overrides: list[str] | None = None) -> T:
    """Build a frozen option dataclass from its defaults, a YAML file and `key.sub=value` overrides, in this order.

    Raises:
        ValueError: a key that `schema` lacks, a value of the wrong type or out of its range, or a file that is not a
            YAML mapping; the message begins with the file's name or "command line" and names the key.
        FileNotFoundError: no such YAML file.
    """
    source = "command line" if path is None else str(path)
    try:
        config = OmegaConf.structured(schema)
        if path is not None:
            given = OmegaConf.load(path)
            if not isinstance(given, DictConfig):
                raise TypeError("is not a mapping of keys to values")
            config = OmegaConf.merge(config, given)
        for override in overrides or []:
            source = f"command line: {override}"
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
        if overrides:
            source = "command line" if path is None else f"{path} and command line"
        return cast(T, OmegaConf.to_object(config))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except OSError as error:
        if error.errno is not None:  # the file cannot be read; the message names it
            raise
        raise ValueError(f"{source}: is not a mapping of keys to values") from error  # OmegaConf, of a lone number
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{source}: {_cause(error)}") from error


def dump_config(config: Any) -> str:
    """The resolved YAML of an option dataclass: what `load_config` would read back as the same object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def _check(key: str, value: int | float, valid: bool, allowed: str) -> None:
    if not valid:
        raise ValueError(f"{key} {value} is out of range; it must be {allowed}")


def _check_computing(part: str, batch_size: int | None, precision: str) -> None:
    if batch_size is not None:
        _check(f"{part}.batch_size", batch_size, batch_size >= 1, "at least 1")
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"{part}.precision must be auto, float32 or bfloat16, not {precision!r}")


def _cause(error: Exception) -> str:
    """What is wrong, in one line, with the key or the line of the file where the library tells it."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = "" if mark is None or mark.name.startswith("<") else f" (line {mark.line + 1})"
        return f"is not YAML: {problem}{line}"
    if isinstance(error, IndexError) and not isinstance(error, OmegaConfBaseException):
        return "is not of the form key.sub=value"
    key = getattr(error, "full_key", None)
    return "".join(str(error).splitlines()[:1]) + (f" (key {key})" if key else "")


@dataclass(frozen=True)
class SyntheticOptions:
    """A corpus of synthetic songs.

    Args:
        split: "training" and "development" sing their lyrics with the training voices, "held_out" its own with two
            unseen voices.
        songs: how many.
        seed: the same seed gives the same songs, whatever the number of processes.
        lines: sung lines of a training song; the songs of the other splits sing a third of their lyrics.
        word_salad_share: share of the training lines that are words in random order, so that the acoustic model learns
            sounds
            rather than phrases.
        a_cappella_share: share of the songs without accompaniment.
        processes: songs that are made at once.
    """

    split: str = "training"
    songs: int = 100
    seed: int = 0
    lines: int = 8
    word_salad_share: float = 0.3
    a_cappella_share: float = 0.0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.split not in ("training", "development", "held_out"):
            raise ValueError(f"split must be training, development or held_out, not {self.split!r}")


@dataclass(frozen=True)
class ChunkOptions:
    """How songs are cut into the chunks that a model is trained on.

    Args:
        chunk_seconds: longest chunk.
        pause_seconds: longest stretch without words inside a chunk; longer ones are skipped.
    """

    chunk_seconds: float = 10.0
    pause_seconds: float = 2.0

    def __post_init__(self) -> None:
        _check("chunk_seconds", self.chunk_seconds, 5 <= self.chunk_seconds <= 28, "5 to 28")
        _check("pause_seconds", self.pause_seconds, 0 <= self.pause_seconds < math.inf, "finite, at least 0")


@dataclass(frozen=True)
class StageOptions:
    """One stage of training: what is trained, on what, for how long.

    Args:
        name: for logs.
        steps: optimizer steps.
        batch_size: chunks in a step.
        chunk_seconds: longest chunk.
        input: "vocals" feeds the acoustic model the clean voice, "stems" the voice with the accompaniment turned down
            by a random amount; neither runs the separator. "separated" feeds it what the separator, which stays as it
            is, makes of the songs (computed once, see `training.separated`). "mixture" runs the whole graph, separator
            first.
        separator_learning_rate: peak; 0 freezes the separator.
        acoustic_learning_rate: peak; 0 freezes the acoustic model.
        warmup_steps: linear rise to the peak; a cosine then falls to zero at the last step.
        separation_weight: weight of the L1 distance between separated and true vocals, relative to that of silence.
        ctc_weight: weight of the CTC loss a token; with `frame_weight` and `sound_weight` 0 too, the acoustic model is
            left out.
        frame_weight: weight of a cross-entropy at every frame against the letters where they are sung (see
            `datasets.labels.letters_of`). CTC alone takes long to find out where anything is; words whose times are
            known can tell it.
        sound_weight: weight of a cross-entropy at every frame against the speech sound that is sung, named two thirds
            of the way up the acoustic model (see `training.sounds`); the songs must know their sounds.
    """

    name: str
    steps: int
    batch_size: int = 16
    chunk_seconds: float = 5.0
    input: str = "stems"
    separator_learning_rate: float = 0.0
    acoustic_learning_rate: float = 0.0
    warmup_steps: int = 100
    separation_weight: float = 0.0
    ctc_weight: float = 1.0
    frame_weight: float = 0.0
    sound_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.input not in ("vocals", "stems", "separated", "mixture"):
            raise ValueError(
                f"stage {self.name!r}: input must be vocals, stems, separated or mixture, not {self.input!r}"
            )
        if self.separation_weight and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: separation_weight needs input: mixture, which runs the separator")


@dataclass(frozen=True)
class TrainingConfig:
    """Train a model from nothing on songs with stems.

    Args:
        training: manifests of the training songs.
        development: manifest of the songs that progress is measured on.
        lyrics: folder of lyrics; those of the training split make the language model.
        language_model_order: longest n-gram of it.
        tuning_songs: how many of the development songs its weights are searched on.
        output: folder of checkpoints, log and model.
        separator: arguments of `separation.build_separator`.
        acoustic: arguments of `transformers.Wav2Vec2Config`.
        letters: characters of the vocabulary, beside the apostrophe and the word border.
        stages: in order.
        seed: of weights and of the draws of every step.
        validate_every_steps: steps between measurements on the development songs; a checkpoint is written then.
        threads: CPU threads; 0 leaves PyTorch's default.
    """

    training: list[str]
    development: str
    output: str
    separator: dict[str, Any]
    acoustic: dict[str, Any]
    stages: list[StageOptions]
    lyrics: str = "data/lyrics"
    language_model_order: int = 3
    tuning_songs: int = 6
    letters: str = "abcdefghijklmnopqrstuvwxyz"
    seed: int = 0
    validate_every_steps: int = 500
    threads: int = 0
