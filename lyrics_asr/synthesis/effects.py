"""Effects on vocals and instruments: equalizer, dynamics, saturation, chorus, echo and reverberation.

Conventions: signals are float32, mono `[samples]` or stereo `[2, samples]`, at `SAMPLE_RATE_HZ`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Samples

ROOMS = 32  # from smallest to largest
HOP_SAMPLES = 220  # between gain values: 5 ms


@dataclass(frozen=True)
class Bell:
    """A second-order equalizer band: a peak, or a low or high shelf.

    Args:
        kind: "peak", "low" or "high".
        hz: center frequency.
        gain_db: gain at the center frequency.
        width: quality factor of the peak, or slope of the shelf.
    """

    kind: str
    hz: float
    gain_db: float
    width: float = 0.8


def draw_equalizer(rng: np.random.Generator) -> tuple[Bell, ...]:
    """Draw two shelves and a peak within 6 dB."""
    return (
        Bell("low", rng.uniform(80, 300), rng.uniform(-6, 4), 0.7),
        Bell("peak", 10 ** rng.uniform(2.4, 3.7), rng.uniform(-6, 5), rng.uniform(0.4, 2)),
        Bell("high", rng.uniform(3000, 9000), rng.uniform(-6, 5), 0.7),
    )


def equalize(signal: Samples, bells: Sequence[Bell], sample_rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    """Filter with peaks and shelves (Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filters")."""
    sections = np.array([_biquad(bell, sample_rate_hz) for bell in bells], dtype=np.float32)
    return np.asarray(sosfilt(sections, signal))


def compress(signal: Samples, threshold_db: float, ratio: float, release_seconds: float) -> Samples:
    """Dynamic range compression (RMS detector, same gain for both channels).

    Args:
        signal: mono or stereo.
        threshold_db: relative to the 90th percentile of the signal's level.
        ratio: input dB per output dB above the threshold.
        release_seconds: time constant of the detector.
    """
    power = _block_means(np.square(signal).reshape(-1, signal.shape[-1]).mean(0))
    level_db = 10 * np.log10(power + 1e-10)
    pole = np.exp(-HOP_SAMPLES / SAMPLE_RATE_HZ / release_seconds)
    smooth_db = np.maximum(level_db, lfilter([1 - pole], [1, -pole], level_db))
    over_db = np.maximum(0, smooth_db - np.percentile(level_db, 90) - threshold_db)
    return signal * upsample_gains(10 ** (-over_db * (1 - 1 / ratio) / 20), signal.shape[-1])


def saturate(signal: Samples, drive: float) -> Samples:
    """Soft saturation with tanh; `drive` is the peak at its input. The peak of the signal is kept."""
    peak = np.float32(max(float(np.abs(signal).max()), 1e-9))
    return np.asarray(np.tanh(signal * (np.float32(drive) / peak)) * (peak / np.float32(np.tanh(drive))))


def chorus(mono: Samples, rng: np.random.Generator) -> Samples:
    """Stereo chorus: one copy per channel, with a slowly modulated delay."""
    out = np.empty((2, len(mono)), dtype=np.float32)
    coarse = np.arange(0, len(mono) + 2 * HOP_SAMPLES, HOP_SAMPLES)
    positions = np.arange(len(mono))
    for side in out:
        middle = rng.uniform(0.001, 0.02) * SAMPLE_RATE_HZ
        depth = rng.uniform(0.1, 0.6) * min(middle, 0.003 * SAMPLE_RATE_HZ)
        turns = 2 * np.pi * rng.uniform(0.1, 1.5) / SAMPLE_RATE_HZ * coarse + rng.uniform(0, 6)
        delays = _interpolate((middle + depth * np.sin(turns)).astype(np.float32), HOP_SAMPLES)[: len(mono)]
        later = np.ceil(delays).astype(np.int32)
        part = later - delays
        whole = np.maximum(positions - later, 0)
        side[:] = mono[whole] * (1 - part) + mono[np.minimum(whole + 1, len(mono) - 1)] * part
    return np.asarray(0.7 * out + rng.uniform(0, 0.5) * mono, dtype=np.float32)


def echo(signal: Samples, delay_seconds: float, level: float, feedback: float) -> Samples:
    """Four echoes of decreasing level."""
    out = signal.copy()
    delay = round(delay_seconds * SAMPLE_RATE_HZ)
    for number in range(1, 5):
        shift = number * delay
        if shift < signal.shape[-1]:
            gain = np.float32(level * feedback ** (number - 1))
            out[..., shift:] += gain * signal[..., : signal.shape[-1] - shift]
    return out


def telephone(signal: Samples) -> Samples:
    """Telephone band-pass, 300 to 3400 Hz."""
    sections = butter(2, (300, 3400), "bandpass", fs=SAMPLE_RATE_HZ, output="sos").astype(np.float32)
    return np.asarray(sosfilt(sections, signal))


def draw_room(rng: np.random.Generator) -> int:
    """Draw the number of a room, below `ROOMS`; small rooms are more frequent."""
    return int(ROOMS * rng.beta(1.3, 1.8))


def reverberate(stereo: Samples, send: Samples, room: int, level: float) -> Samples:
    """Add the reverberation of a mono signal; `level` is its fraction of the amplitude."""
    tail = oaconvolve(send[None], impulse_response(room), axes=1)[:, : stereo.shape[1]]
    return np.asarray(stereo * np.float32(1 - level) + tail.astype(np.float32) * np.float32(2 * level))


def ducking(trigger: Samples, depth_db: float) -> Samples:
    """Side-chain compression: a gain that falls by up to `depth_db` while the trigger is loud."""
    level = np.sqrt(_block_means(np.square(trigger)))
    pole = np.exp(-HOP_SAMPLES / SAMPLE_RATE_HZ / 0.08)
    held = np.maximum(level, lfilter([1 - pole], [1, -pole], level) * 4)
    return upsample_gains(10 ** (-depth_db * np.minimum(held / max(float(held.max()), 1e-9), 1) / 20), len(trigger))


def _biquad(bell: Bell, sample_rate_hz: int) -> list[float]:
    amplitude = 10 ** (bell.gain_db / 40)
    angle = 2 * np.pi * bell.hz / sample_rate_hz
    cosine = np.cos(angle)
    if bell.kind == "peak":
        alpha = np.sin(angle) / (2 * bell.width)
        b = (1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude)
        a = (1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude)
    else:
        alpha = np.sin(angle) / 2 * np.sqrt((amplitude + 1 / amplitude) * (1 / bell.width - 1) + 2)
        sign = 1 if bell.kind == "low" else -1
        up, down, root = amplitude + 1, amplitude - 1, 2 * np.sqrt(amplitude) * alpha
        b = (
            amplitude * (up - sign * down * cosine + root),
            sign * 2 * amplitude * (down - sign * up * cosine),
            amplitude * (up - sign * down * cosine - root),
        )
        a = (
            up + sign * down * cosine + root,
            -sign * 2 * (down + sign * up * cosine),
            up + sign * down * cosine - root,
        )
    return [float(value / a[0]) for value in (*b, *a)]


@cache
def impulse_response(room: int) -> Samples:
    """Stereo impulse response: early reflections and decaying noise, with a faster decay of high frequencies.

    Source: Moorer 1979, About This Reverberation Business.
    """
    rng = np.random.default_rng([1979, room])
    decay_seconds = 0.15 * (3.5 / 0.15) ** (room / (ROOMS - 1)) * rng.uniform(0.9, 1.1)
    length = round(decay_seconds * SAMPLE_RATE_HZ)
    seconds = np.arange(length) / SAMPLE_RATE_HZ
    noise = rng.standard_normal((2, length))
    dark = sosfilt(butter(1, rng.uniform(1500, 5000), fs=SAMPLE_RATE_HZ, output="sos"), noise)
    response = dark * np.exp(-6.9 * seconds / decay_seconds)
    response += (noise - dark) * np.exp(-6.9 * seconds / decay_seconds / rng.uniform(0.25, 0.6)) * rng.uniform(0.2, 0.9)
    response[:, : round(rng.uniform(0, 0.03) * SAMPLE_RATE_HZ)] = 0
    reflections = rng.integers(0, max(1, round(min(0.06, decay_seconds / 3) * SAMPLE_RATE_HZ)), (2, 8))
    for side, own in zip(response, reflections, strict=True):
        side[own] += rng.uniform(-1, 1, 8) * 3 * np.abs(response).max()
    response /= np.sqrt((response**2).sum(axis=1, keepdims=True))
    return np.asarray(response, dtype=np.float32)


def _block_means(values: Samples) -> NDArray[np.float64]:
    padded = np.pad(values, (0, -len(values) % HOP_SAMPLES))
    return np.asarray(padded.reshape(-1, HOP_SAMPLES).mean(1, dtype=np.float64))


def upsample_gains(gains: NDArray[np.float64], total_samples: int) -> Samples:
    """Block gains, interpolated linearly between block centers."""
    lines = _interpolate(np.concatenate([gains[:1], gains, gains[-1:]]).astype(np.float32), HOP_SAMPLES)
    return lines[HOP_SAMPLES // 2 : HOP_SAMPLES // 2 + total_samples]


def _interpolate(values: Samples, hop: int) -> Samples:
    """Linear interpolation between values that are `hop` samples apart."""
    ramp = np.arange(hop, dtype=np.float32) / np.float32(hop)
    return np.asarray((values[:-1, None] + np.diff(values)[:, None] * ramp).reshape(-1))
