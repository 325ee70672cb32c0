"""Drum kits: each piece is a short sound made of sines and noise, drawn once per song."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Samples

KITS = ("acoustic", "brushes", "electronic", "hand", "heavy", "soft")


@dataclass(frozen=True, eq=False)
class _Timbre:
    """Parameter ranges of the pieces of a kit.

    Args:
        kick_decay_hz: decay rate of the kick (1 / seconds), lowest and highest.
        click: level of the beater.
        snare_decay_hz: decay rate of the snare.
        snare_noise: fraction of noise in the snare.
        metal_decay_hz: decay rate of closed hi-hats.
    """

    kick_decay_hz: tuple[float, float]
    click: float
    snare_decay_hz: tuple[float, float]
    snare_noise: tuple[float, float]
    metal_decay_hz: tuple[float, float]


_TIMBRES = {
    "acoustic": _Timbre((10.0, 20.0), 0.3, (14.0, 26.0), (0.5, 0.8), (40.0, 90.0)),
    "brushes": _Timbre((10.0, 18.0), 0.05, (7.0, 14.0), (0.9, 1.0), (30.0, 60.0)),
    "electronic": _Timbre((3.0, 12.0), 0.2, (12.0, 30.0), (0.4, 0.9), (60.0, 140.0)),
    "hand": _Timbre((12.0, 24.0), 0.2, (20.0, 40.0), (0.2, 0.5), (50.0, 100.0)),
    "heavy": _Timbre((14.0, 26.0), 0.9, (10.0, 20.0), (0.6, 0.9), (20.0, 60.0)),
    "soft": _Timbre((8.0, 16.0), 0.0, (16.0, 40.0), (0.3, 0.7), (60.0, 120.0)),
}


def draw_kit(name: str, rng: np.random.Generator) -> dict[str, Samples]:
    """Draw the pieces of a kit; mono, with peaks of about 1."""
    timbre = _TIMBRES[name]
    closed_hz = rng.uniform(*timbre.metal_decay_hz)
    low_hz, high_hz = rng.uniform(70, 110), rng.uniform(130, 260)
    metal_hz = rng.uniform(5000, 8000)
    return {
        "kick": _kick(rng, rng.uniform(*timbre.kick_decay_hz), timbre.click),
        "snare": _snare(rng, rng.uniform(*timbre.snare_decay_hz), rng.uniform(*timbre.snare_noise)),
        "hat": _noise(rng, closed_hz, metal_hz),
        "open": _noise(rng, closed_hz / 8, metal_hz),
        "ride": _ride(rng),
        "crash": _noise(rng, rng.uniform(1.5, 3), rng.uniform(2500, 5000)),
        "tom": _skin(rng.uniform(90, 160), 9.0),
        "low_tom": _skin(rng.uniform(60, 90), 7.0),
        "clap": _clap(rng),
        "shaker": _noise(rng, 45.0, 6000.0) * 0.6,
        "conga": _skin(high_hz, 16.0),
        "low_conga": _skin(low_hz * 1.8, 12.0),
        "stick": _skin(rng.uniform(1200, 2600), 60.0),
        "cowbell": _bell(rng, 14.0),
        "swish": _swish(rng),
    }


def _seconds(length_seconds: float) -> Samples:
    return np.arange(round(length_seconds * SAMPLE_RATE_HZ), dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)


def _kick(rng: np.random.Generator, decay_hz: float, click: float) -> Samples:
    seconds = _seconds(min(0.9, 6 / decay_hz))
    base_hz, sweep, drop_hz = rng.uniform(38, 62), rng.uniform(2, 9), rng.uniform(20, 60)
    body = np.sin(2 * np.pi * (base_hz * seconds + sweep * (1 - np.exp(-drop_hz * seconds)))) * np.exp(
        -decay_hz * seconds
    )
    beater = rng.standard_normal(len(seconds)) * np.exp(-400 * seconds)
    return np.asarray(np.tanh(1.5 * (body + click * beater)), dtype=np.float32)


def _snare(rng: np.random.Generator, decay_hz: float, noise_share: float) -> Samples:
    seconds = _seconds(min(0.6, 6 / decay_hz))
    tone_hz = rng.uniform(160, 260)
    tone = np.sin(2 * np.pi * tone_hz * seconds) + 0.5 * np.sin(2 * np.pi * tone_hz * 1.6 * seconds)
    tone *= np.exp(-1.5 * decay_hz * seconds)
    noise = _high(rng.standard_normal(len(seconds)), rng.uniform(400, 1800)) * np.exp(-decay_hz * seconds)
    return _unit((1 - noise_share) * tone + noise_share * noise)


def _noise(rng: np.random.Generator, decay_hz: float, low_hz: float) -> Samples:
    seconds = _seconds(min(2.0, 6 / decay_hz))
    return _unit(_high(rng.standard_normal(len(seconds)), low_hz) * np.exp(-decay_hz * seconds))


def _bell(rng: np.random.Generator, decay_hz: float) -> Samples:
    seconds = _seconds(6 / decay_hz)
    partials_hz = rng.uniform(500, 900) * np.array([1, 1.48, 2.2, 2.9])
    return _unit(np.sin(2 * np.pi * np.outer(partials_hz, seconds)).sum(0) * np.exp(-decay_hz * seconds))


def _ride(rng: np.random.Generator) -> Samples:
    decay_hz = rng.uniform(4, 9)
    return _noise(rng, decay_hz, rng.uniform(3500, 6000)) + 0.3 * _bell(rng, decay_hz)


def _skin(hz: float, decay_hz: float) -> Samples:
    seconds = _seconds(min(0.7, 6 / decay_hz))
    return _unit(np.sin(2 * np.pi * hz * (seconds + 0.01 * (1 - np.exp(-40 * seconds)))) * np.exp(-decay_hz * seconds))


def _clap(rng: np.random.Generator) -> Samples:
    seconds = _seconds(0.25)
    bursts = sum(np.exp(-200 * np.abs(seconds - at)) for at in (0.0, 0.011, 0.022)) + np.exp(-22 * seconds)
    return _unit(_high(rng.standard_normal(len(seconds)), 900.0) * bursts)


def _swish(rng: np.random.Generator) -> Samples:
    seconds = _seconds(0.35)
    return _unit(_high(rng.standard_normal(len(seconds)), 2000.0) * np.sin(np.pi * seconds / 0.35) ** 2)


def _high(noise: NDArray[np.float64], low_hz: float) -> Samples:
    return np.asarray(sosfilt(butter(2, low_hz, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), noise), dtype=np.float32)


def _unit(sound: NDArray[np.floating[Any]]) -> Samples:
    return np.asarray(sound / np.abs(sound).max(), dtype=np.float32)
