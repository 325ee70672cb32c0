"""The configuration of a training run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lyrics_asr.options import check_range
from lyrics_asr.training.data.options import CutLoaderOptions, StreamOptions
from lyrics_asr.training.stages import LoraOptions, SpecAugmentOptions, StageOptions


@dataclass(frozen=True)
class TrackingOptions:
    """Where a run is logged, in addition to its own log.

    Args:
        wandb: "off", "offline" (kept in the run's output until `wandb sync`) or "online".
        tensorboard: whether to write files for TensorBoard to the run's output.
        mlflow: whether to log to MLflow, at `MLFLOW_TRACKING_URI`.
        project: project in Weights & Biases, folder of TensorBoard's files, and experiment in MLflow.
        examples: number of validation examples whose texts and vocals are logged.
    """

    wandb: str = "off"
    tensorboard: bool = False
    mlflow: bool = False
    project: str = "lyrics-asr"
    examples: int = 4

    def __post_init__(self) -> None:
        if self.wandb not in ("off", "offline", "online"):
            raise ValueError(f"tracking.wandb must be off, offline or online, not {self.wandb!r}")
        check_range("tracking.examples", self.examples, self.examples >= 0, "at least 0")

    @property
    def trackers(self) -> list[str]:
        """Accelerate's names of the trackers."""
        return ["wandb"] * (self.wandb != "off") + ["tensorboard"] * self.tensorboard + ["mlflow"] * self.mlflow


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
            openai/whisper-base}` for a new CTC head on an encoder of Whisper, or `{network: WaveUNet}`.
        acoustic_language: adapter of a multilingual acoustic model (MMS) to train, such as "de".
        acoustic_input: what the acoustic model hears in stages with `input: mixture`, and in inference: the separated
            "vocals", or the "mixture". With "mixture", a separator and an acoustic model that are Wave-U-Nets of the
            same sizes are one network, trained for both tasks.
        lora: adapters on the acoustic model.
        spec_augment: masks on the features of the acoustic model; null for none.
        lyrics: folder of lyrics; the language model is built from its English training lyrics. If empty, the language
            model of the initial model, if any, is kept.
        language_model_order: order of the language model.
        tuning_songs: number of English development songs to tune the language model's weights on.
        vocabulary: "checkpoint" to keep that of the acoustic model. All others give it a new CTC head, which a
            self-supervised checkpoint (wav2vec2-base, XLS-R, WavLM) needs: "letters" for `letters`; "text" for the
            letters of the training cuts, which then replace `letters`; "pieces" for word pieces (SentencePiece) that
            are learned from the words of the cuts; "phonemes" for the phonemes of these words, by espeak-ng; or the
            folder of a tokenizer of word pieces or phonemes. With "checkpoint", a new acoustic model has `letters`.
        letters: characters of a new vocabulary, in addition to apostrophe and word delimiter.
        pieces: number of word pieces, including the blank and <unk>.
        seed: seed of the initial weights and of every step.
        ema_decay: decay per step of an exponential moving average of the weights, such as 0.999, which is validated and
            exported in their place; 0 for none.
        precision: "fp32"; "tf32" for matrix products of fewer bits, on GPUs that have them; "bf16" or "fp16" for mixed
            precision. With "fp16" the loss is scaled, and steps that overflow are skipped.
        gradient_checkpointing: recompute the acoustic model's layers in the backward pass; slower, with less memory.
        compile: compile both networks with `torch.compile`.
        sharded: with several processes, each keeps a share of the acoustic model's weights, gradients and optimizer
            states (FSDP) instead of a copy. Checkpoints are the same with and without.
        vocals_cache_gb: maximum size of the separated vocals of a run, for `input: separated`; the oldest are removed.
        log_every_steps: steps between log entries.
        validate_every_steps: steps between validations, each with a checkpoint.
        validation_examples: number of validation songs or cuts; 0 for all.
        checkpoint_every_steps: steps between additional checkpoints; 0 for none.
        keep_checkpoints: number of newest checkpoints to keep, in addition to the one with the lowest WER.
        max_skipped_steps: number of consecutive steps that end the run if each is skipped, or one of its discriminator
            steps is, because a loss or a gradient is not finite.
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
    acoustic_input: str = "vocals"
    lora: LoraOptions = field(default_factory=LoraOptions)
    spec_augment: SpecAugmentOptions | None = None
    lyrics: str = "data/lyrics"
    language_model_order: int = 3
    tuning_songs: int = 6
    vocabulary: str = "checkpoint"
    letters: str = "abcdefghijklmnopqrstuvwxyz"
    pieces: int = 500
    seed: int = 0
    ema_decay: float = 0.0
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    sharded: bool = False
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
        if self.precision not in ("fp32", "tf32", "bf16", "fp16"):
            raise ValueError(f"precision must be fp32, tf32, bf16 or fp16, not {self.precision!r}")
        if self.acoustic_input not in ("vocals", "mixture"):
            raise ValueError(f"acoustic_input must be vocals or mixture, not {self.acoustic_input!r}")
        if not self.stages:
            raise ValueError("stages is empty; give at least one")
        if bool(self.cuts.cuts) == (self.stream is not None):
            raise ValueError("give either cuts.cuts (files from `lyrics-asr data cuts` or `data dali`) or stream")
        if bool(self.development) == bool(self.development_cuts):
            raise ValueError("give either development (manifests of songs) or development_cuts (a file of cuts)")
        if self.lyrics and not self.development:
            raise ValueError("the language model is tuned on development songs: give development, or set lyrics=''")
        if self.vocabulary not in ("checkpoint", "letters", *_FROM_CUTS) and not Path(self.vocabulary).is_dir():
            raise ValueError(
                f"vocabulary must be checkpoint, letters, {', '.join(_FROM_CUTS)} or the folder of a tokenizer, not "
                f"{self.vocabulary!r}"
            )
        if self.vocabulary in _FROM_CUTS and self.stream is not None:
            raise ValueError(
                f"vocabulary: {self.vocabulary} is made of the words of cuts, and there are none in a stream; use "
                "`vocabulary: letters` or the folder of a tokenizer"
            )
        if self.sharded and self.compile:
            raise ValueError("sharded: networks are not compiled when they are sharded; set one of both to false")
        if self.sharded and self.precision == "fp16":
            raise ValueError("sharded: the loss scales of processes would differ with fp16; set precision to bf16")
        learns_dependency = any(each.adversarial and each.adversarial.objective == "factor_gan" for each in self.stages)
        if learns_dependency and self.cuts.augmentation.remix_prob:
            raise ValueError("factor_gan learns from real pairs of stems: set cuts.augmentation.remix_prob to 0")
        if learns_dependency and self.cuts.batch_cuts == 1:
            raise ValueError("factor_gan shuffles the cuts of a batch: set cuts.batch_cuts to at least 2, or to null")
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
        at_least_one = ("log_every_steps", "validate_every_steps", "keep_checkpoints", "max_skipped_steps", "pieces")
        for name, least in [(n, 1) for n in at_least_one] + [(n, 0) for n in _AT_LEAST_ZERO]:
            check_range(name, getattr(self, name), getattr(self, name) >= least, f"at least {least}")

    @property
    def cut_files(self) -> list[str]:
        """All files of training cuts."""
        unpaired = [path for stage in self.stages if stage.adversarial for path in stage.adversarial.cut_files]
        return list(dict.fromkeys([*self.cuts.cuts, *unpaired]))

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


_FROM_CUTS = ("text", "pieces", "phonemes")
_AT_LEAST_ZERO = ("vocals_cache_gb", "validation_examples", "checkpoint_every_steps", "overfit_chunks", "tuning_songs")
