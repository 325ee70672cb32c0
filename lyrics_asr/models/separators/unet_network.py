"""The U-Net of Jansson et al. 2017, "Singing Voice Separation with Deep U-Net Convolutional Networks" (ISMIR)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, relu

_DROPOUT_LAYERS = 3


class UNet(nn.Module):
    """Estimates the magnitude spectrogram of one source in a mixture (Jansson et al. 2017, section 3.1).

    Padding is that of TensorFlow's "same", which adds one zero before and two after for these strides.

    Args:
        audio_channels: channels of the spectrogram.
        channels: output channels of the layers of the encoder.
        skip_connections: whether the decoder sees the encoder's outputs.
    """

    def __init__(self, audio_channels: int, channels: Sequence[int], *, skip_connections: bool) -> None:
        super().__init__()
        self._skip_connections = skip_connections
        self.encoder = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise((audio_channels, *channels))):
            self.encoder.append(_Down(inputs, outputs, normalized=index > 0))
        self.decoder = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise((*reversed(channels), 1))):
            inputs_with_skip = 2 * inputs if index and skip_connections else inputs
            self.decoder.append(_Up(inputs_with_skip, outputs, dropout=0.5 if index < _DROPOUT_LAYERS else 0.0))
        self.decoder.append(nn.Conv2d(1, audio_channels, kernel_size=4, dilation=2, padding=3))
        # A quarter faster on CPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "UNet":
        """Training or evaluation mode.

        A frozen network, and frozen norms of one that is trained in part, stay in evaluation mode: nothing of them
        changes, and their output is that of inference.
        """
        super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def forward(
        self, magnitudes: Float[Tensor, "batch channels frames bins"]
    ) -> Float[Tensor, "batch channels frames bins"]:
        """The magnitudes of the source."""
        skips = [magnitudes]
        for down in self.encoder:
            skips.append(down(skips[-1]))
        hidden = skips.pop()
        *ups, mask = self.decoder
        for up in ups:
            hidden = up(hidden)
            if self._skip_connections and len(skips) > 1:
                hidden = torch.cat([skips.pop(), hidden], dim=1)
        estimate: Tensor = mask(hidden).sigmoid() * magnitudes
        return estimate


class _Down(nn.Module):
    """Halves frames and bins. Skip connections leave before the normalization, which is that of the next layer."""

    def __init__(self, inputs: int, outputs: int, *, normalized: bool) -> None:
        super().__init__()
        self.norm = _batch_norm(inputs) if normalized else None
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=5, stride=2)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.norm is not None:
            hidden = leaky_relu(self.norm(hidden), 0.2)
        convolved: Tensor = self.conv(pad(hidden, (1, 2, 1, 2)))
        return convolved


class _Up(nn.Module):
    """Doubles frames and bins."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, kernel_size=5, stride=2, padding=1)
        self.norm = _batch_norm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.dropout(self.norm(relu(self.conv(hidden)[..., :-1, :-1])))
        return doubled


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # the defaults of Keras
