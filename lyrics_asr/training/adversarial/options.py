"""Options of adversarial objectives."""

import math
from dataclasses import dataclass, field

from lyrics_asr.options import check_range

OBJECTIVES = ("wasserstein", "factor_gan")


@dataclass(frozen=True)
class AdversarialOptions:
    """Train the separator against discriminators of its outputs, which need solo recordings and no pairs.

    The stage's own cuts have the mixtures; where they have stems, `separation_weight` adds a supervised loss. Cuts for
    `vocals`, `accompaniment` and `mixtures` may have stems, of which only the one in question is used, or be windows of
    recordings of it. All of them are used, pauses included, with the batch sizes and the augmentation of `cuts`.

    Args:
        objective: "wasserstein" for two critics with a gradient penalty (Stoller et al. 2018), or "factor_gan" for
            discriminators of each source and of their dependency (Stoller et al. 2020), which needs batches of at least
            two of the stage's own cuts with stems.
        vocals: files of cuts of solo vocals.
        accompaniment: files of cuts of solo accompaniment.
        mixtures: files of cuts of further mixtures, which replace those of the stage's own cuts in the adversarial
            loss.
        weight: weight of the adversarial loss.
        additive_weight: weight of the energy of the difference between the mixture and the sum of the outputs,
            relative to the mixture's. It is 0 for separators that divide the mixture.
        gradient_penalty_weight: weight of the gradient penalty of "wasserstein".
        discriminator_steps: discriminator steps per step of the separator, each with new sounds.
        learning_rate: of the discriminators (Adam).
        n_fft: window of the discriminators' spectrograms in samples, a power of two; the hop is half of it.
        patch_frames: frames that the discriminators see, a power of two.
        filters: channels of the first layer of the discriminators.
        collapse_steps: number of consecutive steps with a silent output that end the run.
    """

    objective: str = "wasserstein"
    vocals: list[str] = field(default_factory=list)
    accompaniment: list[str] = field(default_factory=list)
    mixtures: list[str] = field(default_factory=list)
    weight: float = 0.01
    additive_weight: float = 0.01
    gradient_penalty_weight: float = 10.0
    discriminator_steps: int = 5
    learning_rate: float = 1e-4
    n_fft: int = 512
    patch_frames: int = 64
    filters: int = 32
    collapse_steps: int = 200

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"adversarial.objective must be {' or '.join(OBJECTIVES)}, not {self.objective!r}")
        if not self.vocals or not self.accompaniment:
            raise ValueError("adversarial.vocals and adversarial.accompaniment need files of cuts of solo recordings")
        for key in ("weight", "additive_weight", "gradient_penalty_weight", "learning_rate"):
            value = getattr(self, key)
            check_range(f"adversarial.{key}", value, 0 <= value < math.inf, "finite, at least 0")
        for key in ("discriminator_steps", "filters", "collapse_steps"):
            check_range(f"adversarial.{key}", getattr(self, key), getattr(self, key) >= 1, "at least 1")
        for key in ("n_fft", "patch_frames"):
            value = getattr(self, key)
            check_range(f"adversarial.{key}", value, value >= 8 and value.bit_count() == 1, "a power of two from 8 on")

    @property
    def cut_files(self) -> list[str]:
        """All files of cuts."""
        return [*self.vocals, *self.accompaniment, *self.mixtures]

    @property
    def patch_samples(self) -> int:
        """Samples of a patch."""
        return (self.patch_frames + 1) * self.n_fft // 2
