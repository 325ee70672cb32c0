"""Where in a mix its instrumental or a cappella lies: offset, gain, polarity and drift, to a fraction of a sample.

Conventions
- Offsets are in samples of the mix, positive if the stem starts later. The gain is what the stem is multiplied by to
  be as loud as in the mix, negative if its polarity is inverted.
- Each of several windows of the stem is found in the mix by its phase correlation (GCC-PHAT, Knapp and Carter 1976),
  which has a sharp peak also where the voice is loud or the two were equalized differently. A line through the offsets
  of the windows gives the drift.
- The residual is the mix without the stem. Its level in a frame is relative to the mix, in dB.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.stats
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from lyrics_asr.audio import Audio

_WINDOWS = 16
_WINDOW_SECONDS = 6.0
_SEARCH_SECONDS = 2.0
_SEARCH_AGAIN_SECONDS = 0.3  # around the first estimate
_MIN_WINDOW_DB = -30.0  # quieter ones, relative to the loudest, are pauses
_TOLERANCE_SECONDS = 0.0005  # of a window from the line; a clock that drifts smears the peaks
_MIN_INLIERS = 0.8
_NEIGHBOURS = 32  # samples at each side of a peak, for its interpolation
_STEPS = 64  # of the interpolation, for each sample
_WHOLE_SAMPLE = 0.03  # offsets this near to a whole sample are whole: copies at the same rate
_FRAME_SECONDS = 0.1
_QUIETEST_FRAMES = 0.2  # share of the frames that refine the gain of an instrumental
_MIN_FRAME_DB = -40.0
_EPSILON = 1e-12


@dataclass(frozen=True)
class PairAlignment:
    """How a stem lies in a mix.

    Args:
        offset_samples: where the stem starts.
        gain: of the stem in the mix, with its sign.
        drift_samples: how much more the offset is at the end of the stem than at its start.
        inliers: share of the windows that agree with this.
        gain_spread_db: how far the gains of the middle eighty percent of the windows are apart.
    """

    offset_samples: float
    gain: float
    drift_samples: float
    inliers: float
    gain_spread_db: float


def align_stem(mix: Audio, stem: Audio, offset_seconds: float) -> PairAlignment | None:
    """Find a stem in a mix.

    Args:
        mix: the mix.
        stem: its instrumental or a cappella, at the same rate and with the same channels.
        offset_seconds: about where the stem starts, to within two seconds.

    Returns:
        None if most windows of the stem are not found in the mix.
    """
    rate = mix.sample_rate_hz
    size = round(_WINDOW_SECONDS * rate)
    starts = _window_starts(stem, size)
    mono_mix, mono_stem = (audio.samples.mean(0).numpy() for audio in (mix, stem))
    found = [_find(mono_mix, mono_stem, at, size, offset_seconds * rate, _SEARCH_SECONDS * rate) for at in starts]
    middle = float(np.median([each for each in found if each is not None] or [math.nan]))
    if not math.isfinite(middle):
        return None
    # Once more, near the majority: a window of repetitive music may fit elsewhere too.
    found = [_find(mono_mix, mono_stem, at, size, middle, _SEARCH_AGAIN_SECONDS * rate) for at in starts]
    points = [(at, lag) for at, lag in zip(starts, found, strict=True) if lag is not None]
    if len(points) < 3:
        return None
    times, lags = np.array(points).T
    slope, intercept, _, _ = scipy.stats.theilslopes(lags, times)
    is_inlier = np.abs(lags - (intercept + slope * times)) <= _TOLERANCE_SECONDS * rate
    inliers = is_inlier.sum() / len(starts)
    if inliers < _MIN_INLIERS:
        return None
    drift = float(slope * stem.samples.shape[1])
    offset = float(np.median(lags[is_inlier])) if abs(drift) <= 0.5 else float(intercept + drift / 2)
    if abs(offset - round(offset)) <= _WHOLE_SAMPLE:
        offset = float(round(offset))
    shifted = shift(stem, offset, mix.samples.shape[1])
    gains = _window_gains(mix.samples, shifted.samples, times[is_inlier] + offset, size)
    gain = float(np.median(gains)) if len(gains) else 0.0
    if not gain:
        return None
    low, high = np.quantile(np.abs(gains), [0.1, 0.9])
    spread = 20 * math.log10(max(high, _EPSILON) / max(low, _EPSILON))
    return PairAlignment(offset, gain, drift, float(inliers), spread)


def shift(audio: Audio, offset_samples: float, samples: int) -> Audio:
    """Audio that starts `offset_samples` later, cut or padded with zeros to a length; fractions by phase rotation."""
    whole = math.floor(offset_samples)
    fraction = offset_samples - whole
    source = audio.samples
    if fraction:
        size = scipy.fft.next_fast_len(source.shape[1] + 1, real=True)
        turn = torch.exp(-2j * math.pi * fraction * torch.arange(size // 2 + 1) / size)
        source = torch.fft.irfft(torch.fft.rfft(source, size) * turn, size)[:, : source.shape[1] + 1]
    shifted = torch.zeros(source.shape[0], samples)
    first, last = max(0, whole), min(samples, whole + source.shape[1])
    if first < last:
        shifted[:, first:last] = source[:, first - whole : last - whole]
    return Audio(shifted, audio.sample_rate_hz)


def frame_levels_db(
    residual: Float[Tensor, "channels samples"], mix: Float[Tensor, "channels samples"], sample_rate_hz: int
) -> NDArray[np.float64]:
    """The level of the residual in every frame in which the mix is not silent, relative to the mix."""
    size = round(_FRAME_SECONDS * sample_rate_hz)

    def energies(samples: Tensor) -> NDArray[np.float64]:
        count = samples.shape[1] // size
        frames = samples[:, : count * size].reshape(samples.shape[0], count, size)
        return frames.double().square().mean((0, 2)).numpy() + _EPSILON

    of_mix = energies(mix)
    sounding = of_mix > of_mix.max(initial=0) * 10 ** (_MIN_FRAME_DB / 10)
    levels: NDArray[np.float64] = 10 * np.log10(energies(residual)[sounding] / of_mix[sounding])
    return levels


def refined_gain(mix: Audio, stem: Audio, gain: float) -> float:
    """The gain of an aligned instrumental by the frames in which the least of the mix remains: there nobody sings.

    Over all frames, a voice that happens to correlate with the music biases it.
    """
    size = round(_FRAME_SECONDS * mix.sample_rate_hz)
    count = mix.samples.shape[1] // size
    own, whole = (
        each.samples[:, : count * size].reshape(-1, count, size).transpose(0, 1).flatten(1).double()
        for each in (stem, mix)
    )
    sounding = whole.square().mean(1) > whole.square().mean(1).max() * 10 ** (_MIN_FRAME_DB / 10)
    own, whole = own[sounding], whole[sounding]
    remaining = (whole - gain * own).square().sum(1) / whole.square().sum(1)
    quietest = remaining.argsort()[: max(1, int(_QUIETEST_FRAMES * len(remaining)))]
    energy = float(own[quietest].square().sum())
    return float((whole[quietest] * own[quietest]).sum()) / energy if energy else gain


def _window_starts(stem: Audio, size: int) -> list[int]:
    """Where the loud ones among evenly spaced windows start."""
    last = stem.samples.shape[1] - size
    starts = np.linspace(0, max(0, last), _WINDOWS).round().astype(int).tolist()
    energies = [float(stem.samples[:, at : at + size].square().mean()) for at in starts]
    lowest = max(energies) * 10 ** (_MIN_WINDOW_DB / 10)
    return [at for at, energy in zip(starts, energies, strict=True) if energy > lowest]


def _find(
    mix: NDArray[np.float32], stem: NDArray[np.float32], at: int, size: int, near: float, search: float
) -> float | None:
    """The offset of a window of the stem in the mix, within `search` samples of `near`; None outside of the mix."""
    first = max(0, round(at + near - search))
    passage = mix[first : round(at + near + search) + size]
    window = stem[at : at + size]
    if len(passage) < size:
        return None
    length = scipy.fft.next_fast_len(len(passage) + size, real=True)
    cross = scipy.fft.rfft(passage, length) * scipy.fft.rfft(window, length).conj()
    magnitude = np.abs(cross)
    correlation = scipy.fft.irfft(cross / (magnitude + 1e-6 * magnitude.max() + _EPSILON), length)
    peak = int(np.argmax(np.abs(correlation[: len(passage)])))
    around = correlation[(peak + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)) % length]
    steps = np.arange(-_STEPS, _STEPS + 1) / _STEPS
    fine = np.abs(np.sinc(steps[:, None] - np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)) @ around)
    return float(first + peak + steps[np.argmax(fine)] - at)


def _window_gains(mix: Tensor, shifted: Tensor, starts: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The least-squares gain of the stem in the mix, in each window."""
    gains = []
    for start in starts.round().astype(int):
        window = slice(max(0, start), max(0, start) + size)
        own = shifted[:, window].double()
        if energy := float(own.square().sum()):
            gains.append(float((mix[:, window].double() * own).sum()) / energy)
    return np.array(gains)
