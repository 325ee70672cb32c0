"""Initialise the first convolution as a Gabor filter bank instead of with noise."""

import math

import torch
from torch import nn

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ

_PRE_EMPHASIS_EXPONENT = 0.7  # voices fall off towards high frequencies, where the consonants are


def init_filterbank(convolution: nn.Conv1d) -> None:
    """Set the weights to Gabor filters on the mel scale, in four phases each, with pre-emphasis.

    Learning the relevant frequencies from random weights takes long; from here they are fine-tuned (Zeghidour et al.
    2018, "Learning Filterbanks from Raw Speech for Phone Recognition"). After a ReLU, four phases a quarter of a period
    apart add up to the level of the band at any moment, so that the stride can be as long as a spectrogram's.
    """
    channels, _, length = convolution.weight.shape
    mel = torch.linspace(_mel(60.0), _mel(7600.0), channels // 4)
    frequency_hz = 700 * (10 ** (mel / 2595) - 1)
    bandwidth_hz = torch.gradient(frequency_hz)[0].clamp(min=90.0)
    seconds = (torch.arange(length) - (length - 1) / 2) / ACOUSTIC_SAMPLE_RATE_HZ
    window = torch.exp(-0.5 * (2.5 * bandwidth_hz[:, None] * seconds) ** 2)
    phase = 2 * math.pi * frequency_hz[:, None] * seconds
    cosine, sine = window * phase.cos(), window * phase.sin()
    level = (frequency_hz / 1000) ** _PRE_EMPHASIS_EXPONENT
    level = level / level.mean()
    filters = torch.cat([cosine, sine, -cosine, -sine])
    filters *= (level.repeat(4) / filters.norm(dim=1))[:, None]
    with torch.no_grad():
        convolution.weight[: len(filters), 0] = filters
        if convolution.bias is not None:
            convolution.bias.zero_()


def _mel(frequency_hz: float) -> float:
    return 2595 * math.log10(1 + frequency_hz / 700)
