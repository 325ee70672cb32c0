"""One step of training: the batches of all processes through the graph, and each part moved by its optimizer."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from lyrics_asr.training.config import StageOptions
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.losses import Losses, LossGraph
from lyrics_asr.training.optimizers import OptimizerState


@dataclass(frozen=True)
class StepReport:
    """How a step went, the same in every process.

    Args:
        losses: of all batches, by the names of `Losses`, before their weights.
        gradient_norms: of each part that is trained, before clipping.
        skipped: chunks of the batches that broke the step; empty when it was taken.
    """

    losses: Mapping[str, float]
    gradient_norms: Mapping[str, float]
    skipped: tuple[str, ...]


def take_step(
    accelerator: Accelerator,
    graph: nn.Module,
    stage: StageOptions,
    batches: Sequence[Batch],
    optimizers: Mapping[str, OptimizerState],
    seed: Sequence[int],
) -> StepReport:
    """Move the model by what it gets wrong of some batches; not at all if a loss or a gradient is not finite.

    Args:
        accelerator: knows the other processes.
        graph: a `LossGraph`, or one that is wrapped for several processes.
        stage: which losses, and how many batches.
        batches: this process's, on its device; as many in every process.
        optimizers: those that move in this step.
        seed: of the step; each of its batches draws its own random numbers from it.
    """
    losses_of = cast(LossGraph, accelerator.unwrap_model(graph))
    with accelerator.autocast():
        targets = [losses_of.targets(stage, batch) for batch in batches]
    counts = accelerator.reduce(torch.stack([each.counts for each in targets]).sum(0), "sum")
    names = [field.name for field in fields(Losses)]
    total = torch.zeros(len(names) + 1, device=counts.device)  # the losses, and how many batches broke
    broken: list[str] = []
    for number, (batch, target) in enumerate(zip(batches, targets, strict=True)):
        seed_everything([*seed, number * accelerator.num_processes + accelerator.process_index])
        is_last = number == len(batches) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(graph):
            with accelerator.autocast():
                losses: Losses = graph(stage, batch, target, counts)
            loss = losses.weighted(stage)
            accelerator.backward(loss * accelerator.num_processes)  # whose gradients are averaged over processes
        parts = torch.stack([getattr(losses, name) for name in names]).detach().float()
        is_broken = not bool(loss.isfinite())
        broken += batch.chunk_ids if is_broken else ()
        total += torch.cat([parts, parts.new_tensor([float(is_broken)])])
    norms = {name: each.clip() for name, each in optimizers.items()}
    total = cast(Tensor, accelerator.reduce(total, "sum"))
    is_sound = bool(total[-1] == 0) and all(map(math.isfinite, norms.values()))
    for each in optimizers.values():
        each.step(move=is_sound)
    skipped: tuple[str, ...] = ()
    if not is_sound:
        suspects = broken if total[-1] else [chunk_id for batch in batches for chunk_id in batch.chunk_ids]
        skipped = tuple(gather_object(suspects))
    return StepReport(dict(zip(names, total.tolist()[:-1], strict=True)), norms, skipped)


def seed_everything(numbers: Sequence[int]) -> None:
    """Make the random numbers of a batch its own, so that a resumed run draws what the uninterrupted one would have."""
    seed = int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002, transformers draws its time masks from NumPy's global generator
