"""Two optimizers, one for the separator and one for the acoustic model, each with its own schedule.

The sound classifier that helps the acoustic model learn has a third, at the acoustic model's rate.
"""

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lyrics_asr.config import StageOptions
from lyrics_asr.model import LyricsModel

CLIP_NORM = 5.0
_WEIGHT_DECAY = 0.01
_BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Optimization:
    """What moves one part of the model."""

    module: nn.Module
    optimizer: AdamW
    schedule: LambdaLR

    def step(self) -> float:
        """Clip, move, and go on with the schedule; gives the norm of the gradient before clipping."""
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), CLIP_NORM))
        if math.isfinite(norm):  # a batch with a broken gradient is skipped, the schedule goes on
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return norm


def build_optimizations(
    model: LyricsModel, stage: StageOptions, sounds: nn.Module | None = None
) -> dict[str, Optimization]:
    """Freeze what the stage does not train; an optimizer and a schedule for each part that it does."""
    parts: dict[str, tuple[nn.Module, float]] = {
        "separator": (model.separator, stage.separator_learning_rate),
        "acoustic": (model.acoustic, stage.acoustic_learning_rate),
    }
    if sounds is not None and stage.sound_weight:
        parts["sounds"] = (sounds, stage.acoustic_learning_rate)
    optimizations = {}
    for name, (module, rate) in parts.items():
        module.requires_grad_(rate > 0)
        module.train(rate > 0)
        if rate > 0:
            optimizer = AdamW(module.parameters(), lr=rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY)
            schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, stage.warmup_steps, stage.steps))
            optimizations[name] = Optimization(module, optimizer, schedule)
    return optimizations


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """Factor on the peak learning rate: a linear rise, then half a cosine (Loshchilov and Hutter 2017) down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def trainable_parameters(module: nn.Module) -> int:
    """How many numbers the optimizer of this module moves."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def state_of(optimizations: dict[str, Optimization]) -> dict[str, dict[str, object]]:
    """Everything that a resumed run needs, as `restore` takes it."""
    return {
        name: {"optimizer": each.optimizer.state_dict(), "schedule": each.schedule.state_dict()}
        for name, each in optimizations.items()
    }


def restore(optimizations: dict[str, Optimization], state: dict[str, dict[str, object]]) -> None:
    """Put a saved state back; the parts must be the same."""
    for name, each in optimizations.items():
        each.optimizer.load_state_dict(state[name]["optimizer"])  # type: ignore[arg-type]
        each.schedule.load_state_dict(state[name]["schedule"])  # type: ignore[arg-type]
