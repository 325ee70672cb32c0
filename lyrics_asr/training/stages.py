"""Options of the stages of training: losses, optimizers, freezing, adapters and masks."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from lyrics_asr.options import check_range
from lyrics_asr.training.adversarial.options import AdversarialOptions


@dataclass(frozen=True)
class OptimizerOptions:
    """AdamW for one part of the model: the separator or the acoustic model.

    Args:
        learning_rate: peak learning rate; 0 freezes the part.
        warmup_steps: steps of linear warm-up, from the first step in which the part is trained.
        schedule: after the warm-up, "cosine" decays to zero at the last step of the stage and "plateau" decays when the
            validation WER stops falling. "range" raises the rate by the same factor in every step of the stage, from a
            ten-thousandth to the peak, to find the rate at which the loss diverges (Smith 2017, section 3.3).
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
        if self.schedule not in ("cosine", "plateau", "range"):
            raise ValueError(f"schedule must be cosine, plateau or range, not {self.schedule!r}")
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
        pitch_weight: weight of the cross-entropy with the F0 of the lead vocals; the separator must be a U-Net with
            `pitch_channels`, and the cuts of songs whose F0 is known, such as those of `lyrics-asr data synth`.
        adversarial: adversarial losses of the separator; null for none.
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
    pitch_weight: float = 0.0
    adversarial: AdversarialOptions | None = None

    def __post_init__(self) -> None:
        if self.input not in ("vocals", "stems", "separated", "mixture"):
            raise ValueError(
                f"stage {self.name!r}: input must be vocals, stems, separated or mixture, not {self.input!r}"
            )
        if self.separation_weight and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: separation_weight needs input: mixture, which runs the separator")
        if self.pitch_weight and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: pitch_weight needs input: mixture, which runs the separator")
        if self.separator.learning_rate and self.input != "mixture":
            raise ValueError(f"stage {self.name!r}: training the separator needs input: mixture, which runs it")
        if self.adversarial is not None and not self.separator.learning_rate:
            raise ValueError(
                f"stage {self.name!r}: adversarial needs a learning_rate of the separator, which it trains"
            )
        if not (self.separator.learning_rate or self.acoustic.learning_rate):
            raise ValueError(f"stage {self.name!r}: neither separator nor acoustic model has a learning_rate")
        check_range(f"stage {self.name!r}: steps", self.steps, self.steps >= 1, "at least 1")
        check_range(f"stage {self.name!r}: patience", self.patience, self.patience >= 0, "at least 0")
        check_range(f"stage {self.name!r}: accumulation", self.accumulation, self.accumulation >= 1, "at least 1")
        starts = [phase.from_step for phase in self.freezing]
        if starts and (starts[0] != 0 or any(b <= a for a, b in pairwise(starts))):
            raise ValueError(f"stage {self.name!r}: from_step of freezing must start at 0 and increase, not {starts}")
