"""Options of training."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from lyrics_asr.options import check_range


@dataclass(frozen=True)
class StreamOptions:
    """Synthetic songs that are made while training runs (see `training.data.song_stream`).

    Training goes in rounds. The songs of the next one are made while the present one is trained on.

    Args:
        languages: which ("en", ...), and how often each is sung, relative to the others.
        songs_per_round: how many are drawn from at a time; those of one round are on the disk, and those of the next.
        steps_per_round: optimizer steps on the songs of a round; a stage begins with a new one.
        processes: songs that are made at once, at low priority.
        seed: the same seed gives the same songs.
        lines: sung lines of a song.
        word_salad_share: see `SyntheticOptions`, as
        generated_share: this.
        a_cappella_share: share of the songs without accompaniment.
        lyrics: folder of the lyrics.
    """

    languages: dict[str, float] = field(default_factory=lambda: {"en": 1.0})
    songs_per_round: int = 64
    steps_per_round: int = 500
    processes: int = 1
    seed: int = 0
    lines: int = 8
    word_salad_share: float = 0.3
    generated_share: float = 0.2
    a_cappella_share: float = 0.0
    lyrics: str = "data/lyrics"

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("stream.languages is empty; give {en: 1}, for example")
        for language, weight in self.languages.items():
            check_range(f"stream.languages.{language}", weight, 0 < weight < math.inf, "finite, above 0")
        for key in ("songs_per_round", "steps_per_round", "processes"):
            check_range(f"stream.{key}", getattr(self, key), getattr(self, key) >= 1, "at least 1")
        for key in ("word_salad_share", "generated_share", "a_cappella_share"):
            check_range(f"stream.{key}", getattr(self, key), 0 <= getattr(self, key) <= 1, "0 to 1")


@dataclass(frozen=True)
class MixOptions:
    """How the stems of a chunk are put together; cuts have `AugmentationOptions`.

    Args:
        remix_prob: share of the chunks that hear another song's accompaniment.
        lowest_level_db: of that accompaniment, relative to the voice of the chunk; drawn evenly up to
        highest_level_db: this one.
        silence_prob: share of the chunks that are stretches between the words of a song, with nothing but the band or
            silence, which are to be heard as nothing.
    """

    remix_prob: float = 0.5
    lowest_level_db: float = -6.0
    highest_level_db: float = 6.0
    silence_prob: float = 0.0

    def __post_init__(self) -> None:
        check_range("mix.remix_prob", self.remix_prob, 0 <= self.remix_prob <= 1, "0 to 1")
        check_range("mix.silence_prob", self.silence_prob, 0 <= self.silence_prob <= 1, "0 to 1")
        check_range("mix.lowest_level_db", self.lowest_level_db, -60 <= self.lowest_level_db <= 60, "-60 to 60")
        lowest, highest = self.lowest_level_db, self.highest_level_db
        check_range("mix.highest_level_db", highest, lowest <= highest <= 60, f"mix.lowest_level_db {lowest} to 60")


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
        check_range("chunk_seconds", self.chunk_seconds, 5 <= self.chunk_seconds <= 28, "5 to 28")
        check_range("pause_seconds", self.pause_seconds, 0 <= self.pause_seconds < math.inf, "finite, at least 0")


@dataclass(frozen=True)
class AugmentationOptions:
    """How the sound of a cut is changed each time it is heard.

    Args:
        speeds: a cut is played at one of these, pitch and all (Ko et al. 2015, "Audio Augmentation for Speech
            Recognition"); [1.0] leaves it as it is.
        gain_db: a cut is made louder or softer by up to this much; 0 leaves it as it is.
        remix_prob: share of the cuts with stems whose voice is heard over the accompaniment of another song of the
            batch, at a level of -6 to +6 dB; 0 leaves them as they are.
    """

    speeds: list[float] = field(default_factory=lambda: [0.95, 1.0, 1.05])
    gain_db: float = 6.0
    remix_prob: float = 0.5

    def __post_init__(self) -> None:
        if not self.speeds:
            raise ValueError("augmentation.speeds is empty; [1.0] leaves the speed as it is")
        for speed in self.speeds:
            check_range("augmentation.speeds", speed, 0.5 <= speed <= 2, "0.5 to 2")
        check_range("augmentation.gain_db", self.gain_db, 0 <= self.gain_db <= 40, "0 to 40")
        check_range("augmentation.remix_prob", self.remix_prob, 0 <= self.remix_prob <= 1, "0 to 1")


@dataclass(frozen=True)
class CutLoaderOptions:
    """Which Lhotse cuts are heard in training, in which batches.

    Args:
        cuts: files of cuts (.jsonl, .jsonl.gz) and folders of Lhotse Shar.
        batch_seconds: most sound in a batch, padding included; slower speeds come on top.
        batch_cuts: most cuts in a batch; None for as many as `batch_seconds` allows.
        shuffle: in an order of each epoch's own; else in that of the files, but for the bucketing.
        buckets: a batch holds cuts of one of so many classes of length.
        buffer_cuts: cuts that are in memory to be chosen from. Those of Shar have their sound with them.
        limit: only the first so many cuts; None for all.
        workers: processes that read and decode; 0 for none beside the main one.
        prefetch_batches: that each worker has ready.
        augmentation: of the sound.
    """

    cuts: list[str]
    batch_seconds: float = 160.0
    batch_cuts: int | None = None
    shuffle: bool = True
    buckets: int = 10
    buffer_cuts: int = 10_000
    limit: int | None = None
    workers: int = 2
    prefetch_batches: int = 4
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        if not self.cuts:
            raise ValueError("cuts is empty; name a file that `lyrics-asr data dali` or `data cuts` wrote")
        check_range("batch_seconds", self.batch_seconds, 0 < self.batch_seconds < math.inf, "finite, above 0")
        for key in ("batch_cuts", "limit"):
            value = getattr(self, key)
            check_range(key, value or 0, value is None or value >= 1, "at least 1")
        for key, least in (("buckets", 2), ("buffer_cuts", 1), ("workers", 0), ("prefetch_batches", 1)):
            check_range(key, getattr(self, key), getattr(self, key) >= least, f"at least {least}")


@dataclass(frozen=True)
class OptimizerOptions:
    """How AdamW moves one part of the model: the separator or the acoustic model.

    Args:
        learning_rate: peak; 0 freezes the part.
        warmup_steps: linear rise to the peak, counted from the first step in which the part is trained.
        schedule: after the rise: "cosine" falls to zero at the stage's last step, "plateau" stays until the WER of the
            validation stops falling.
        plateau_factor: what a plateau multiplies the learning rate by.
        plateau_patience: validations without a lower WER that are let pass before.
        weight_decay: decoupled (Loshchilov and Hutter 2019).
        clip_norm: longest gradient of the part; a longer one is made this long.
    """

    learning_rate: float = 0.0
    warmup_steps: int = 100
    schedule: str = "cosine"
    plateau_factor: float = 0.5
    plateau_patience: int = 3
    weight_decay: float = 0.01
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "plateau"):
            raise ValueError(f"schedule must be cosine or plateau, not {self.schedule!r}")
        check_range("learning_rate", self.learning_rate, 0 <= self.learning_rate < math.inf, "finite, at least 0")
        check_range("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "at least 0")
        check_range("plateau_factor", self.plateau_factor, 0 < self.plateau_factor < 1, "between 0 and 1")
        check_range("plateau_patience", self.plateau_patience, self.plateau_patience >= 0, "at least 0")
        check_range("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "finite, at least 0")
        check_range("clip_norm", self.clip_norm, self.clip_norm > 0, "above 0")


@dataclass(frozen=True)
class FreezingPhase:
    """A row of the table that says what is trained when; it holds until the next row's `from_step`.

    Args:
        from_step: first step of the stage that it is for, counted from 0.
        separator_last_layers: layers of Demucs' decoders that are trained, counted from the output; 0 freezes the
            separator, None trains all of it.
        feature_encoder: whether Wav2Vec2's convolutions are trained.
        frozen_layers: Wav2Vec2's lowest layers that are not trained, nor what comes before them, but for the
            convolutions.
    """

    from_step: int = 0
    separator_last_layers: int | None = None
    feature_encoder: bool = True
    frozen_layers: int = 0

    def __post_init__(self) -> None:
        check_range("from_step", self.from_step, self.from_step >= 0, "at least 0")
        layers = self.separator_last_layers or 0
        check_range("separator_last_layers", layers, layers >= 0, "at least 0, or null for the whole separator")
        check_range("frozen_layers", self.frozen_layers, self.frozen_layers >= 0, "at least 0")


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters on the attention of the acoustic model (Hu et al. 2021), merged into it on export.

    Of the acoustic model the adapters and the CTC head alone are trained then.

    Args:
        rank: of the adapters; 0 for none.
        alpha: the adapters' output is multiplied by alpha / rank.
    """

    rank: int = 0
    alpha: int = 32

    def __post_init__(self) -> None:
        check_range("lora.rank", self.rank, self.rank >= 0, "at least 0")
        check_range("lora.alpha", self.alpha, self.alpha >= 1, "at least 1")


@dataclass(frozen=True)
class SpecAugmentOptions:
    """The masks that Wav2Vec2 lays over its features in training (Park et al. 2019, Baevski et al. 2020).

    Args:
        time_probability: of a frame to be the first of a masked stretch.
        time_frames: length of such a stretch.
        feature_probability: of a feature to be the first of a masked band.
        features: width of such a band.
    """

    time_probability: float = 0.05
    time_frames: int = 10
    feature_probability: float = 0.0
    features: int = 10

    def __post_init__(self) -> None:
        check_range("time_probability", self.time_probability, 0 <= self.time_probability <= 1, "0 to 1")
        check_range("feature_probability", self.feature_probability, 0 <= self.feature_probability <= 1, "0 to 1")
        check_range("time_frames", self.time_frames, self.time_frames >= 1, "at least 1")
        check_range("features", self.features, self.features >= 1, "at least 1")


@dataclass(frozen=True)
class StageOptions:
    """One stage of training: what is trained, on what, for how long.

    Args:
        name: for logs.
        steps: optimizer steps.
        batch_size: chunks that a process takes at once; batches of cuts are as `CutLoaderOptions` says.
        accumulation: batches of a process that make one step. The losses are means over all batches of a step, so that
            neither this nor the number of processes changes anything but the size of the step's batch.
        chunk_seconds: longest chunk; chunks of cuts are as long as they were cut.
        input: "vocals" feeds the acoustic model the clean voice, "stems" the voice with the accompaniment turned down
            by a random amount; neither runs the separator. "separated" feeds it what the separator, which stays as it
            is, makes of the songs (computed once, see `training.data.separated_stems`). "mixture" runs the whole
            graph, separator first. Cuts are "mixture", or "vocals" where a cache of vocals was made of them.
        separator: how the separator is moved.
        acoustic: how the acoustic model is moved.
        head_learning_rate: peak of the CTC head alone, with the acoustic model's schedule; that of the acoustic model
            when None.
        freezing: what is trained when, by increasing step; all that has a learning rate when empty.
        separation_weight: weight of the L1 distance between separated and true vocals, relative to that of silence.
        anchor_weight: weight of the L1 distance between the vocals that the separator gives now and those that it gave
            at the start of the run, relative to that of silence. CTC alone ruins the voice. Training from nothing has
            no start worth keeping, and no anchor.
        ctc_weight: weight of the CTC loss a token; with `frame_weight` and `phone_weight` 0 too, the acoustic model is
            left out.
        frame_weight: weight of a cross-entropy at every frame against the letters where they are sung (see
            `training.data.labels.letters_of`). CTC alone takes long to find out where anything is; words whose times
            are known can tell it.
        phone_weight: weight of a cross-entropy at every frame against the phone that is sung, named two thirds
            of the way up the acoustic model (see `training.from_scratch.phones`); the songs must know their phones.
    """

    name: str
    steps: int
    batch_size: int = 16
    accumulation: int = 1
    chunk_seconds: float = 5.0
    input: str = "stems"
    separator: OptimizerOptions = field(default_factory=OptimizerOptions)
    acoustic: OptimizerOptions = field(default_factory=OptimizerOptions)
    head_learning_rate: float | None = None
    freezing: list[FreezingPhase] = field(default_factory=list)
    separation_weight: float = 0.0
    anchor_weight: float = 1.0
    ctc_weight: float = 1.0
    frame_weight: float = 0.0
    phone_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.input not in ("vocals", "stems", "separated", "mixture"):
            raise ValueError(
                f"stage {self.name!r}: input must be vocals, stems, separated or mixture, not {self.input!r}"
            )
        if self.separation_weight and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: separation_weight needs input: mixture, which runs the separator")
        if self.separator.learning_rate and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: training the separator needs input: mixture, which runs it")
        if not (self.separator.learning_rate or self.acoustic.learning_rate):
            raise ValueError(f"stage {self.name!r}: neither separator nor acoustic model has a learning_rate")
        check_range(f"stage {self.name!r}: steps", self.steps, self.steps >= 1, "at least 1")
        check_range(f"stage {self.name!r}: accumulation", self.accumulation, self.accumulation >= 1, "at least 1")
        starts = [phase.from_step for phase in self.freezing]
        if starts and (starts[0] != 0 or any(b <= a for a, b in pairwise(starts))):
            raise ValueError(f"stage {self.name!r}: freezing must begin with from_step 0 and rise, not {starts}")


@dataclass(frozen=True)
class TrackingOptions:
    """Where a run is followed, beside its own log.

    Args:
        wandb: "off", "offline" (kept in the run's output until `wandb sync`) or "online".
        project: in Weights & Biases.
        examples: validation examples whose texts and vocals are logged.
    """

    wandb: str = "off"
    project: str = "lyrics-asr"
    examples: int = 4

    def __post_init__(self) -> None:
        if self.wandb not in ("off", "offline", "online"):
            raise ValueError(f"tracking.wandb must be off, offline or online, not {self.wandb!r}")
        check_range("tracking.examples", self.examples, self.examples >= 0, "at least 0")


@dataclass(frozen=True)
class TrainingConfig:
    """Train a model from nothing on songs with stems, or go on with a trained one.

    Args:
        training: manifests of the training songs, which must have stems; or else
        stream: synthetic songs, made while training runs; or else
        cuts: what `lyrics-asr data dali` or `data cuts` wrote, with how it is read.
        mix: how the stems of songs are put together.
        development: manifests of the songs that progress is measured on; or else
        development_cuts: a file of cuts that it is measured on.
        lyrics: folder of lyrics; the English ones of the training split make the language model. Where it is empty,
            the starting model's language model, if any, is kept.
        language_model_order: longest n-gram of it.
        tuning_songs: how many of the English development songs its weights are searched on.
        output: folder of checkpoints, log and model.
        model: what `load_model` takes, to start from its weights; empty to start from nothing.
        separator: arguments of `separation.build_separator`, to start from nothing.
        acoustic: arguments of `transformers.Wav2Vec2Config`, to start from nothing.
        letters: characters of the vocabulary, beside the apostrophe and the word border, to start from nothing.
        stages: in order.
        lora: adapters on the acoustic model.
        spec_augment: masks over its features; null for none.
        seed: of weights and of the draws of every step.
        precision: "fp32", or "bf16" for mixed precision.
        gradient_checkpointing: compute the acoustic model's layers again on the way back: slower, in less memory.
        compile: have `torch.compile` make kernels of both networks.
        workers: processes that prepare batches of songs; 0 for none. Those of cuts are in `cuts`.
        log_every_steps: steps between entries of the log.
        validate_every_steps: steps between measurements on the development songs; a checkpoint is written then.
        validation_examples: how many of the development songs (or cuts) are measured; 0 for all.
        checkpoint_every_steps: steps between further checkpoints; 0 for none.
        keep_checkpoints: newest checkpoints that are kept, beside the one with the lowest WER.
        max_skipped_steps: steps in a row that a loss or gradient that is not finite may cost.
        overfit_chunks: train and validate on so many chunks of the first batch alone; 0 for all. A model that cannot
            learn one chunk by heart has a fault.
        tracking: where the run is followed.
        threads: CPU threads; 0 leaves PyTorch's default.
    """

    stages: list[StageOptions]
    output: str
    training: list[str] = field(default_factory=list)
    stream: StreamOptions | None = None
    cuts: CutLoaderOptions | None = None
    mix: MixOptions = field(default_factory=MixOptions)
    development: list[str] = field(default_factory=list)
    development_cuts: str = ""
    model: str = ""
    separator: dict[str, Any] = field(default_factory=dict)
    acoustic: dict[str, Any] = field(default_factory=dict)
    lora: LoraOptions = field(default_factory=LoraOptions)
    spec_augment: SpecAugmentOptions | None = None
    lyrics: str = "data/lyrics"
    language_model_order: int = 3
    tuning_songs: int = 6
    letters: str = "abcdefghijklmnopqrstuvwxyz"
    seed: int = 0
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: int = 1
    log_every_steps: int = 20
    validate_every_steps: int = 500
    validation_examples: int = 0
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    max_skipped_steps: int = 10
    overfit_chunks: int = 0
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    threads: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be fp32 or bf16, not {self.precision!r}")
        if not self.stages:
            raise ValueError("stages is empty; a run needs at least one")
        if [bool(self.training), self.stream is not None, self.cuts is not None].count(True) != 1:
            raise ValueError("give either training, manifests of songs with stems, or stream, or cuts")
        if bool(self.development) == bool(self.development_cuts):
            raise ValueError("give either development, manifests of songs, or development_cuts, a file of cuts")
        if self.lyrics and not self.development:
            raise ValueError("a language model of lyrics is tuned on songs: give development, or lyrics=''")
        for stage in self.stages if self.cuts is not None else []:
            if stage.input == "separated" or stage.phone_weight:
                raise ValueError(
                    f"stage {stage.name!r}: cuts know no phones, for phone_weight, and no input: separated; "
                    "`lyrics-asr data cache-vocals` makes cuts for input: vocals"
                )
        if not self.model and not (self.separator and self.acoustic):
            raise ValueError("give model, to start from its weights, or separator and acoustic, to start from nothing")
        at_least_one = ("log_every_steps", "validate_every_steps", "keep_checkpoints", "max_skipped_steps")
        for name, least in [(n, 1) for n in at_least_one] + [(n, 0) for n in _AT_LEAST_ZERO]:
            check_range(name, getattr(self, name), getattr(self, name) >= least, f"at least {least}")


_AT_LEAST_ZERO = ("workers", "validation_examples", "checkpoint_every_steps", "overfit_chunks", "tuning_songs")
