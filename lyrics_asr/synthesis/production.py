"""Audio production for the stems and the mix of a synthetic song: effects, mastering and lossy codecs.

The stems stay additive: mixture = vocals + accompaniment. Nonlinear effects (compression, saturation) are applied to a
stem before the sum. The master limiter applies the same gain to both stems. Codec artifacts are assigned to the
accompaniment (see `master`), so that the target of separation is the clean vocals.

Conventions: signals are float32, mono `[samples]` or stereo `[2, samples]`, at `SAMPLE_RATE_HZ`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Samples

CODECS = {"libmp3lame": (48, 64, 96, 128, 192, 320), "aac": (48, 64, 96, 128, 192, 256)}  # kbit/s in stereo
_FAST = {"libmp3lame": {"compression_level": "9"}, "aac": {"aac_coder": "fast"}}
CODED_SHARE = 0.3  # of songs
ROOMS = 32  # from smallest to largest
_HOP = 220  # samples between gain values: 5 ms
_PEAK = 0.9
_CODEC_DELAY_LIMIT = 4096  # samples; more than any of these codecs has


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
    pole = np.exp(-_HOP / SAMPLE_RATE_HZ / release_seconds)
    smooth_db = np.maximum(level_db, lfilter([1 - pole], [1, -pole], level_db))
    over_db = np.maximum(0, smooth_db - np.percentile(level_db, 90) - threshold_db)
    return signal * _upsample(10 ** (-over_db * (1 - 1 / ratio) / 20), signal.shape[-1])


def saturate(signal: Samples, drive: float) -> Samples:
    """Soft saturation with tanh; `drive` is the peak at its input. The peak of the signal is kept."""
    peak = np.float32(max(float(np.abs(signal).max()), 1e-9))
    return np.asarray(np.tanh(signal * (np.float32(drive) / peak)) * (peak / np.float32(np.tanh(drive))))


def chorus(mono: Samples, rng: np.random.Generator) -> Samples:
    """Stereo chorus: one copy per channel, with a slowly modulated delay."""
    out = np.empty((2, len(mono)), dtype=np.float32)
    coarse = np.arange(0, len(mono) + 2 * _HOP, _HOP)
    positions = np.arange(len(mono))
    for side in out:
        middle = rng.uniform(0.001, 0.02) * SAMPLE_RATE_HZ
        depth = rng.uniform(0.1, 0.6) * min(middle, 0.003 * SAMPLE_RATE_HZ)
        turns = 2 * np.pi * rng.uniform(0.1, 1.5) / SAMPLE_RATE_HZ * coarse + rng.uniform(0, 6)
        delays = _interpolate((middle + depth * np.sin(turns)).astype(np.float32), _HOP)[: len(mono)]
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
    pole = np.exp(-_HOP / SAMPLE_RATE_HZ / 0.08)
    held = np.maximum(level, lfilter([1 - pole], [1, -pole], level) * 4)
    return _upsample(10 ** (-depth_db * np.minimum(held / max(float(held.max()), 1e-9), 1) / 20), len(trigger))


def limiter_gain(mixture: Samples, ceiling: float) -> Samples:
    """The limiter gain that keeps the mixture below `ceiling`, with 15 ms of look-ahead."""
    peaks = _block_maxima(np.abs(mixture).reshape(-1, mixture.shape[-1]).max(0))
    needed = np.minimum(1, ceiling / np.maximum(peaks, 1e-9))
    # Mean of minima: every value in the mean's window is at most the gain that the block in the middle needs.
    smooth = uniform_filter1d(minimum_filter1d(needed, 9), 5)
    return _upsample(smooth, mixture.shape[-1])


def coded(stereo: Samples, codec: str, kilobits_per_second: int) -> Samples:
    """Encode and decode with a lossy codec; the result is aligned with the input and has the same length.

    The codec delay is measured by cross-correlation, because it differs between builds.

    Raises:
        ValueError: the codec is not in `CODECS`.
    """
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, not {codec!r}")
    file = io.BytesIO()
    with av.open(file, "w", format="mp3" if codec == "libmp3lame" else "adts") as output:
        stream = output.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="stereo")
        assert isinstance(stream, AudioStream)
        stream.bit_rate = kilobits_per_second * 1000
        stream.codec_context.options = _FAST[codec]
        padded = np.pad(stereo, ((0, 0), (0, _CODEC_DELAY_LIMIT)))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(padded), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE_HZ
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as coded_file:
        decoded = np.concatenate([each.to_ndarray() for each in coded_file.decode(audio=0)], axis=1)
    delay = _delay(stereo, decoded)
    result = np.zeros_like(stereo)
    piece = decoded[:, delay : delay + stereo.shape[1]]
    result[:, : piece.shape[1]] = piece
    return result


def produce_voice(voice: Samples, beat_seconds: float, rng: np.random.Generator) -> Samples:
    """Process mono or stereo vocals: high-pass, equalizer, compressor, saturation, echo and reverb."""
    cut = butter(2, rng.uniform(60, 160), "highpass", fs=SAMPLE_RATE_HZ, output="sos").astype(np.float32)
    voice = np.asarray(sosfilt(cut, voice.astype(np.float32)))
    voice = equalize(voice, draw_equalizer(rng))
    if rng.random() < 0.85:
        voice = compress(voice, rng.uniform(-18, -3), rng.uniform(1.5, 6), rng.uniform(0.05, 0.25))
    if rng.random() < 0.35:
        voice = saturate(voice, 10 ** rng.uniform(-0.5, 0.7))
    if rng.random() < 0.04:
        voice = telephone(voice)
    stereo = voice if voice.ndim == 2 else np.tile(voice, (2, 1))
    if voice.ndim == 1 and rng.random() < 0.15:
        stereo = chorus(voice, rng)
    mono = stereo.mean(0)
    if rng.random() < 0.35:
        delay = beat_seconds * float(rng.choice([0.5, 0.75, 1])) if rng.random() < 0.6 else rng.uniform(0.06, 0.14)
        mono = echo(mono, delay, rng.uniform(0.05, 0.35), rng.uniform(0.1, 0.5))
        stereo = stereo + np.float32(rng.uniform(0.3, 1)) * (mono - stereo.mean(0))
    return reverberate(stereo, mono, draw_room(rng), rng.uniform(0.02, 0.25))


def produce_band(band: Samples, rng: np.random.Generator) -> Samples:
    """Process the band's bus: equalizer, compressor and saturation."""
    band = equalize(band, draw_equalizer(rng))
    if rng.random() < 0.7:
        band = compress(band, rng.uniform(-12, 0), rng.uniform(1.3, 4), rng.uniform(0.05, 0.3))
    if rng.random() < 0.3:
        band = saturate(band, 10 ** rng.uniform(-0.3, 0.5))
    return band


def master(vocals: Samples, accompaniment: Samples, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """Master the two stems; their sum, the mixture, peaks at 0.9.

    A limiter applies the same gain to both. Some mixtures are then passed through a lossy codec; the accompaniment
    becomes the codec's output minus the vocals. Songs without accompaniment skip the codec.
    """
    mixture = vocals + accompaniment
    gain = limiter_gain(mixture, float(np.abs(mixture).max()) * 10 ** (rng.uniform(-9, 0) / 20))
    vocals, accompaniment = vocals * gain, accompaniment * gain
    level = _PEAK / max(float(np.abs(vocals + accompaniment).max()), 1e-9)
    vocals, accompaniment = vocals * np.float32(level), accompaniment * np.float32(level)
    codec = str(rng.choice(list(CODECS)))
    kilobits_per_second = int(rng.choice(CODECS[codec]))
    if rng.random() < CODED_SHARE and accompaniment.any():
        mixture = coded(vocals + accompaniment, codec, kilobits_per_second)
        level = min(1.0, _PEAK / max(float(np.abs(mixture).max()), 1e-9))
        accompaniment = (mixture - vocals) * np.float32(level)
        vocals = vocals * np.float32(level)
    return vocals, accompaniment


def _delay(original: Samples, decoded: Samples) -> int:
    """Delay of `decoded` in samples, from the cross-correlation around the loudest second."""
    window = min(SAMPLE_RATE_HZ, original.shape[1])
    power = np.concatenate([[0.0], np.cumsum(np.square(original).sum(0), dtype=np.float64)])
    starts = np.arange(0, original.shape[1] - window + 1, 1000)
    first = int(starts[np.argmax(power[starts + window] - power[starts])])
    piece = original[:, first : first + window].sum(0)
    delayed = decoded[:, first : first + window + _CODEC_DELAY_LIMIT].sum(0)
    return int(np.argmax(oaconvolve(delayed, piece[::-1])[window - 1 : window + _CODEC_DELAY_LIMIT]))


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
    padded = np.pad(values, (0, -len(values) % _HOP))
    return np.asarray(padded.reshape(-1, _HOP).mean(1, dtype=np.float64))


def _block_maxima(values: Samples) -> NDArray[np.float64]:
    padded = np.pad(values, (0, -len(values) % _HOP))
    return np.asarray(padded.reshape(-1, _HOP).max(1), dtype=np.float64)


def _upsample(gains: NDArray[np.float64], total_samples: int) -> Samples:
    """Block gains, interpolated linearly between block centers."""
    lines = _interpolate(np.concatenate([gains[:1], gains, gains[-1:]]).astype(np.float32), _HOP)
    return lines[_HOP // 2 : _HOP // 2 + total_samples]


def _interpolate(values: Samples, hop: int) -> Samples:
    """Linear interpolation between values that are `hop` samples apart."""
    ramp = np.arange(hop, dtype=np.float32) / np.float32(hop)
    return np.asarray((values[:-1, None] + np.diff(values)[:, None] * ramp).reshape(-1))
