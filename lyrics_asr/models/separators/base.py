"""The interface of vocal separators.

Conventions
- Samples are float32 at the separator's own rate, shaped `channels samples`.
- Separation is deterministic: there are no random shifts, and batching does not change results.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyrics_asr.audio import SEPARATOR_SAMPLE_RATE_HZ
from lyrics_asr.models.separators.pitch_salience import PitchSalience
from lyrics_asr.options import SeparationOptions


class Separator(nn.Module, ABC):
    """Estimates vocals.

    Args:
        name: the name that `load_separator` takes.
        networks: all weights; each network has its last layers in `decoder`. None in `Unseparated`.
        sample_rate_hz: of mixture and vocals.
        audio_channels: of mixture and vocals.
    """

    gains_by_bfloat16 = False
    """Whether bfloat16 makes it faster on CPUs with instructions for it."""
    runs_in_openvino = False
    """Whether `separate` can use OpenVINO, see `models.openvino_network`."""

    def __init__(self, name: str, networks: Sequence[nn.Module], sample_rate_hz: int, audio_channels: int) -> None:
        super().__init__()
        self.name = name
        self.networks = nn.ModuleList(networks)
        self.sample_rate_hz = sample_rate_hz
        self.audio_channels = audio_channels
        self.pitch: PitchSalience | None = None
        """Estimates the F0 of the vocals that this separator gives, where it was trained with it."""

    @abstractmethod
    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Separate segments of any length in one differentiable pass."""

    def stems(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "sources batch channels samples"]:
        """Vocals and accompaniment, as `forward`; the accompaniment is what the vocals leave."""
        vocals = self(mixture)
        return torch.stack([vocals, mixture - vocals])

    @abstractmethod
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Separate whole songs, segment by segment, in evaluation mode. Segments of different songs share batches.

        Args:
            mixtures: whole songs at the separator's rate, on any device.
            options: segments, batch size and precision.
            progress: progress callback; receives the completed fraction, in 0..1.

        Returns:
            The vocals of each song, on the separator's device.

        Raises:
            ValueError: a mixture has the wrong number of channels.
        """

    @abstractmethod
    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """How to split a song into blocks such that separating the blocks equals separating the whole song.

        Returns:
            The number of samples that a block must start at a multiple of; and the number of samples to drop at both
            ends of a block, except at the ends of the song, because they differ from those of the whole song.
        """

    @property
    @abstractmethod
    def settings(self) -> dict[str, object]:
        """What the output depends on beside the weights and their shapes."""

    def _check_channels(self, channels: int) -> None:
        if channels != self.audio_channels:
            raise ValueError(
                f"separator {self.name!r} takes {self.audio_channels} channels, the mixture has {channels}"
            )


class Unseparated(Separator):
    """Takes the mixture for the vocals: for a cappella songs, and for acoustic models that hear mixtures.

    Args:
        sample_rate_hz: of the mixture.
        audio_channels: of the mixture.
    """

    runs_in_openvino = True  # there is nothing to run

    def __init__(self, sample_rate_hz: int = SEPARATOR_SAMPLE_RATE_HZ, audio_channels: int = 2) -> None:
        super().__init__("none", (), sample_rate_hz, audio_channels)

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """See `Separator.forward`."""
        return mixture

    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """See `Separator.separate`; the songs stay on their devices."""
        return list(mixtures)

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """See `Separator.block_grid`."""
        return 1, 0

    @property
    def settings(self) -> dict[str, object]:
        """See `Separator.settings`."""
        return {"sample rate": self.sample_rate_hz}
