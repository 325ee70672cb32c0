"""What discriminators see, and their network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lyrics_asr.training.adversarial.options import AdversarialOptions

_SMALLEST = 4
"""Frames and bins at which layers stop halving them."""


class Discriminator(nn.Module):
    """Convolutions that halve frames and bins, then a linear layer (DCGAN, Radford et al. 2016, without norms).

    Args:
        sources: number of spectrograms that it sees at once.
        options: sizes.
        spectral: whether to divide all weights by their spectral norms (Miyato et al. 2018), which bounds the slope.
    """

    def __init__(self, sources: int, options: AdversarialOptions, *, spectral: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        frames, bins, inputs, outputs = options.patch_frames, options.n_fft // 2, sources, options.filters
        while bins > _SMALLEST:
            halves_frames = frames > _SMALLEST
            kernel, stride = ((4, 4), (2, 2)) if halves_frames else ((3, 4), (1, 2))
            layers += [_bounded(nn.Conv2d(inputs, outputs, kernel, stride, padding=1), spectral), nn.LeakyReLU(0.2)]
            frames, bins, inputs = frames // stride[0], bins // 2, outputs
            outputs = 2 * outputs if halves_frames else outputs
        layers += [nn.Flatten(), _bounded(nn.Linear(inputs * frames * bins, 1), spectral)]
        self.layers = nn.Sequential(*layers)

    def forward(self, sources: Float[Tensor, "batch sources frames bins"]) -> Float[Tensor, "batch"]:
        """One number per row: the critic's, or the logit of being real."""
        values: Tensor = self.layers(sources)
        return values.squeeze(1)


def log_magnitudes(
    sound: Float[Tensor, "batch channels samples"], options: AdversarialOptions
) -> Float[Tensor, "batch 1 frames bins"]:
    """log(1 + magnitude) of the spectrogram of the mean of the channels, without its highest bin.

    Args:
        sound: patches of `AdversarialOptions.patch_samples`.
        options: sizes.
    """
    windows = sound.float().mean(1, keepdim=True).unfold(-1, options.n_fft, options.n_fft // 2)
    spectrum = torch.fft.rfft(windows * torch.hann_window(options.n_fft, device=sound.device))
    magnitudes: Tensor = spectrum[..., :-1].abs()
    return magnitudes.log1p()


def _bounded(layer: nn.Module, spectral: bool) -> nn.Module:
    return spectral_norm(layer) if spectral else layer
