"""Pitch of a voice, frame by frame.

The candidates of a frame are the minima of YIN's difference function (de Cheveigné and Kawahara 2002, "YIN, a
fundamental frequency estimator for speech and music", equations 6 to 8, with parabolic interpolation). A Viterbi search
then takes the smoothest track through them, as in pYIN (Mauch and Dixon 2014), with costs in place of probabilities.

Conventions
- Frames are 10 ms apart; the time of frame i is 0.01 i s, at the centre of its window.
- Pitch is in MIDI notes as floats: 69 is 440 Hz, a semitone is 1. Unvoiced frames are NaN.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from lyrics_asr.audio import Audio

FRAME_SECONDS = 0.01

_MIN_HZ, _MAX_HZ = 65.0, 1100.0  # C2 to C#6
_WINDOW_SECONDS = 0.04
_CANDIDATES = 6
_UNVOICED_COST = 1.0  # of an unvoiced frame; voiced ones cost their aperiodicity, 0 to 1
_VOICING_CHANGE_COST = 0.4
_SEMITONE_COST = 0.12  # of a jump from one frame to the next
_LOW_PITCH_COST = 0.07  # per octave: two periods match as well as one
_SILENCE_DB = -45.0  # relative to the loud frames
_BLOCK_FRAMES = 4000  # 40 s


Midi = TypeVar("Midi", float, NDArray[np.float64])


def midi_to_hz(midi: Midi) -> Midi:
    """The frequency of MIDI notes."""
    return 440 * 2 ** ((midi - 69) / 12)


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """Pitch in MIDI notes, NaN where there is none; frames are `FRAME_SECONDS` apart."""

    midi: NDArray[np.float64]

    def part(self, start_seconds: float, end_seconds: float) -> NDArray[np.float64]:
        """The frames of a time span."""
        return self.midi[round(start_seconds / FRAME_SECONDS) : max(0, round(end_seconds / FRAME_SECONDS))]


def track_pitch(vocals: Audio) -> PitchTrack:
    """Track the pitch of one voice.

    Args:
        vocals: mono.
    """
    rate = vocals.sample_rate_hz
    hop, window = round(FRAME_SECONDS * rate), round(_WINDOW_SECONDS * rate)
    min_lag, max_lag = int(rate / _MAX_HZ), int(np.ceil(rate / _MIN_HZ))
    margin = (window + max_lag) // 2
    samples = torch.nn.functional.pad(vocals.samples[0], (margin, margin + hop))
    frames = samples.unfold(0, window + max_lag, hop)
    lags, costs, levels = [], [], []
    for first in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[first : first + _BLOCK_FRAMES]
        difference = _normalized_difference(block, window, max_lag)
        block_lags, block_costs = _minima(difference, min_lag)
        lags.append(block_lags)
        costs.append(block_costs)
        levels.append(block.square().mean(1))
    level_db = 10 * torch.cat(levels).clamp(min=1e-12).log10()
    is_silent = level_db < level_db.quantile(0.95) + _SILENCE_DB
    candidates = torch.cat(lags).double().numpy()
    observation = torch.cat(costs).double().numpy()
    observation[is_silent.numpy()] = np.inf
    midi = 69 + 12 * np.log2(rate / candidates / 440)
    return PitchTrack(_smoothest(midi, observation))


def _normalized_difference(
    frames: Float[Tensor, "frames samples"], window: int, max_lag: int
) -> Float[Tensor, "frames lags"]:
    """YIN's cumulative mean normalized difference for lags 0 to `max_lag`."""
    size = 1 << (frames.shape[1] + window).bit_length()
    spectra = torch.fft.rfft(frames, size) * torch.fft.rfft(frames[:, :window], size).conj()
    correlation = torch.fft.irfft(spectra, size)[:, : max_lag + 1]
    energy = torch.nn.functional.pad(frames.double().square().cumsum(1), (1, 0))
    energies = energy[:, window : window + max_lag + 1] - energy[:, : max_lag + 1]
    difference = (energies[:, :1] + energies - 2 * correlation).clamp(min=0)
    mean = difference[:, 1:].cumsum(1) / torch.arange(1, max_lag + 1)
    return torch.cat([torch.ones(len(frames), 1), difference[:, 1:] / mean.clamp(min=1e-12)], dim=1).float()


def _minima(
    difference: Float[Tensor, "frames lags"], min_lag: int
) -> tuple[Float[Tensor, "frames candidates"], Float[Tensor, "frames candidates"]]:
    """The lags of the lowest minima, between samples, and their values; infinite where there are fewer."""
    before, here, after = difference[:, :-2], difference[:, 1:-1], difference[:, 2:]
    curvature = (before + after - 2 * here).clamp(min=1e-12)
    shift = (0.5 * (before - after) / curvature).clamp(-0.5, 0.5)
    lag = torch.arange(1, difference.shape[1] - 1) + shift
    is_minimum = (here <= before) & (here < after) & (lag >= min_lag)
    octaves = torch.log2(lag / min_lag)
    lowest_value = here - 0.25 * (before - after) * shift  # between samples, which are coarse for high voices
    cost = torch.where(is_minimum, lowest_value + _LOW_PITCH_COST * octaves, torch.inf)
    lowest = cost.topk(_CANDIDATES, dim=1, largest=False)
    return lag.gather(1, lowest.indices), lowest.values


def _smoothest(midi: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cheapest track through one candidate per frame, or the unvoiced state, which is the last."""
    count, candidates = midi.shape
    total = np.zeros(candidates + 1)
    origins = np.zeros((count, candidates + 1), dtype=np.int8)
    unvoiced = candidates
    for frame in range(count):
        step = np.full((candidates + 1, candidates + 1), _VOICING_CHANGE_COST)  # from, to
        step[unvoiced, unvoiced] = 0.0
        if frame:
            step[:unvoiced, :unvoiced] = _SEMITONE_COST * np.abs(midi[frame - 1][:, None] - midi[frame][None])
        arrived = total[:, None] + step
        origins[frame] = arrived.argmin(0)
        total = arrived.min(0) + np.append(cost[frame], _UNVOICED_COST)
    track = np.full(count, np.nan)
    state = int(total.argmin())
    for frame in range(count - 1, -1, -1):
        if state != unvoiced:
            track[frame] = midi[frame, state]
        state = int(origins[frame, state])
    return track
