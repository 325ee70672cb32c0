"""Faults of recordings that would lose the voice in a mono mix: an inverted or dead side, and a constant offset.

A correction is measured once per song and applied to all of its samples, so that blocks of a long song fit together.
Songs without a fault keep their samples exactly.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.audio.samples import Audio

_OFFSET = 1e-2  # -40 dB of full scale
_DEAD_ENERGY_RATIO = 1e-4  # -40 dB below the other side
_INVERTED_CORRELATION = -0.2  # both sides of a mix have the voice, so their correlation is positive

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ChannelCorrection:
    """What is wrong with the channels of a song.

    Args:
        offsets: mean of each channel, to be subtracted; 0 if it is small.
        weights: matrix from the channels to the corrected channels.
    """

    offsets: Float[Tensor, "channels 1"]
    weights: Float[Tensor, "channels channels"]

    @staticmethod
    def measure(audio: Audio, path: Path) -> "ChannelCorrection":
        """Measure a song, or the beginning of a long one, and log what is corrected.

        Stereo is inverted on one side if the correlation of both sides is below -0.2. A side is dead if its energy is
        40 dB below the other's; it gets the samples of the other one.

        Args:
            audio: its samples.
            path: names the song.
        """
        channels, count = audio.samples.shape
        means = audio.samples.mean(1, keepdim=True)
        offsets = torch.where(means.abs() > _OFFSET, means, torch.zeros(()))
        weights = torch.eye(channels)
        if offsets.any():
            _logger.warning("%s: has a constant offset (DC), which is removed", path)
        if channels == 2:
            covariance = audio.samples @ audio.samples.T / max(1, count) - means @ means.T
            left, right = float(covariance[0, 0]), float(covariance[1, 1])
            if min(left, right) < _DEAD_ENERGY_RATIO * max(left, right):
                weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]] if left > right else [[0.0, 1.0], [0.0, 1.0]])
                _logger.warning("%s: one side of the stereo sound is silent; the other is used for both", path)
            elif float(covariance[0, 1]) < _INVERTED_CORRELATION * (left * right) ** 0.5:
                weights = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
                _logger.warning("%s: one side of the stereo sound is inverted; it is turned back", path)
        return ChannelCorrection(offsets, weights)

    def apply(self, audio: Audio) -> Audio:
        """The corrected song, or part of it."""
        samples = audio.samples
        if self.offsets.any():
            samples = samples - self.offsets
        if not torch.equal(self.weights, torch.eye(len(self.weights))):
            samples = self.weights @ samples
        return Audio(samples, audio.sample_rate_hz)
