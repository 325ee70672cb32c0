"""One optimizer step: forward and backward passes of the batches of all processes, then an update of each part."""

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

from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.losses import Losses, LossGraph
from lyrics_asr.training.optimizers import OptimizerState
from lyrics_asr.training.stages import StageOptions


@dataclass(frozen=True)
class StepReport:
    """Losses and gradient norms of a step, the same in every process.

    Args:
        losses: of all batches, by the names of `Losses`, unweighted.
        loss: their weighted sum, which is minimized.
        samples: of all batches, without padding.
        gradient_norms: of each part that is trained, before clipping.
        skipped: chunks whose losses or gradients were not finite, so that the step was skipped; empty otherwise.
    """

    losses: Mapping[str, float]
    loss: float
    samples: int
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
    """Take one optimizer step; skip the update if a loss or a gradient is not finite.

    Args:
        accelerator: of the run.
        graph: a `LossGraph`, wrapped for several processes by `TrainingAccelerator.in_parallel`.
        stage: has the weights of the losses.
        batches: those of this process, on its device; the same number in every process.
        optimizers: those of the parts that are trained in this step.
        seed: of the step; the random numbers of each batch are derived from it.
    """
    losses_of = cast(LossGraph, accelerator.unwrap_model(graph))
    with accelerator.autocast():
        targets = [losses_of.targets(stage, batch) for batch in batches]
    counts = accelerator.reduce(torch.stack([each.counts for each in targets]).sum(0), "sum")
    names = [field.name for field in fields(Losses)]
    # The losses, their weighted sum, samples, and the number of batches that are not finite.
    total = torch.zeros(len(names) + 3, device=counts.device)
    broken: list[str] = []
    for number, (batch, target) in enumerate(zip(batches, targets, strict=True)):
        seed_everything([*seed, number * accelerator.num_processes + accelerator.process_index])
        is_last = number == len(batches) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(graph):
            with accelerator.autocast():
                losses: Losses = graph(stage, batch, target, counts)
            loss = losses.weighted(stage)
            accelerator.backward(loss * accelerator.num_processes)  # DDP and FSDP average gradients over processes
        parts = torch.stack([getattr(losses, name) for name in names]).detach().float()
        is_broken = not bool(loss.isfinite())
        broken += batch.chunk_ids if is_broken else ()
        samples = batch.lengths.sum().float()
        total += torch.cat([parts, torch.stack([loss.detach().float(), samples, parts.new_tensor(float(is_broken))])])
    norms = {name: each.clip(accelerator.scaler) for name, each in optimizers.items()}
    total = cast(Tensor, accelerator.reduce(total, "sum"))
    is_finite = bool(total[-1] == 0) and all(map(math.isfinite, norms.values()))
    for each in optimizers.values():
        each.step(update=is_finite)
    if accelerator.scaler is not None:
        accelerator.scaler.update()
    skipped: tuple[str, ...] = ()
    if not is_finite:
        suspects = broken if total[-1] else [chunk_id for batch in batches for chunk_id in batch.chunk_ids]
        skipped = tuple(gather_object(suspects))
    *each_loss, weighted_loss, sample_count, _ = total.tolist()
    return StepReport(dict(zip(names, each_loss, strict=True)), weighted_loss, round(sample_count), norms, skipped)


def seed_everything(numbers: Sequence[int]) -> None:
    """Seed all generators for one batch, so that a resumed run draws the random numbers of an uninterrupted one."""
    seed = int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002, transformers draws its time masks from NumPy's global generator
