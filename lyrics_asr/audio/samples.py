"""Samples in memory: mono and stereo mixes, resampling, and checks for silence.

Conventions
- Samples are float32 of shape (channels, samples) with full scale -1..1.
- Surround sound is mixed to stereo with the ITU-R BS.775 weights, scaled so that it cannot clip; LFE is dropped.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
import soxr
import torch
from jaxtyping import Float
from torch import Tensor

SEPARATOR_SAMPLE_RATE_HZ = 44_100  # what the published Demucs networks were trained on
ACOUSTIC_SAMPLE_RATE_HZ = 16_000  # what the published Wav2Vec2 networks were trained on

_MINIMUM_SECONDS = 0.1
_SILENCE_PEAK = 1e-4  # -80 dB of full scale

# Left and right weight of each channel, ITU-R BS.775-3, table 2; a back centre goes to both sides like a front centre.
_HALF_POWER = math.sqrt(0.5)
_STEREO_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
}


class AudioError(ValueError):
    """A file without usable audio; the message gives the file, the cause and the remedy."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Audio samples, float32; on the CPU unless a network on another device produced them."""

    samples: Float[Tensor, "channels samples"]
    sample_rate_hz: int

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.sample_rate_hz

    def cpu(self) -> "Audio":
        """The same audio on the CPU."""
        return Audio(self.samples.cpu(), self.sample_rate_hz)

    def resampled(self, sample_rate_hz: int) -> "Audio":
        """Resample (soxr, high quality) to `n * new / old` samples, rounded to the nearest."""
        if sample_rate_hz == self.sample_rate_hz:
            return self
        # Halves are rounded up, not to even, so that a window's length does not depend on its position.
        count = (2 * self.samples.shape[1] * sample_rate_hz + self.sample_rate_hz) // (2 * self.sample_rate_hz)
        output = np.zeros((self.samples.shape[0], count), dtype=np.float32)
        if count:
            converted = soxr.resample(self.samples.numpy().T, self.sample_rate_hz, sample_rate_hz, quality="HQ").T
            output[:, : converted.shape[1]] = converted[:, :count]
        return Audio(torch.from_numpy(output), sample_rate_hz)

    def to_channels(self, channels: Literal[1, 2]) -> "Audio":
        """Mix to mono, or to stereo (mono twice); surround is assumed to have FFmpeg's default layout."""
        count = self.samples.shape[0]
        if count == channels:
            return self
        return Audio(mixing_matrix(_usual_channel_names(count), channels) @ self.samples, self.sample_rate_hz)


def require_sound(audio: Audio, path: Path) -> None:
    """Check that the audio is usable and not silent.

    Raises:
        AudioError: samples are not finite, or the audio is shorter than 0.1 s or silent (peak below -80 dB).
    """
    if audio.duration_seconds < _MINIMUM_SECONDS and bool(torch.isfinite(audio.samples).all()):
        raise AudioError(
            f"{path}: {audio.duration_seconds:.3f} s is too short for lyrics; give at least {_MINIMUM_SECONDS} s"
        )
    require_peak(peak_of(audio), path)


def peak_of(audio: Audio) -> Float[Tensor, ""]:
    """The largest absolute sample, without the mean of each channel: a constant is silent."""
    return (audio.samples - audio.samples.mean(1, keepdim=True)).abs().max()


def require_peak(peak: Float[Tensor, ""], path: Path) -> None:
    """Check that the audio is not silent, by its peak (see `peak_of`).

    Raises:
        AudioError: the peak is not finite, or below -80 dB of full scale.
    """
    if not bool(torch.isfinite(peak)):
        raise AudioError(f"{path}: has samples that are not finite; export the file again")
    if peak < _SILENCE_PEAK:
        raise AudioError(f"{path}: is silent (peak {peak:.1e} of full scale); check the recording")


def mixing_matrix(names: tuple[str, ...], channels: int) -> Float[Tensor, "channels inputs"]:
    """Weights that mix the named channels to mono or stereo; the mean of all if a name is unknown."""
    if len(names) == 2:
        stereo = torch.eye(2)
    elif len(names) > 2 and all(name in _STEREO_WEIGHTS for name in names):
        stereo = torch.tensor([_STEREO_WEIGHTS[name] for name in names]).T
        stereo = stereo / stereo.sum(1).max()
    else:
        stereo = torch.full((2, len(names)), 1 / len(names))
    return stereo if channels == 2 else stereo.mean(0, keepdim=True)


def _usual_channel_names(count: int) -> tuple[str, ...]:
    try:
        return tuple(channel.name for channel in av.AudioLayout(f"{count}c").channels)
    except ValueError:  # FFmpeg has no default layout for this number of channels
        return ("unknown",) * count
