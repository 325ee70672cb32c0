"""How a network that has heard nothing yet begins to listen: a bank of Gabor filters in place of noise."""

import math

import torch
from torch import nn

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ

_TREBLE_EXPONENT = 0.7  # voices fall off towards the treble, where the consonants are


def start_as_filterbank(convolution: nn.Conv1d) -> None:
    """Make the first convolution a bank of Gabor filters on the mel scale, each in four phases, treble emphasised.

    A network that starts from noise takes long to find the frequencies that matter; from here it goes on learning them
    (Zeghidour et al. 2018, "Learning Filterbanks from Raw Speech for Phone Recognition"). After an activation that
    keeps what is positive, four phases a quarter of a period apart add up to the level of a band at any moment, so that
    the stride can be as long as a spectrogram's.
    """
    channels, _, length = convolution.weight.shape
    mel = torch.linspace(_mel(60.0), _mel(7600.0), channels // 4)
    frequency_hz = 700 * (10 ** (mel / 2595) - 1)
    bandwidth_hz = torch.gradient(frequency_hz)[0].clamp(min=90.0)
    seconds = (torch.arange(length) - (length - 1) / 2) / ACOUSTIC_SAMPLE_RATE_HZ
    window = torch.exp(-0.5 * (2.5 * bandwidth_hz[:, None] * seconds) ** 2)
    phase = 2 * math.pi * frequency_hz[:, None] * seconds
    cosine, sine = window * phase.cos(), window * phase.sin()
    level = (frequency_hz / 1000) ** _TREBLE_EXPONENT
    level = level / level.mean()
    filters = torch.cat([cosine, sine, -cosine, -sine])
    filters *= (level.repeat(4) / filters.norm(dim=1))[:, None]
    with torch.no_grad():
        convolution.weight[: len(filters), 0] = filters
        if convolution.bias is not None:
            convolution.bias.zero_()


def _mel(frequency_hz: float) -> float:
    return 2595 * math.log10(1 + frequency_hz / 700)
