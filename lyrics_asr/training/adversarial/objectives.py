"""Adversarial losses of separators and their discriminators.

Conventions
- p is the distribution of real sources, q that of separated ones.
- Spectrograms are shaped `batch 1 frames bins`. The rows of separated sources, and of pairs, belong together; those of
  solo recordings do not.
- Losses are means over rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrize import is_parametrized

from lyrics_asr.training.adversarial.discriminators import Discriminator
from lyrics_asr.training.adversarial.options import AdversarialOptions

Scores = Callable[[Float[Tensor, "batch sources frames bins"]], Float[Tensor, "batch"]]


@dataclass(frozen=True)
class Sources:
    """Spectrograms of vocals and accompaniment."""

    vocals: Float[Tensor, "_ 1 frames bins"]
    accompaniment: Float[Tensor, "_ 1 frames bins"]

    def joint(self) -> Float[Tensor, "batch 2 frames bins"]:
        """Both sources of each row."""
        return torch.cat([self.vocals, self.accompaniment], dim=1)


@dataclass(frozen=True)
class DiscriminatorLosses:
    """What the discriminators minimize, and terms of it for the log."""

    total: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]]


class Objective(nn.Module, ABC):
    """The discriminators of an objective, and their losses."""

    needs_pairs = False
    """Whether the discriminators need real sources that belong together."""

    def estimate_spectral_norms(self) -> None:
        """Improve the estimates of spectral norms by one power iteration, once per step of the discriminators.

        PyTorch does so in every forward pass in training mode. The estimates would then depend on how the batches of a
        step are distributed over processes.
        """
        self.train()
        for module in self.modules():
            if is_parametrized(module):
                _ = module.weight
        self.eval()

    @abstractmethod
    def discriminator_losses(self, solo: Sources, separated: Sources, pairs: Sources | None) -> DiscriminatorLosses:
        """The losses of the discriminators.

        Args:
            solo: real sources that do not belong together.
            separated: outputs of the separator.
            pairs: real sources that belong together; not None if `needs_pairs`.
        """

    @abstractmethod
    def separator_loss(self, separated: Sources) -> Float[Tensor, ""]:
        """The adversarial loss of the separator."""


class Wasserstein(Objective):
    """A critic per source, which estimates the Wasserstein distance between real and separated sources.

    Stoller, Ewert, Dixon 2018, "Adversarial Semi-Supervised Audio Source Separation applied to Singing Voice
    Extraction", with the losses of Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", equation 3.

    Args:
        options: sizes, and the weight of the gradient penalty.
    """

    def __init__(self, options: AdversarialOptions) -> None:
        super().__init__()
        self.vocals, self.accompaniment = (Discriminator(1, options, spectral=False) for _ in range(2))
        self._penalty_weight = options.gradient_penalty_weight

    def discriminator_losses(self, solo: Sources, separated: Sources, pairs: Sources | None) -> DiscriminatorLosses:
        """See `Objective.discriminator_losses`; the terms are distances and gradient penalties."""
        terms = {}
        for name, critic in (("vocals", self.vocals), ("accompaniment", self.accompaniment)):
            real, fake = getattr(solo, name), getattr(separated, name)
            terms[f"{name} distance"] = critic(real).mean() - critic(fake).mean()
            terms[f"{name} gradient penalty"] = gradient_penalty(critic, real, fake)
        distances = terms["vocals distance"] + terms["accompaniment distance"]
        penalties = terms["vocals gradient penalty"] + terms["accompaniment gradient penalty"]
        return DiscriminatorLosses(self._penalty_weight * penalties - distances, terms)

    def separator_loss(self, separated: Sources) -> Float[Tensor, ""]:
        """The distance, but for a constant."""
        score: Tensor = self.vocals(separated.vocals) + self.accompaniment(separated.accompaniment)
        return -score.mean()


def gradient_penalty(
    critic: Scores, real: Float[Tensor, "_ sources frames bins"], fake: Float[Tensor, "_ sources frames bins"]
) -> Float[Tensor, ""]:
    """(norm of the critic's gradient - 1)^2 at random points between real and fake rows (Gulrajani et al. 2017)."""
    rows = min(len(real), len(fake))
    share = torch.rand(rows, 1, 1, 1, dtype=real.dtype).to(real.device)
    between = torch.lerp(real[:rows].detach(), fake[:rows].detach(), share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


class FactorGAN(Objective):
    """The density ratio of real and separated sources, in factors that are learned from different data.

    p(v, a) / q(v, a) = p(v) / q(v) * p(a) / q(a) * cP(v, a) / cQ(v, a), where cP = p(v, a) / (p(v) p(a)) says how real
    sources depend on each other, and cQ is the same of separated ones. A discriminator estimates the logarithm of each
    factor: the marginal ones from solo recordings, that of cP from pairs against pairs that are shuffled, and that of
    cQ from separated sources against shuffled ones. The mixture is no further variable, as it is the sum of both.

    Stoller, Ewert, Dixon 2020, "Training Generative Adversarial Networks from Partial Observations using Factorised
    Discriminators" (ICLR). All discriminators are normalized by their spectral norms, as in the authors' code.

    Args:
        options: sizes.
    """

    needs_pairs = True

    def __init__(self, options: AdversarialOptions) -> None:
        super().__init__()
        self.vocals, self.accompaniment = (Discriminator(1, options, spectral=True) for _ in range(2))
        self.real_dependency, self.separated_dependency = (Discriminator(2, options, spectral=True) for _ in range(2))

    def discriminator_losses(self, solo: Sources, separated: Sources, pairs: Sources | None) -> DiscriminatorLosses:
        """See `Objective.discriminator_losses`; the terms are logistic losses: log 2 for guesses."""
        assert pairs is not None
        terms = {
            "vocals discriminator": logistic_loss(self.vocals, solo.vocals, separated.vocals),
            "accompaniment discriminator": logistic_loss(
                self.accompaniment, solo.accompaniment, separated.accompaniment
            ),
            "real dependency": logistic_loss(self.real_dependency, pairs.joint(), shuffled(pairs).joint()),
            "separated dependency": logistic_loss(
                self.separated_dependency, separated.joint(), shuffled(separated).joint()
            ),
        }
        return DiscriminatorLosses(torch.stack(list(terms.values())).sum(), terms)

    def log_ratio(self, separated: Sources) -> Float[Tensor, "batch"]:
        """The estimate of log p(v, a) / q(v, a)."""
        ratio: Tensor = (
            self.vocals(separated.vocals)
            + self.accompaniment(separated.accompaniment)
            + self.real_dependency(separated.joint())
            - self.separated_dependency(separated.joint())
        )
        return ratio

    def separator_loss(self, separated: Sources) -> Float[Tensor, ""]:
        """-log of the probability of being real by that ratio (the non-saturating loss of Goodfellow et al. 2014)."""
        return softplus(-self.log_ratio(separated)).mean()


def logistic_loss(
    discriminator: Scores,
    real: Float[Tensor, "_ sources frames bins"],
    fake: Float[Tensor, "_ sources frames bins"],
) -> Float[Tensor, ""]:
    """Binary cross-entropy with equal weights of both; its minimum is at log(density of real / density of fake)."""
    return (softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()) / 2


def shuffled(sources: Sources) -> Sources:
    """The vocals of each row with the accompaniment of another row, so that they are independent.

    A single row has no other: the result has no rows then, and the loss is NaN, so that the step is skipped.
    """
    rows = len(sources.vocals)
    if rows < 2:
        return Sources(sources.vocals[:0], sources.accompaniment[:0])
    shift = int(torch.randint(1, rows, ()))
    return Sources(sources.vocals, sources.accompaniment.roll(shift, dims=0))
