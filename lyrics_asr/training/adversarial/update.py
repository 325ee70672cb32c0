"""The steps of the discriminators before a step of the separator."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.training.adversarial.adversary import Adversary
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.step import seed_everything

_ENERGIES = ("vocals_energy", "accompaniment_energy", "mixture_energy")


def update_discriminators(
    accelerator: Accelerator, adversary: Adversary, separator: Separator, batches: Sequence[Batch], seed: Sequence[int]
) -> dict[str, float]:
    """Take the discriminator steps of a training step.

    Gradients are averaged over the batches of all processes. A step whose gradient is not finite is skipped.

    Args:
        accelerator: of the run.
        adversary: with discriminators that are the same in all processes.
        separator: what they judge.
        batches: those of this process, on its device; the same number in every process.
        seed: of the step.

    Returns:
        The terms of the last discriminator step, and the energy of each output relative to the mixture's.
    """
    parameters = list(adversary.objective.parameters())
    adversary.objective.requires_grad_(True)
    for turn in range(adversary.options.discriminator_steps):
        adversary.objective.estimate_spectral_norms()
        turns = []
        for number, batch in enumerate(batches):
            seed_everything([*seed, turn, number * accelerator.num_processes + accelerator.process_index])
            turns.append(adversary.discriminator_turn(separator, batch, turn))
            (turns[-1].losses.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
        if all(bool(parameter.grad.isfinite().all()) for parameter in parameters if parameter.grad is not None):
            adversary.optimizer.step()
        adversary.optimizer.zero_grad()
    adversary.objective.requires_grad_(False)
    terms = torch.stack([torch.stack(list(each.losses.terms.values())).detach() for each in turns]).mean(0)
    energies = torch.stack([torch.stack([getattr(each, name) for name in _ENERGIES]) for each in turns]).sum(0)
    means = accelerator.reduce(torch.cat([terms, energies]), "mean").tolist()
    vocals, accompaniment, mixture = means[-3:]
    shares = {
        "vocals energy": vocals / max(mixture, 1e-30),
        "accompaniment energy": accompaniment / max(mixture, 1e-30),
    }
    return dict(zip(turns[0].losses.terms, means[:-3], strict=True)) | shares
