"""A vocoder: analyze speech into pitch and spectral envelope, and synthesize a voice from them.

Analysis is that of WORLD (Morise et al. 2016): DIO for pitch and CheapTrick for the envelope. Synthesis is a
time-varying source-filter model: band-limited pulses and white noise, split into overlapping frames, each filtered by
its minimum-phase envelope. WORLD's own synthesis convolves each pulse separately; here the cost does not depend on
pitch.

Conventions: signals are mono at `SPEECH_SAMPLE_RATE_HZ`, frames are `FRAME_SAMPLES` apart, and envelopes are power
spectra with `FFT_SAMPLES // 2 + 1` bins.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    import pyworld

SPEECH_SAMPLE_RATE_HZ = 22_050  # espeak-ng's output rate
FRAME_SAMPLES = 110
FRAME_SECONDS = FRAME_SAMPLES / SPEECH_SAMPLE_RATE_HZ
FFT_SAMPLES = 1024  # CheapTrick's size at this rate for voices down to 71 Hz
BIN_HZ = np.arange(FFT_SAMPLES // 2 + 1) * SPEECH_SAMPLE_RATE_HZ / FFT_SAMPLES

_WINDOW_FRAMES = 4  # length of the Hann window of a frame, in hops
_DIO_SPEED = 4  # decimation in DIO; 1 finds the same pitch but is seven times slower
# Fraction of noise in the amplitude of a clear voice: D4C's mean over vowels of espeak-ng's voices.
_CLEAR_VOICE_HZ = (0.0, 1000.0, 2000.0, 3000.0, 5000.0, 8000.0, 11025.0)
_CLEAR_VOICE_NOISE = (0.0, 0.01, 0.06, 0.45, 0.55, 0.75, 0.95)
CLEAR_VOICE_APERIODICITY = np.interp(BIN_HZ, _CLEAR_VOICE_HZ, _CLEAR_VOICE_NOISE).astype(np.float32)

Samples = NDArray[np.float64]
Frames = NDArray[np.float32]


@dataclass(frozen=True)
class Analysis:
    """Analyzed speech.

    Args:
        f0_hz: pitch per frame, 0 if unvoiced.
        log_envelope: natural logarithm of the power spectrum, `[frames, bins]`.
    """

    f0_hz: Samples
    log_envelope: Frames


def analyze(samples: Samples) -> Analysis:
    """Analyze speech."""
    period_ms = FRAME_SECONDS * 1000
    f0_hz, times = pyworld.dio(samples, SPEECH_SAMPLE_RATE_HZ, frame_period=period_ms, speed=_DIO_SPEED)
    envelope = pyworld.cheaptrick(samples, f0_hz, times, SPEECH_SAMPLE_RATE_HZ, fft_size=FFT_SAMPLES)
    return Analysis(f0_hz, np.log(envelope).astype(np.float32))


def synthesize(
    f0_hz: Samples, log_envelope: Frames, aperiodicity: Frames, subharmonic: float, rng: np.random.Generator
) -> Samples:
    """Synthesize a voice.

    Args:
        f0_hz: pitch per frame, 0 if unvoiced.
        log_envelope: natural logarithm of the power spectrum, `[frames, bins]`.
        aperiodicity: fraction of noise in the amplitude, in 0..1, `[frames, bins]`; unvoiced frames are noise only.
        subharmonic: how much louder every second pulse is, in 0..1.
        rng: random generator for the noise.
    """
    total = len(f0_hz) * FRAME_SAMPLES
    pulses = _spectra(_pulses(f0_hz, subharmonic))
    noise = _spectra(rng.standard_normal(total, dtype=np.float32))
    noise_share = np.where(f0_hz[:, None] > 0, aperiodicity, np.float32(1))
    excitation = pulses * np.sqrt(1 - noise_share**2) + noise * noise_share
    frames = irfft(excitation * _minimum_phase(log_envelope), FFT_SAMPLES, axis=1)
    return _overlap_add(frames, total)


def _pulses(f0_hz: Samples, subharmonic: float) -> Frames:
    """Band-limited pulses of unit power; zero in unvoiced frames."""
    centers = np.arange(len(f0_hz)) * FRAME_SAMPLES
    voiced = f0_hz > 0
    if not voiced.any():
        return np.zeros(len(f0_hz) * FRAME_SAMPLES, np.float32)
    instants = np.arange(len(f0_hz) * FRAME_SAMPLES)
    pitch_hz = np.interp(instants, centers[voiced], f0_hz[voiced])
    phase = np.cumsum(2 * np.pi * pitch_hz / SPEECH_SAMPLE_RATE_HZ)
    harmonics = np.floor(SPEECH_SAMPLE_RATE_HZ / 2 / pitch_hz)
    # sum over k of cos(k phase), k = 1..harmonics
    half = np.sin(phase / 2)
    half = np.where(np.abs(half) < 1e-6, 1e-6, half)
    pulses = np.sin((harmonics + 0.5) * phase) / (2 * half) - 0.5
    pulses *= np.sqrt(2 / harmonics) * (1 + subharmonic * np.cos(phase / 2)) * np.repeat(voiced, FRAME_SAMPLES)
    return np.asarray(pulses, np.float32)


def _spectra(signal: Frames) -> NDArray[np.complex64]:
    """Short-time spectra, with windows centered on the frames that add up to one."""
    width = _WINDOW_FRAMES * FRAME_SAMPLES
    padded = np.pad(signal, (width // 2, width))
    cut = np.lib.stride_tricks.sliding_window_view(padded, width)[: len(signal) : FRAME_SAMPLES]
    window = (np.hanning(width + 1)[:-1] * 2 / _WINDOW_FRAMES).astype(np.float32)
    return np.asarray(rfft(cut * window, FFT_SAMPLES, axis=1))


def _minimum_phase(log_envelope: Frames) -> NDArray[np.complex64]:
    """Minimum-phase filters with these power spectra, by folding the cepstrum."""
    cepstrum = irfft(log_envelope / 2, FFT_SAMPLES, axis=1)
    cepstrum[:, 1 : FFT_SAMPLES // 2] *= 2
    cepstrum[:, FFT_SAMPLES // 2 + 1 :] = 0
    phase = rfft(cepstrum, FFT_SAMPLES, axis=1).imag
    magnitude = np.exp(log_envelope / 2)
    filters = np.empty(phase.shape, np.complex64)
    filters.real = magnitude * np.cos(phase)
    filters.imag = magnitude * np.sin(phase)
    return filters


def _overlap_add(frames: Frames, total: int) -> Samples:
    hops = -(-FFT_SAMPLES // FRAME_SAMPLES)
    frames = np.pad(frames, ((0, 0), (0, hops * FRAME_SAMPLES - FFT_SAMPLES)))
    rows = np.zeros((len(frames) + hops - 1, FRAME_SAMPLES))
    for hop in range(hops):
        rows[hop : hop + len(frames)] += frames[:, hop * FRAME_SAMPLES : (hop + 1) * FRAME_SAMPLES]
    before = _WINDOW_FRAMES * FRAME_SAMPLES // 2
    return rows.reshape(-1)[before : before + total]
