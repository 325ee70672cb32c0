"""The steps of the discriminators before a step of the separator."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.training.adversarial.adversary import Adversary
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.step import seed_everything

_ENERGIES = ("vocals_energy", "accompaniment_energy", "mixture_energy")


@dataclass(frozen=True)
class DiscriminatorReport:
    """The discriminator steps of a training step, the same in every process.

    Args:
        metrics: the terms of the last discriminator step, and the energy of each output relative to the mixture's.
        skipped: number of discriminator steps that were skipped because a loss or a gradient was not finite.
    """

    metrics: Mapping[str, float]
    skipped: int


def update_discriminators(
    accelerator: Accelerator, adversary: Adversary, separator: Separator, batches: Sequence[Batch], seed: Sequence[int]
) -> DiscriminatorReport:
    """Take the discriminator steps of a training step.

    Gradients are averaged over the batches of all processes. A step whose loss or gradient is not finite is skipped.

    Args:
        accelerator: of the run.
        adversary: with discriminators that are the same in all processes.
        separator: what they judge.
        batches: those of this process, on its device; the same number in every process.
        seed: of the step.
    """
    skipped = 0
    parameters = list(adversary.objective.parameters())
    adversary.objective.requires_grad_(True)
    for step in range(adversary.options.discriminator_steps):
        adversary.objective.estimate_spectral_norms()
        passes = []
        for number, batch in enumerate(batches):
            seed_everything([*seed, step, number * accelerator.num_processes + accelerator.process_index])
            passes.append(adversary.discriminator_pass(separator, batch, step))
            (passes[-1].losses.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
        loss = accelerator.reduce(torch.stack([each.losses.total.detach() for each in passes]).sum(), "sum")
        if math.isfinite(loss) and all(
            bool(each.grad.isfinite().all()) for each in parameters if each.grad is not None
        ):
            adversary.optimizer.step()
        else:
            skipped += 1
        adversary.optimizer.zero_grad()
    adversary.objective.requires_grad_(False)
    terms = torch.stack([torch.stack(list(each.losses.terms.values())).detach() for each in passes]).mean(0)
    energies = torch.stack([torch.stack([getattr(each, name) for name in _ENERGIES]) for each in passes]).sum(0)
    means = accelerator.reduce(torch.cat([terms, energies]), "mean").tolist()
    vocals, accompaniment, mixture = means[-3:]
    shares = {
        "vocals energy": vocals / max(mixture, 1e-30),
        "accompaniment energy": accompaniment / max(mixture, 1e-30),
    }
    return DiscriminatorReport(dict(zip(passes[0].losses.terms, means[:-3], strict=True)) | shares, skipped)
