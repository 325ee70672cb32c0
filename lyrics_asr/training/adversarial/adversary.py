"""The discriminators of a stage, with their optimizer and the watch for a collapse of the separator.

The paper's separator (Stoller et al. 2018) outputs magnitudes, which a rectifier keeps from being negative. Separators
here output waveforms, and discriminators see the magnitudes of their spectra, which cannot be negative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.training.adversarial.collapse import CollapseWatch
from lyrics_asr.training.adversarial.discriminators import log_magnitudes
from lyrics_asr.training.adversarial.objectives import (
    DiscriminatorLosses,
    FactorGAN,
    Objective,
    Sources,
    Wasserstein,
)
from lyrics_asr.training.adversarial.options import AdversarialOptions
from lyrics_asr.training.data.batch import Batch

_BETAS = (0.5, 0.9)
_OBJECTIVES = {"wasserstein": Wasserstein, "factor_gan": FactorGAN}


@dataclass(frozen=True)
class SeparatorLosses:
    """The unweighted losses of the separator on the mixtures of a batch."""

    adversarial: Float[Tensor, ""]
    additive: Float[Tensor, ""]


@dataclass(frozen=True)
class DiscriminatorPass:
    """Losses of the discriminators on a batch, and the energy of what the separator put out."""

    losses: DiscriminatorLosses
    vocals_energy: Float[Tensor, ""]
    accompaniment_energy: Float[Tensor, ""]
    mixture_energy: Float[Tensor, ""]


class Adversary:
    """Discriminators with random weights.

    Args:
        options: objective and sizes.
        device: where they are.
    """

    def __init__(self, options: AdversarialOptions, device: torch.device) -> None:
        self.options = options
        self.objective: Objective = _OBJECTIVES[options.objective](options)
        self.objective.to(device).eval().requires_grad_(False)  # their own steps enable it
        self.optimizer = torch.optim.Adam(self.objective.parameters(), lr=options.learning_rate, betas=_BETAS)
        self.watch = CollapseWatch(options.collapse_steps)

    def discriminator_pass(self, separator: Separator, batch: Batch, step: int) -> DiscriminatorPass:
        """The losses of the discriminators on a batch.

        Args:
            separator: is not trained by this.
            batch: with unpaired sounds.
            step: which of the batch's unpaired sounds to take.
        """
        sounds, pairs = batch.unpaired[step], None
        solo = Sources(*(self._seen(self._patches(each)) for each in (sounds.vocals, sounds.accompaniment)))
        mixture = self._patches(sounds.mixture or batch)
        with torch.no_grad():
            vocals, accompaniment = separator.stems(mixture)
        if self.objective.needs_pairs:
            assert batch.vocals is not None
            assert batch.accompaniment is not None
            both = torch.cat([batch.vocals, batch.accompaniment], dim=1)
            halves = _random_patches(both, batch.lengths, self.options.patch_samples).chunk(2, dim=1)
            pairs = Sources(*map(self._seen, halves))
        losses = self.objective.discriminator_losses(solo, self._sources(vocals, accompaniment), pairs)
        return DiscriminatorPass(losses, *(each.square().sum() for each in (vocals, accompaniment, mixture)))

    def separator_losses(self, separator: Separator, batch: Batch) -> SeparatorLosses:
        """The losses of the separator on the mixtures of a batch, the last of its unpaired ones if it has any."""
        mixture = self._patches(batch.unpaired[-1].mixture or batch)
        vocals, accompaniment = separator.stems(mixture)
        with torch.autocast(mixture.device.type, enabled=False):
            rest = (mixture - vocals - accompaniment).square().sum()
            additive = rest / mixture.square().sum().clamp(min=torch.finfo(mixture.dtype).tiny)
            return SeparatorLosses(self.objective.separator_loss(self._sources(vocals, accompaniment)), additive)

    def state_dict(self) -> dict[str, Any]:
        """Discriminators, optimizer and counts, for `load_state_dict`."""
        return {name: each.state_dict() for name, each in self._stateful().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ValueError: it is of other discriminators.
        """
        try:
            for name, each in self._stateful().items():
                each.load_state_dict(state[name])
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                "the checkpoint's discriminators are not those of the configuration; keep the sizes and the objective, "
                "or choose another output"
            ) from error

    def _stateful(self) -> dict[str, Any]:
        return {"objective": self.objective, "optimizer": self.optimizer, "watch": self.watch}

    def _patches(self, batch: Batch) -> Float[Tensor, "batch channels samples"]:
        mixture = batch.mixture
        assert mixture is not None
        return _random_patches(mixture, batch.lengths, self.options.patch_samples)

    def _sources(
        self,
        vocals: Float[Tensor, "batch channels samples"],
        accompaniment: Float[Tensor, "batch channels samples"],
    ) -> Sources:
        return Sources(self._seen(vocals), self._seen(accompaniment))

    def _seen(self, sound: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch 1 frames bins"]:
        return log_magnitudes(sound, self.options)


def _random_patches(
    sound: Float[Tensor, "batch channels length"], lengths: Int[Tensor, "batch"], samples: int
) -> Float[Tensor, "batch channels samples"]:
    """A random window of each row, padded with zeros where the row is shorter."""
    starts = (torch.rand(len(sound)) * (lengths.cpu() - samples + 1).clamp(min=1)).long().tolist()
    padded = pad(sound, (0, max(0, samples - sound.shape[-1])))
    return torch.stack([row[:, start : start + samples] for row, start in zip(padded, starts, strict=True)])
