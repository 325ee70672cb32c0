"""Options of training."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from lyrics_asr.options import check_range


@dataclass(frozen=True)
class ChunkOptions:
    """How songs are cut into training chunks.

    Args:
        chunk_seconds: maximum length of a chunk.
        pause_seconds: maximum pause between words in a chunk; longer pauses are skipped.
    """

    chunk_seconds: float = 10.0
    pause_seconds: float = 2.0

    def __post_init__(self) -> None:
        check_range("chunk_seconds", self.chunk_seconds, 2 <= self.chunk_seconds <= 28, "2 to 28")
        check_range("pause_seconds", self.pause_seconds, 0 <= self.pause_seconds < math.inf, "finite, at least 0")


@dataclass(frozen=True)
class AugmentationOptions:
    """How the audio of a cut is augmented each time it is read.

    Args:
        speeds: the playback speed is drawn from these, pitch included (Ko et al. 2015, "Audio Augmentation for Speech
            Recognition"); [1.0] for no change.
        gain_db: the gain is drawn from -gain_db to gain_db; 0 for no change.
        remix_prob: probability that the accompaniment of a cut with stems is replaced by that of another song of the
            batch. Cuts whose accompaniment is silent are always remixed, unless it is 0.
        min_vocals_gain_db: minimum level of the vocals relative to the accompaniment in a remix.
        max_vocals_gain_db: maximum level; the level is drawn uniformly.
    """

    speeds: list[float] = field(default_factory=lambda: [0.95, 1.0, 1.05])
    gain_db: float = 6.0
    remix_prob: float = 0.5
    min_vocals_gain_db: float = -6.0
    max_vocals_gain_db: float = 6.0

    def __post_init__(self) -> None:
        if not self.speeds:
            raise ValueError("augmentation.speeds is empty; [1.0] keeps the speed unchanged")
        for speed in self.speeds:
            check_range("augmentation.speeds", speed, 0.5 <= speed <= 2, "0.5 to 2")
        check_range("augmentation.gain_db", self.gain_db, 0 <= self.gain_db <= 40, "0 to 40")
        check_range("augmentation.remix_prob", self.remix_prob, 0 <= self.remix_prob <= 1, "0 to 1")
        lowest, highest = self.min_vocals_gain_db, self.max_vocals_gain_db
        check_range("augmentation.min_vocals_gain_db", lowest, -60 <= lowest <= 60, "-60 to 60")
        allowed = f"augmentation.min_vocals_gain_db {lowest} to 60"
        check_range("augmentation.max_vocals_gain_db", highest, lowest <= highest <= 60, allowed)


@dataclass(frozen=True)
class CutLoaderOptions:
    """The Lhotse cuts to train on, and how they are batched.

    Args:
        cuts: files of cuts (.jsonl, .jsonl.gz) and folders of Lhotse Shar; empty for a stream, which makes its own.
        weights: weight of each of `cuts` in the sampling; empty for equal weights.
        temperature: a file of n cuts is sampled in proportion to weight * n ** (1 / temperature): 1 in proportion to
            the sizes; higher values favour small files, such as those of languages with little data.
        batch_seconds: maximum audio per batch, including padding, before speed augmentation.
        batch_cuts: maximum number of cuts per batch; None for as many as `batch_seconds` allows.
        shuffle: use a different order in each epoch. Otherwise cuts keep the order of the files, apart from bucketing.
        buckets: number of length buckets; the cuts of a batch come from one bucket.
        buffer_cuts: number of cuts in memory to sample from. Cuts of Shar include their audio.
        limit: use only the first `limit` cuts; None for all.
        silence_prob: expected fraction of cuts without words, whose target is all blank. Each of them is used at most
            once per epoch.
        workers: number of loader processes; 0 to load in the main process.
        prefetch_batches: batches that each worker loads ahead.
        augmentation: audio augmentation.
    """

    cuts: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    temperature: float = 1.0
    batch_seconds: float = 160.0
    batch_cuts: int | None = None
    shuffle: bool = True
    buckets: int = 10
    buffer_cuts: int = 10_000
    limit: int | None = None
    silence_prob: float = 0.0
    workers: int = 2
    prefetch_batches: int = 4
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.cuts):
            raise ValueError(f"cuts.weights has {len(self.weights)} weights for {len(self.cuts)} files; give one each")
        for weight in self.weights:
            check_range("cuts.weights", weight, 0 < weight < math.inf, "finite, above 0")
        check_range("cuts.temperature", self.temperature, self.temperature >= 1, "at least 1")
        check_range("batch_seconds", self.batch_seconds, 0 < self.batch_seconds < math.inf, "finite, above 0")
        check_range("silence_prob", self.silence_prob, 0 <= self.silence_prob < 1, "0 to below 1")
        for key in ("batch_cuts", "limit"):
            value = getattr(self, key)
            check_range(key, value or 0, value is None or value >= 1, "at least 1")
        for key, least in (("buckets", 2), ("buffer_cuts", 1), ("workers", 0), ("prefetch_batches", 1)):
            check_range(key, getattr(self, key), getattr(self, key) >= least, f"at least {least}")


@dataclass(frozen=True)
class StreamOptions:
    """Synthetic songs that are made during training, see `training.data.song_stream`.

    Training proceeds in rounds. The songs of the next round are made during the current one.

    Args:
        languages: ISO 639-1 codes and their relative frequencies.
        songs_per_round: number of songs per round; at most two rounds are on disk.
        steps_per_round: optimizer steps per round; every stage starts with a new round.
        processes: number of low-priority processes that make songs.
        seed: the same seed gives the same songs.
        lines: distinct lines per song.
        word_salad_share: see `SyntheticOptions`.
        generated_share: see `SyntheticOptions`.
        a_cappella_share: fraction of songs without accompaniment.
        lyrics: folder of lyrics.
        chunk_seconds: maximum length of a cut.
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
    chunk_seconds: float = ChunkOptions.chunk_seconds

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("stream.languages is empty; give {en: 1}, for example")
        for language, weight in self.languages.items():
            check_range(f"stream.languages.{language}", weight, 0 < weight < math.inf, "finite, above 0")
        for key in ("songs_per_round", "steps_per_round", "processes"):
            check_range(f"stream.{key}", getattr(self, key), getattr(self, key) >= 1, "at least 1")
        for key in ("word_salad_share", "generated_share", "a_cappella_share"):
            check_range(f"stream.{key}", getattr(self, key), 0 <= getattr(self, key) <= 1, "0 to 1")
        ChunkOptions(self.chunk_seconds)


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW for one part of the model: the separator or the acoustic model.

    Args:
        learning_rate: peak learning rate; 0 freezes the part.
        warmup_steps: steps of linear warm-up, from the first step in which the part is trained.
        schedule: after the warm-up, "cosine" decays to zero at the last step of the stage and "plateau" decays when the
            validation WER stops falling.
        plateau_factor: factor of each decay on a plateau.
        plateau_patience: number of validations without a lower WER before a decay.
        weight_decay: decoupled weight decay (Loshchilov and Hutter 2019).
        clip_norm: maximum gradient norm of the part; larger gradients are scaled down to it.
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
    """Which layers are trained from a step of the stage until the next phase.

    Args:
        from_step: first step of the phase, counted from 0.
        separator_last_layers: number of decoder layers of Demucs to train, counted from the output; 0 freezes the
            separator, None trains all of it.
        feature_encoder: whether to train the convolutional feature encoder of the acoustic model.
        frozen_layers: number of lowest layers of the acoustic model to freeze, together with everything below them
            except the feature encoder.
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

    With adapters, only they and the CTC head of the acoustic model are trained.

    Args:
        rank: rank of the adapters; 0 for no adapters.
        alpha: scale of the adapters: their output is multiplied by alpha / rank.
    """

    rank: int = 0
    alpha: int = 32

    def __post_init__(self) -> None:
        check_range("lora.rank", self.rank, self.rank >= 0, "at least 0")
        check_range("lora.alpha", self.alpha, self.alpha >= 1, "at least 1")


@dataclass(frozen=True)
class SpecAugmentOptions:
    """SpecAugment on the features of the acoustic model in training (Park et al. 2019, Baevski et al. 2020).

    Args:
        time_probability: probability that a time mask starts at a frame.
        time_frames: length of a time mask.
        feature_probability: probability that a feature mask starts at a feature.
        features: width of a feature mask.
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
    """One stage of training.

    Args:
        name: name in logs.
        steps: number of optimizer steps.
        patience: the stage ends after this many validations in a row without a lower WER (early stopping); 0 to carry
            out all steps.
        accumulation: batches per step and process. Losses are means over all batches of a step, so this and the number
            of processes change only the effective batch size.
        input: input of the acoustic model. "vocals": clean vocals; "stems": vocals with attenuated accompaniment, see
            `losses.mix_at_snr`; neither runs the separator. "separated": vocals from the current separator, which is
            frozen in this stage; computed once, see `training.data.vocals_cache`. "mixture": the output of the
            separator, which runs in every step.
        separator: optimizer of the separator.
        acoustic: optimizer of the acoustic model.
        head_learning_rate: peak learning rate of the CTC head, with the schedule of the acoustic model; None for the
            same rate.
        freezing: phases in order of their steps; without phases, everything with a learning rate is trained.
        separation_weight: weight of the L1 distance between separated and true vocals, relative to the level of the
            true vocals.
        anchor_weight: weight of the L1 distance to the output of the initial separator, relative to its level. It is
            needed because CTC alone degrades the separated vocals. Training from scratch has no anchor.
        ctc_weight: weight of the CTC loss per token. If `frame_weight` and `phone_weight` are 0 too, the acoustic model
            is not run.
        frame_weight: weight of the cross-entropy with a letter per frame, see `training.data.labels.letters_of`. CTC
            alone takes long to find an alignment; word times provide one.
        phone_weight: weight of the cross-entropy with a phone per frame, at an intermediate layer, see
            `training.from_scratch.phones`; the cuts must have phones.
    """

    name: str
    steps: int
    patience: int = 0
    accumulation: int = 1
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
        check_range(f"stage {self.name!r}: patience", self.patience, self.patience >= 0, "at least 0")
        check_range(f"stage {self.name!r}: accumulation", self.accumulation, self.accumulation >= 1, "at least 1")
        starts = [phase.from_step for phase in self.freezing]
        if starts and (starts[0] != 0 or any(b <= a for a, b in pairwise(starts))):
            raise ValueError(f"stage {self.name!r}: from_step of freezing must start at 0 and increase, not {starts}")


@dataclass(frozen=True)
class TrackingOptions:
    """Where a run is logged, in addition to its own log.

    Args:
        wandb: "off", "offline" (kept in the run's output until `wandb sync`) or "online".
        project: project in Weights & Biases.
        examples: number of validation examples whose texts and vocals are logged.
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
    """Train a model from scratch on songs with stems, or fine-tune one.

    Args:
        stages: stages in order.
        output: folder for checkpoints, log and model.
        cuts: cuts from `lyrics-asr data dali` or `data cuts`, and how they are batched.
        stream: synthetic songs that are made during training, instead of `cuts.cuts`; batched in the same way.
        development: manifests of the validation songs. Each is also measured for itself.
        development_cuts: a file of validation cuts, or a list of them, instead of `development`.
        model: initial weights of both parts, see `load_model`; empty if `separator` and `acoustic` are given.
        separator: replaces the model's separator: a name or folder, see `load_separator`; or a mapping of arguments of
            `build_separator`, to train one from scratch.
        acoustic: replaces the model's acoustic model: a name or folder, see `load_acoustic`; or a mapping of arguments
            of `build_acoustic`: those of `transformers.Wav2Vec2Config` to train one from scratch, or `{encoder:
            openai/whisper-base}` for a new CTC head on an encoder of Whisper.
        acoustic_language: adapter of a multilingual acoustic model (MMS) to train, such as "de".
        lora: adapters on the acoustic model.
        spec_augment: masks on the features of the acoustic model; null for none.
        lyrics: folder of lyrics; the language model is built from its English training lyrics. If empty, the language
            model of the initial model, if any, is kept.
        language_model_order: order of the language model.
        tuning_songs: number of English development songs to tune the language model's weights on.
        vocabulary: "checkpoint" to keep that of the acoustic model; "letters" to give it a new CTC head for `letters`;
            "text" for the letters of the training cuts, which then replace `letters`. A self-supervised checkpoint
            (wav2vec2-base, XLS-R, WavLM) needs one of the last two. A new acoustic model has `letters` in any case.
        letters: characters of a new vocabulary, in addition to apostrophe and word delimiter.
        seed: seed of the initial weights and of every step.
        ema_decay: decay per step of an exponential moving average of the weights, such as 0.999, which is validated and
            exported in their place; 0 for none.
        precision: "fp32", or "bf16" for mixed precision.
        gradient_checkpointing: recompute the acoustic model's layers in the backward pass; slower, with less memory.
        compile: compile both networks with `torch.compile`.
        vocals_cache_gb: maximum size of the separated vocals of a run, for `input: separated`; the oldest are removed.
        log_every_steps: steps between log entries.
        validate_every_steps: steps between validations, each with a checkpoint.
        validation_examples: number of validation songs or cuts; 0 for all.
        checkpoint_every_steps: steps between additional checkpoints; 0 for none.
        keep_checkpoints: number of newest checkpoints to keep, in addition to the one with the lowest WER.
        max_skipped_steps: maximum number of consecutive steps that are skipped because the loss or a gradient is not
            finite.
        overfit_chunks: train and validate on this many rows of the first batch; 0 for all data. A model that cannot
            overfit one chunk has a bug.
        tracking: where the run is logged.
        threads: CPU threads; 0 for PyTorch's default.
    """

    stages: list[StageOptions]
    output: str
    cuts: CutLoaderOptions = field(default_factory=CutLoaderOptions)
    stream: StreamOptions | None = None
    development: list[str] = field(default_factory=list)
    development_cuts: Any = ""
    model: str = ""
    separator: Any = ""
    acoustic: Any = ""
    acoustic_language: str = ""
    lora: LoraOptions = field(default_factory=LoraOptions)
    spec_augment: SpecAugmentOptions | None = None
    lyrics: str = "data/lyrics"
    language_model_order: int = 3
    tuning_songs: int = 6
    vocabulary: str = "checkpoint"
    letters: str = "abcdefghijklmnopqrstuvwxyz"
    seed: int = 0
    ema_decay: float = 0.0
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    vocals_cache_gb: float = 50.0
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
            raise ValueError("stages is empty; give at least one")
        if bool(self.cuts.cuts) == (self.stream is not None):
            raise ValueError("give either cuts.cuts (files from `lyrics-asr data cuts` or `data dali`) or stream")
        if bool(self.development) == bool(self.development_cuts):
            raise ValueError("give either development (manifests of songs) or development_cuts (a file of cuts)")
        if self.lyrics and not self.development:
            raise ValueError("the language model is tuned on development songs: give development, or set lyrics=''")
        if self.vocabulary not in ("checkpoint", "letters", "text"):
            raise ValueError(f"vocabulary must be checkpoint, letters or text, not {self.vocabulary!r}")
        if self.vocabulary == "text" and self.stream is not None:
            raise ValueError("vocabulary: text takes the letters of cuts; give the letters of a stream as `letters`")
        given = self.development_cuts
        if not isinstance(given, str | list) or not all(isinstance(path, str) for path in given):
            raise ValueError(f"development_cuts must be a file or a list of files, not {given!r}")
        check_range("ema_decay", self.ema_decay, 0 <= self.ema_decay < 1, "0 to below 1")
        for part in ("separator", "acoustic"):
            _check_part(part, getattr(self, part))
        if not self.model and not (self.separator and self.acoustic):
            raise ValueError("give model (initial weights of both parts), or both separator and acoustic")
        if self.acoustic_language and self.builds_acoustic:
            raise ValueError(
                "acoustic_language selects the adapter of a checkpoint, but acoustic describes a new model"
            )
        at_least_one = ("log_every_steps", "validate_every_steps", "keep_checkpoints", "max_skipped_steps")
        for name, least in [(n, 1) for n in at_least_one] + [(n, 0) for n in _AT_LEAST_ZERO]:
            check_range(name, getattr(self, name), getattr(self, name) >= least, f"at least {least}")

    @property
    def development_cut_files(self) -> list[str]:
        """The files of validation cuts."""
        given: str | list[str] = self.development_cuts
        return list(given) if isinstance(given, list) else [given] if given else []

    @property
    def builds_separator(self) -> bool:
        """Whether the separator starts from random weights."""
        return isinstance(self.separator, dict) and bool(self.separator)

    @property
    def builds_acoustic(self) -> bool:
        """Whether the acoustic model, or at least its CTC head, starts from random weights."""
        return isinstance(self.acoustic, dict) and bool(self.acoustic)

    @property
    def is_from_scratch(self) -> bool:
        """Whether no part starts from given weights."""
        return self.builds_separator and self.builds_acoustic and "encoder" not in self.acoustic


def _check_part(name: str, part: object) -> None:
    if not isinstance(part, str | dict):
        raise ValueError(f"{name} must be a name, a folder, or a mapping of arguments, not {part!r}")
    for key, value in part.items() if isinstance(part, dict) else ():
        if value in ("on", "off", "yes", "no"):
            raise ValueError(f"{name}.{key}: {value!r} is a text; write true or false")


_AT_LEAST_ZERO = ("vocals_cache_gb", "validation_examples", "checkpoint_every_steps", "overfit_chunks", "tuning_songs")
