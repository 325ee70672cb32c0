"""The fundamental frequency (F0) of separated vocals, by a network that is trained together with their separator.

Jansson, Bittner, Ewert and Weyde 2019, "Joint Singing Voice Separation and F0 Estimation with Deep U-Net Architectures"
(EUSIPCO): of their variants, this is the stacked one, in which F0 is estimated from the vocals' estimate, so that its
loss reaches the separator. In place of a second U-Net, a small network reads magnitudes at multiples of each
frequency, as in Bittner et al. 2017, "Deep Salience Representations for F0 Estimation in Polyphonic Music" (ISMIR).

Conventions
- The voice is mono at 16 kHz. Frames are those of `melody.pitch`: 10 ms apart, the time of frame i is 0.01 i s.
- Bins are 20 cents apart; the first is A1, 55 Hz.
- The salience of a bin is in 0..1. Its target is a Gaussian around the F0, as in CREPE (Kim et al. 2018, "CREPE: A
  Convolutional Representation for Pitch Estimation", equation 3), and 0 where there is no F0.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.melody.pitch import FRAME_SECONDS, PitchTrack, midi_to_hz

BINS = 300  # five octaves

_HOP_SAMPLES = round(FRAME_SECONDS * ACOUSTIC_SAMPLE_RATE_HZ)
_WINDOW_SAMPLES = 2048
_LOWEST_MIDI = 33.0
_BINS_PER_SEMITONE = 5
_HARMONICS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # multiples of the frequency
_BLUR_SEMITONES = 0.25
_OCTAVE_KERNEL = 61  # bins; an octave error is 60 bins away
_CONTEXT_FRAMES = 4  # on either side of a frame, of both kernels of five frames
_BLOCK_FRAMES = 2000
_MIN_SALIENCE = 0.3  # of a frame with an F0
_PEAK_BINS = 4  # on either side of the highest bin, over which the F0 is averaged
_INITIAL_LOGIT = -4.0  # few bins are salient


class PitchSalience(nn.Module):
    """Estimates the salience of pitches in a voice.

    Args:
        channels: of the hidden layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(len(_HARMONICS), channels, 5, padding=2),
                nn.Conv2d(channels, channels, 5, padding=2),
                nn.Conv2d(channels, channels, (1, _OCTAVE_KERNEL), padding=(0, _OCTAVE_KERNEL // 2)),
            ]
        )
        self.output = nn.Conv2d(channels, 1, 1)
        assert self.output.bias is not None
        nn.init.constant_(self.output.bias, _INITIAL_LOGIT)
        hz = torch.as_tensor(midi_to_hz(_bin_midi()), device="cpu")
        positions = torch.stack([hz * harmonic for harmonic in _HARMONICS]) * _WINDOW_SAMPLES / ACOUSTIC_SAMPLE_RATE_HZ
        below = positions.long().clamp(max=_WINDOW_SAMPLES // 2 - 1)
        is_inside = positions < _WINDOW_SAMPLES // 2
        self._below: Tensor
        self._weights: Tensor
        self._window: Tensor
        self.register_buffer("_below", below, persistent=False)
        weights = torch.stack([1 - (positions - below), positions - below]) * is_inside
        self.register_buffer("_weights", weights.float(), persistent=False)
        self.register_buffer("_window", torch.hann_window(_WINDOW_SAMPLES, device="cpu"), persistent=False)

    def forward(self, voice: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames bins"]:
        """The logits of the salience."""
        return self._logits(pad(voice, (_WINDOW_SAMPLES // 2, _WINDOW_SAMPLES // 2)))

    @torch.inference_mode()
    def track(self, voice: Audio) -> PitchTrack:
        """The F0 of a voice, block by block; the result is that of `forward`.

        Args:
            voice: mono at 16 kHz, on any device.
        """
        padded = pad(voice.samples.to(self._window.device), (_WINDOW_SAMPLES // 2, _WINDOW_SAMPLES // 2))
        frames, saliences = frame_count(voice.samples.shape[1]), []
        for first in range(0, frames, _BLOCK_FRAMES):
            start, end = max(0, first - _CONTEXT_FRAMES), min(frames, first + _BLOCK_FRAMES + _CONTEXT_FRAMES)
            block = padded[:, start * _HOP_SAMPLES : (end - 1) * _HOP_SAMPLES + _WINDOW_SAMPLES]
            saliences.append(self._logits(block)[0, first - start : first - start + _BLOCK_FRAMES].sigmoid())
        return PitchTrack(decode_salience(torch.cat(saliences).cpu()))

    def _logits(self, padded: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames bins"]:
        # Without autocast: bfloat16 has 8 bits of precision, too few for a waveform.
        with torch.autocast(padded.device.type, enabled=False):
            windows = padded.float().unfold(-1, _WINDOW_SAMPLES, _HOP_SAMPLES) * self._window
            levels = torch.fft.rfft(windows).abs().log1p()
            below, above = levels[..., self._below], levels[..., self._below + 1]
            hidden = (below * self._weights[0] + above * self._weights[1]).transpose(1, 2)
        for layer in self.layers:
            hidden = relu(layer(hidden))
        logits: Tensor = self.output(hidden)[:, 0].float()
        return logits


def frame_count(samples: int) -> int:
    """Number of frames of a voice."""
    return samples // _HOP_SAMPLES + 1


def salience_targets(f0_hz: Float[Tensor, "*batch frames"]) -> Float[Tensor, "*batch frames bins"]:
    """The salience to be estimated.

    Args:
        f0_hz: 0 where there is none.
    """
    bins = torch.as_tensor(_bin_midi(), dtype=f0_hz.dtype, device=f0_hz.device)
    midi = 69 + 12 * torch.log2(f0_hz / 440)  # of 0 Hz, minus infinity
    return torch.exp(-((midi[..., None] - bins) ** 2) / (2 * _BLUR_SEMITONES**2))


def decode_salience(salience: Float[Tensor, "frames bins"]) -> NDArray[np.float64]:
    """F0 in MIDI notes, NaN where no bin is salient: the mean of the bins around the highest, weighted by salience."""
    peaks = salience.max(1)
    bins = peaks.indices[:, None] + torch.arange(-_PEAK_BINS, _PEAK_BINS + 1)
    is_inside = (bins >= 0) & (bins < salience.shape[1])
    bins = bins.clamp(0, salience.shape[1] - 1)
    weights = salience.gather(1, bins).double() * is_inside
    midi = (weights * torch.from_numpy(_bin_midi())[bins]).sum(1) / weights.sum(1)
    return torch.where(peaks.values >= _MIN_SALIENCE, midi, torch.nan).numpy()


def _bin_midi() -> NDArray[np.float64]:
    return _LOWEST_MIDI + np.arange(BINS) / _BINS_PER_SEMITONE
