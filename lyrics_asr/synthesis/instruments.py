"""Instruments of the band, made of oscillators and noise.

An instrument is a function of pitch (MIDI) and length (samples) that returns one note, mono, with a peak of about 1.
Its timbre is drawn once. Notes are cached, because songs repeat them. Harmonic tones are read from wavetables of one
period, without harmonics above `_HIGHEST_HARMONIC_HZ`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from lyrics_asr.melody.pitch import midi_to_hz

SAMPLE_RATE_HZ = 44_100

Samples = NDArray[np.float32]
Instrument: TypeAlias = Callable[[float, int], Samples]

_TABLE_SAMPLES = 2048
_HIGHEST_HARMONIC_HZ = 14_000.0
# First to third formant of vowels, in hertz, for male voices (Peterson and Barney 1952): ah, oh, oo, ee, eh
_VOWELS_HZ = (
    (730.0, 1090.0, 2440.0),
    (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0),
    (270.0, 2290.0, 3010.0),
    (530.0, 1840.0, 2480.0),
)


def piano(rng: np.random.Generator) -> Instrument:
    """Struck strings, from felt pianos to electric pianos and music boxes; high harmonics decay first."""
    tilt, bright_decay, decay = rng.uniform(0.7, 1.6), rng.uniform(5, 14), rng.uniform(1.0, 3.5)
    stretch_cents = rng.choice([0.0, rng.uniform(3, 12)])

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        faster = 2 ** ((midi - 60) / 24)
        bright = _tone(midi, length, _rolled_off(tilt)) + _tone(midi + stretch_cents / 100, length, _rolled_off(tilt))
        dull = _tone(midi, length, _rolled_off(tilt + 1.2))
        sound = 0.4 * bright * np.exp(-bright_decay * faster * seconds) + dull * np.exp(-decay * faster * seconds)
        return np.asarray(sound * fade(length, 0.002, 0.06), dtype=np.float32)

    return _kept(note)


def organ(rng: np.random.Generator) -> Instrument:
    """Drawbar organ, accordion or harmonium: two ranks detuned by a few cents."""
    drawbars = np.zeros(16)
    drawbars[[0, 1, 2, 3, 5, 7]] = rng.uniform(0, 1, 6) * (1, 1, 0.8, 0.7, 0.4, 0.4)
    drawbars[0] += 0.5
    amplitudes = drawbars if rng.random() < 0.6 else _rolled_off(rng.uniform(0.6, 1.2))
    rate_hz, depth_cents, apart_cents = rng.uniform(0.8, 7), rng.uniform(0, 10), rng.uniform(0, 14)

    def note(midi: float, length: int) -> Samples:
        curve = midi + depth_cents / 100 * np.sin(2 * np.pi * rate_hz * _seconds(length))
        ranks = _tone(curve, length, amplitudes) + _tone(curve + apart_cents / 100, length, amplitudes)
        return 0.5 * ranks * fade(length, 0.012, 0.04)

    return _kept(note)


def ensemble(rng: np.random.Generator) -> Instrument:
    """Strings and synth pads: detuned saw or square waves with a slow attack."""
    tilt, odd_only = rng.uniform(1.0, 2.0), rng.random() < 0.2
    amplitudes = _rolled_off(tilt) * (np.arange(64) % 2 == 0 if odd_only else 1)
    cents = rng.normal(0, rng.uniform(3, 12), 4)
    rates_hz, depth_cents = rng.uniform(3.5, 6.5, 4), rng.uniform(0, 12)
    attack_seconds, release_seconds = rng.uniform(0.04, 0.4), rng.uniform(0.08, 0.4)

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        sound = sum(
            _tone(midi + (each + depth_cents * np.sin(2 * np.pi * rate * seconds)) / 100, length, amplitudes)
            for each, rate in zip(cents, rates_hz, strict=True)
        )
        return np.asarray(0.35 * sound * fade(length, attack_seconds, release_seconds), dtype=np.float32)

    return _kept(note)


def brass(rng: np.random.Generator) -> Instrument:
    """Brass and synth stabs: two voices whose brightness grows with loudness."""
    tilt, attack_seconds = rng.uniform(0.5, 1.1), rng.uniform(0.02, 0.09)
    cents = rng.uniform(4, 12)

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        swell = np.minimum(1, seconds / attack_seconds) * np.exp(-0.8 * seconds)
        curve = midi - 0.5 * np.exp(-seconds / 0.02)
        dull = _tone(curve, length, _rolled_off(tilt + 1.3))
        bright = _tone(curve, length, _rolled_off(tilt)) + _tone(curve + cents / 100, length, _rolled_off(tilt))
        return np.asarray((dull + 0.6 * swell**2 * bright) * swell * fade(length, 0.01, 0.05), dtype=np.float32)

    return _kept(note)


def plucked(rng: np.random.Generator, *, muted: bool = False) -> Instrument:
    """A guitar, harp or banjo string (Karplus and Strong 1983), with a random plucking point."""
    cutoff_hz, loss = rng.uniform(1500, 9000), 0.96 if muted else rng.uniform(0.99, 0.9985)
    point = rng.uniform(0.08, 0.45)
    noise = rng.uniform(-1, 1, 4096)

    def note(midi: float, length: int) -> Samples:
        return string(midi, length, noise, cutoff_hz, loss, point) * fade(length, 0.001, 0.04)

    return _kept(note)


def distorted(rng: np.random.Generator, *, muted: bool = False) -> Instrument:
    """A power chord on an electric guitar, through an overdriven amplifier and its speaker."""
    drive, loss = rng.uniform(2, 25), 0.975 if muted else rng.uniform(0.995, 0.999)
    top_hz, bottom_hz, point = rng.uniform(2500, 5500), rng.uniform(70, 150), rng.uniform(0.1, 0.3)
    noise = rng.uniform(-1, 1, 4096)
    intervals = (0, 7, 12) if rng.random() < 0.8 else (0,)

    def note(midi: float, length: int) -> Samples:
        strings = sum(string(midi + interval, length, noise, 5000.0, loss, point) for interval in intervals)
        return _filtered(np.tanh(drive * strings) * fade(length, 0.002, 0.03), bottom_hz, top_hz)

    return _kept(note)


def bass(rng: np.random.Generator) -> Instrument:
    """Fingered, synth or sub bass."""
    tilt, decay, sub = rng.uniform(1.0, 2.5), rng.uniform(0.3, 4), rng.uniform(0, 1)
    drive = rng.uniform(0.5, 3)

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        sound = _tone(midi, length, _rolled_off(tilt)) * np.exp(-decay * seconds) + sub * _tone(
            midi, length, np.ones(1)
        )
        return np.asarray(np.tanh(drive * sound) * fade(length, 0.005, 0.03), dtype=np.float32)

    return _kept(note)


def synth(rng: np.random.Generator) -> Instrument:
    """A synth pluck: a saw or square wave with decaying brightness."""
    tilt, decay, brightness_decay = rng.uniform(0.8, 1.3), rng.uniform(1, 6), rng.uniform(3, 20)
    odd_only = rng.random() < 0.4
    parity = np.arange(64) % 2 == 0 if odd_only else np.ones(64)

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        bright = _tone(midi, length, _rolled_off(tilt) * parity) * np.exp(-brightness_decay * seconds)
        dull = _tone(midi, length, _rolled_off(tilt + 1) * parity)
        return np.asarray((bright + dull) * np.exp(-decay * seconds) * fade(length, 0.003, 0.03), dtype=np.float32)

    return _kept(note)


def choir(rng: np.random.Generator) -> Instrument:
    """Singers on a single vowel, each with its own vibrato and tuning."""
    vowel = _VOWELS_HZ[int(rng.integers(len(_VOWELS_HZ)))]
    ratio, singers = rng.uniform(0.95, 1.25), int(rng.integers(2, 5))
    cents, rates_hz, depth = rng.normal(0, 10, singers), rng.uniform(4, 6.5, singers), rng.uniform(0.1, 0.5)
    attack_seconds = rng.uniform(0.05, 0.25)

    def note(midi: float, length: int) -> Samples:
        seconds = _seconds(length)
        amplitudes = _formants(midi, vowel, ratio)
        sound = sum(
            _tone(midi + each / 100 + depth * np.sin(2 * np.pi * (rate * seconds + each)), length, amplitudes)
            for each, rate in zip(cents, rates_hz, strict=True)
        )
        return np.asarray(0.4 * sound * fade(length, attack_seconds, 0.12), dtype=np.float32)

    return _kept(note)


def lead(rng: np.random.Generator) -> Callable[[Sequence[float], Sequence[int]], Samples]:
    """A voice-like lead: a function of notes (MIDI) and lengths (samples), with glides and vibrato.

    Some leads move between the formants of two vowels, like a wah-wah or a talk box; others are saw waves, whistles or
    flutes.
    """
    kind = rng.choice(["formants", "formants", "saw", "flute"])
    vowels = [_VOWELS_HZ[int(i)] for i in rng.integers(0, len(_VOWELS_HZ), 2)]
    ratio, tilt = rng.uniform(0.9, 1.3), rng.uniform(0.7, 1.4)
    rate_hz, depth, glide_seconds = rng.uniform(4.5, 6.5), rng.uniform(0, 0.6), rng.uniform(0.01, 0.12)
    breath = rng.uniform(0, 0.05) if kind == "flute" else 0.0
    wah_hz = rng.uniform(0.3, 3)

    def phrase(notes_midi: Sequence[float], lengths: Sequence[int]) -> Samples:
        steps = np.repeat(np.asarray(notes_midi, dtype=np.float64), lengths)
        window = max(1, round(glide_seconds * SAMPLE_RATE_HZ))
        sums = np.cumsum(np.concatenate([np.full(window, steps[0]), steps]))
        curve = (sums[window:] - sums[:-window]) / window
        total = len(steps)
        since_note = np.concatenate([_seconds(length) for length in lengths])
        growth = np.clip((since_note - 0.15) / 0.25, 0, 1)
        curve = curve + depth * growth * np.sin(2 * np.pi * rate_hz * _seconds(total))
        middle = float(np.mean(steps))
        if kind == "formants":
            share = (0.5 + 0.5 * np.sin(2 * np.pi * wah_hz * _seconds(total))).astype(np.float32)
            first, second = (_tone(curve, total, _formants(middle, vowel, ratio)) for vowel in vowels)
            sound = first * share + second * (1 - share)
        else:
            sound = _tone(curve, total, _rolled_off(tilt + (1.5 if kind == "flute" else 0)))
        loud = np.concatenate([0.4 + 0.6 * fade(length, 0.03, 0.05) for length in lengths])
        if breath:
            sound = sound + breath * np.random.default_rng(total).standard_normal(total).astype(np.float32)
        return np.asarray(sound * loud * fade(total, 0.03, 0.06), dtype=np.float32)

    return phrase


def string(
    midi: float, length: int, noise: NDArray[np.float64], cutoff_hz: float, loss: float, point: float
) -> Samples:
    """A plucked string (Karplus and Strong 1983): noise in a delay line with averaging, one period at a time.

    Args:
        midi: pitch; the loop is half a sample longer than its delay.
        length: number of samples.
        noise: initial noise, at least one period.
        cutoff_hz: low-pass of the pluck; lower is softer.
        loss: factor on the amplitude per 10 ms.
        point: plucking point, as a fraction of the string's length.
    """
    exact = SAMPLE_RATE_HZ / midi_to_hz(float(midi))
    delay = max(2, round(exact - 0.5))
    burst = sosfilt(_sections("lowpass", cutoff_hz), np.resize(noise, delay))
    burst = burst - np.roll(burst, max(1, round(point * delay)))
    keep = loss ** (exact / SAMPLE_RATE_HZ * 100)
    out = np.empty((length // delay + 2, delay), dtype=np.float32)
    out[0] = burst / max(float(np.abs(burst).max()), 1e-6)
    before = 0.0
    for row in range(1, len(out)):
        last = out[row - 1]
        out[row, 1:] = 0.5 * keep * (last[1:] + last[:-1])
        out[row, 0] = 0.5 * keep * (last[0] + before)
        before = float(last[-1])
    return out.reshape(-1)[:length]


def fade(length: int, attack_seconds: float, release_seconds: float) -> Samples:
    """A linear attack and release envelope."""
    seconds = _seconds(length)
    return np.minimum(1, np.minimum(seconds / np.float32(attack_seconds), seconds[::-1] / np.float32(release_seconds)))


def _kept(note: Instrument) -> Instrument:
    return cache(note)


def _seconds(length: int) -> Samples:
    return np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)


def _rolled_off(tilt: float) -> NDArray[np.float64]:
    """Amplitudes of 64 harmonics: harmonic number to the power of -tilt."""
    return np.asarray(np.arange(1, 65) ** -float(tilt))


def _formants(midi: float, formants_hz: Sequence[float], ratio: float) -> NDArray[np.float64]:
    """Amplitudes of the harmonics of a sung vowel: formant resonances on a source with falling spectrum."""
    frequency_hz = midi_to_hz(float(midi)) * np.arange(1, 65)
    amplitudes = np.full(64, 0.003)
    for number, center_hz in enumerate(formants_hz):
        width_hz = 80 * (number + 1)
        amplitudes += 0.5**number / (1 + ((frequency_hz - center_hz * ratio) / width_hz) ** 2)
    amplitudes *= (frequency_hz / 300.0) ** -0.4
    return np.asarray(amplitudes / np.sqrt((amplitudes**2).sum()))


def _tone(midi: float | NDArray[np.floating[Any]], length: int, amplitudes: NDArray[np.float64]) -> Samples:
    """A periodic tone with given harmonics, at a constant pitch or along a pitch curve."""
    hz = 440 * np.exp2((np.asarray(midi, dtype=np.float64) - 69) / 12)
    harmonics = min(len(amplitudes), max(1, int(_HIGHEST_HARMONIC_HZ / hz.max())))
    periods = np.cumsum(hz / SAMPLE_RATE_HZ) if hz.ndim else hz / SAMPLE_RATE_HZ * np.arange(length)
    spectrum = np.zeros(_TABLE_SAMPLES // 2 + 1, dtype=np.complex128)
    # Schroeder phases (1970): the same power with lower peaks
    numbers = np.arange(harmonics)
    spectrum[1 : harmonics + 1] = amplitudes[:harmonics] * np.exp(1j * np.pi * numbers**2 / harmonics)
    table = (np.fft.irfft(spectrum) * _TABLE_SAMPLES / 2).astype(np.float32)
    return np.asarray(table[(periods * _TABLE_SAMPLES).astype(np.int64) % _TABLE_SAMPLES])


@cache
def _sections(kind: str, *hz: float) -> NDArray[np.float64]:
    return np.asarray(butter(2, hz if len(hz) > 1 else hz[0], kind, fs=SAMPLE_RATE_HZ, output="sos"))


def _filtered(signal: NDArray[np.floating[Any]], low_hz: float, high_hz: float) -> Samples:
    return np.asarray(sosfilt(_sections("bandpass", low_hz, high_hz), signal), dtype=np.float32)
