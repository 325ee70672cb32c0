"""Two optimizers, one for the separator and one for the acoustic model, each with its own schedule.

The CTC head is a parameter group of its own in the acoustic model's. The phone classifier that helps the acoustic model
learn has a third optimizer, with the acoustic model's options.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.training.freezing import first_trained_step
from lyrics_asr.training.sharding import sharded_like, whole
from lyrics_asr.training.stages import OptimizerOptions, StageOptions

_BETAS = (0.9, 0.98)
_RANGE = 1e4  # of the learning rates of a range test


@dataclass(frozen=True)
class OptimizerState:
    """Optimizer and schedules of one part of the model.

    Args:
        module: the part.
        optimizer: over all of its parameters; those without a gradient are not updated.
        schedule: stepped after every training step of the part.
        plateau: stepped after every validation; None for schedules that depend on steps only.
        clip_norm: maximum gradient norm.
        first_step: the number of steps of the stage before the part is trained.
    """

    module: nn.Module
    optimizer: AdamW
    schedule: LambdaLR | LinearLR
    plateau: ReduceLROnPlateau | None
    clip_norm: float
    first_step: int

    def clip(self, scaler: GradScaler | None) -> float:
        """Clip the gradient to `clip_norm` and return its norm before.

        Args:
            scaler: that scaled the loss, for `precision: fp16` (Micikevicius et al. 2018, section 3.2); the scale is
                taken from the gradient first. It is to be updated after the step.
        """
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        return float(whole(nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm)))

    def step(self, *, update: bool) -> None:
        """Update the parameters if `update`, clear the gradient, and step the schedule."""
        if update:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()

    def step_validation(self, wer: float) -> None:
        """Step the plateau schedule, if there is one, with the WER of a validation."""
        if self.plateau is not None:
            self.plateau.step(wer)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Current learning rate of each parameter group, by name."""
        return {group["name"]: float(group["lr"]) for group in self.optimizer.param_groups}


def build_optimizers(
    model: LyricsModel, stage: StageOptions, phones: nn.Module | None = None
) -> dict[str, OptimizerState]:
    """An optimizer and a schedule for each part that the stage trains.

    Args:
        model: with its separator and acoustic model.
        stage: a part with a learning rate of 0 gets no optimizer.
        phones: the phone classifier, for a stage with a `phone_weight`.
    """
    parts: dict[str, tuple[nn.Module, OptimizerOptions]] = {
        "separator": (model.separator, stage.separator),
        "acoustic": (model.acoustic, stage.acoustic),
    }
    if phones is not None and stage.phone_weight:
        parts["phones"] = (phones, stage.acoustic)
    optimizers = {}
    for name, (module, options) in parts.items():
        if options.learning_rate > 0:
            first_step = first_trained_step(stage) if name == "separator" else 0
            groups = list(_parameter_groups(name, module, stage.head_learning_rate))
            optimizer = AdamW(groups, lr=options.learning_rate, betas=_BETAS, weight_decay=options.weight_decay)
            schedule, plateau = _schedules(optimizer, options, stage.steps - first_step)
            optimizers[name] = OptimizerState(module, optimizer, schedule, plateau, options.clip_norm, first_step)
    return optimizers


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """Factor on the peak learning rate: a linear rise, then half a cosine (Loshchilov and Hutter 2017) down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def state_of(optimizers: Mapping[str, OptimizerState]) -> dict[str, dict[str, Any]]:
    """The state of all optimizers and schedules, for `restore`."""
    return {
        name: {key: value.state_dict() for key, value in _stateful(each).items()} for name, each in optimizers.items()
    }


def restore(optimizers: Mapping[str, OptimizerState], state: Mapping[str, Mapping[str, Any]]) -> None:
    """Load what `state_of` returned.

    Raises:
        ValueError: the state belongs to other parts or another kind of schedule.
    """
    for name, each in optimizers.items():
        stateful = _stateful(each)
        if name not in state or set(state[name]) != set(stateful):
            raise ValueError(f"the checkpoint's optimizers and schedules are not those of the configuration ({name})")
        for key, value in stateful.items():
            value.load_state_dict(state[name][key])
        for parameter, values in each.optimizer.state.items():
            values |= {key: sharded_like(parameter, value) for key, value in values.items() if value.dim()}


def _parameter_groups(name: str, module: nn.Module, head_learning_rate: float | None) -> Iterator[dict[str, Any]]:
    in_head = set(module.head.parameters()) if isinstance(module, AcousticModel) else set[nn.Parameter]()
    head = [parameter for parameter in module.parameters() if parameter in in_head]
    rest = [parameter for parameter in module.parameters() if parameter not in in_head]
    if head_learning_rate is None or not head:
        yield {"name": name, "params": [*module.parameters()]}
    else:
        yield {"name": name, "params": rest}
        yield {"name": f"{name} head", "params": head, "lr": head_learning_rate}


def _schedules(
    optimizer: AdamW, options: OptimizerOptions, steps: int
) -> tuple[LambdaLR | LinearLR, ReduceLROnPlateau | None]:
    if options.schedule == "cosine":
        return LambdaLR(optimizer, lambda step: warmup_cosine(step, options.warmup_steps, steps)), None
    if options.schedule == "range":
        return LambdaLR(optimizer, lambda step: _RANGE ** (step / max(1, steps - 1) - 1)), None
    # The warm-up ends at the peak and then leaves the rate to the plateau schedule, which multiplies it.
    warmup = LinearLR(optimizer, 1 / max(1, options.warmup_steps), total_iters=max(0, options.warmup_steps - 1))
    plateau = ReduceLROnPlateau(optimizer, factor=options.plateau_factor, patience=options.plateau_patience)
    return warmup, plateau


def _stateful(each: OptimizerState) -> dict[str, AdamW | LambdaLR | LinearLR | ReduceLROnPlateau]:
    parts: dict[str, AdamW | LambdaLR | LinearLR | ReduceLROnPlateau] = {
        "optimizer": each.optimizer,
        "schedule": each.schedule,
    }
    return parts | ({} if each.plateau is None else {"plateau": each.plateau})
