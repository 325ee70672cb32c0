"""What a studio does to the stems and the mix of a synthetic song.

The stems stay additive: mixture = vocals + accompaniment. What is not linear (compression, saturation) happens to one
stem before they are added; the master's limiter gives both the same gain over time; and what a codec adds to or takes
from the mixture is counted as accompaniment (see `master`), so that the voice that a separator is to find is the true
one.

Signals are float32, mono `[samples]` or stereo `[2, samples]`, at `SAMPLE_RATE_HZ`.
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
CODED_SHARE = 0.3  # of the songs
ROOMS = 32  # from the smallest to the largest
_HOP = 220  # samples between the values of a gain: 5 ms
_PEAK = 0.9
_CODEC_DELAY_LIMIT = 4096  # samples; more than any of these codecs has


@dataclass(frozen=True)
class Bell:
    """A second-order peak of an equaliser, or a shelf below or above its frequency.

    Args:
        kind: "peak", "low" or "high".
        hz: its middle.
        gain_db: what it adds there.
        width: quality factor of the peak or the slope of the shelf.
    """

    kind: str
    hz: float
    gain_db: float
    width: float = 0.8


def draw_equaliser(rng: np.random.Generator) -> tuple[Bell, ...]:
    """Two shelves and a peak within 6 dB."""
    return (
        Bell("low", rng.uniform(80, 300), rng.uniform(-6, 4), 0.7),
        Bell("peak", 10 ** rng.uniform(2.4, 3.7), rng.uniform(-6, 5), rng.uniform(0.4, 2)),
        Bell("high", rng.uniform(3000, 9000), rng.uniform(-6, 5), 0.7),
    )


def equalise(signal: Samples, bells: Sequence[Bell]) -> Samples:
    """Filter with peaks and shelves (Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filters")."""
    sections = np.array([_biquad(bell) for bell in bells], dtype=np.float32)
    return np.asarray(sosfilt(sections, signal))


def compress(signal: Samples, threshold_db: float, ratio: float, release_seconds: float) -> Samples:
    """Make what is louder than a threshold softer (RMS detector, the same gain on both sides).

    Args:
        signal: what is compressed.
        threshold_db: against the loudness of the loud tenth of the signal.
        ratio: decibels of input for one of output, above the threshold.
        release_seconds: time constant of the detector.
    """
    power = _block_means(np.square(signal).reshape(-1, signal.shape[-1]).mean(0))
    level_db = 10 * np.log10(power + 1e-10)
    pole = np.exp(-_HOP / SAMPLE_RATE_HZ / release_seconds)
    smooth_db = np.maximum(level_db, lfilter([1 - pole], [1, -pole], level_db))
    over_db = np.maximum(0, smooth_db - np.percentile(level_db, 90) - threshold_db)
    return signal * _upsampled(10 ** (-over_db * (1 - 1 / ratio) / 20), signal.shape[-1])


def saturate(signal: Samples, drive: float) -> Samples:
    """Overdrive softly: `drive` is the peak of what goes into tanh; the peak stays."""
    peak = np.float32(max(float(np.abs(signal).max()), 1e-9))
    return np.asarray(np.tanh(signal * (np.float32(drive) / peak)) * (peak / np.float32(np.tanh(drive))))


def chorus(mono: Samples, rng: np.random.Generator) -> Samples:
    """Two delayed copies, one a side, whose delays move: a doubled, wide sound; the louder side leads by chance."""
    out = np.empty((2, len(mono)), dtype=np.float32)
    coarse = np.arange(0, len(mono) + 2 * _HOP, _HOP)
    positions = np.arange(len(mono))
    for side in out:
        middle = rng.uniform(0.001, 0.02) * SAMPLE_RATE_HZ
        depth = rng.uniform(0.1, 0.6) * min(middle, 0.003 * SAMPLE_RATE_HZ)
        turns = 2 * np.pi * rng.uniform(0.1, 1.5) / SAMPLE_RATE_HZ * coarse + rng.uniform(0, 6)
        delays = _straight_lines((middle + depth * np.sin(turns)).astype(np.float32), _HOP)[: len(mono)]
        later = np.ceil(delays).astype(np.int32)
        part = later - delays
        whole = np.maximum(positions - later, 0)
        side[:] = mono[whole] * (1 - part) + mono[np.minimum(whole + 1, len(mono) - 1)] * part
    return np.asarray(0.7 * out + rng.uniform(0, 0.5) * mono, dtype=np.float32)


def echo(signal: Samples, delay_seconds: float, level: float, feedback: float) -> Samples:
    """Repeat after a delay, each time softer, four times."""
    out = signal.copy()
    delay = round(delay_seconds * SAMPLE_RATE_HZ)
    for number in range(1, 5):
        shift = number * delay
        if shift < signal.shape[-1]:
            gain = np.float32(level * feedback ** (number - 1))
            out[..., shift:] += gain * signal[..., : signal.shape[-1] - shift]
    return out


def telephone(signal: Samples) -> Samples:
    """The band of a telephone, 300 to 3400 Hz."""
    sections = butter(2, (300, 3400), "bandpass", fs=SAMPLE_RATE_HZ, output="sos").astype(np.float32)
    return np.asarray(sosfilt(sections, signal))


def draw_room(rng: np.random.Generator) -> int:
    """A room by its number below `ROOMS`; small ones are more frequent."""
    return int(ROOMS * rng.beta(1.3, 1.8))


def reverberate(stereo: Samples, send: Samples, room: int, level: float) -> Samples:
    """Add what a room gives back of a mono signal; `level` is its share of the amplitude."""
    tail = oaconvolve(send[None], _impulse_response(room), axes=1)[:, : stereo.shape[1]]
    return np.asarray(stereo * np.float32(1 - level) + tail.astype(np.float32) * np.float32(2 * level))


def ducking(trigger: Samples, depth_db: float) -> Samples:
    """A gain that falls by up to `depth_db` while the trigger is loud: side-chain compression."""
    level = np.sqrt(_block_means(np.square(trigger)))
    pole = np.exp(-_HOP / SAMPLE_RATE_HZ / 0.08)
    held = np.maximum(level, lfilter([1 - pole], [1, -pole], level) * 4)
    return _upsampled(10 ** (-depth_db * np.minimum(held / max(float(held.max()), 1e-9), 1) / 20), len(trigger))


def limiter_gain(mixture: Samples, ceiling: float) -> Samples:
    """The gain over time that keeps the mixture below `ceiling`, with 15 ms of look-ahead."""
    peaks = _block_maxima(np.abs(mixture).reshape(-1, mixture.shape[-1]).max(0))
    needed = np.minimum(1, ceiling / np.maximum(peaks, 1e-9))
    # The mean of minima: wherever a block needs a gain, so do all the blocks that the mean takes in.
    smooth = uniform_filter1d(minimum_filter1d(needed, 9), 5)
    return _upsampled(smooth, mixture.shape[-1])


def coded(stereo: Samples, codec: str, kilobits_per_second: int) -> Samples:
    """Encode and decode; the result lies on the input to the sample and is as long.

    The delay of encoder and decoder is found by correlation, for builds of the codecs differ.

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
    """A mono or stereo voice as studios treat it: filter, equaliser, compressor, saturation, echo, room."""
    cut = butter(2, rng.uniform(60, 160), "highpass", fs=SAMPLE_RATE_HZ, output="sos").astype(np.float32)
    voice = np.asarray(sosfilt(cut, voice.astype(np.float32)))
    voice = equalise(voice, draw_equaliser(rng))
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
    """The bus of the band: equaliser, compressor, saturation."""
    band = equalise(band, draw_equaliser(rng))
    if rng.random() < 0.7:
        band = compress(band, rng.uniform(-12, 0), rng.uniform(1.3, 4), rng.uniform(0.05, 0.3))
    if rng.random() < 0.3:
        band = saturate(band, 10 ** rng.uniform(-0.3, 0.5))
    return band


def master(vocals: Samples, accompaniment: Samples, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """The two stems of the finished record; their sum, the mixture, peaks at 0.9.

    A limiter gives both the same gain. Some mixtures then go through a lossy codec: the accompaniment becomes what the
    codec gave less the vocals. A voice alone stays as it is, and its accompaniment silent.
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
    """By how many samples `decoded` lags, from the correlation around the loudest second."""
    window = min(SAMPLE_RATE_HZ, original.shape[1])
    power = np.concatenate([[0.0], np.cumsum(np.square(original).sum(0), dtype=np.float64)])
    starts = np.arange(0, original.shape[1] - window + 1, 1000)
    first = int(starts[np.argmax(power[starts + window] - power[starts])])
    piece = original[:, first : first + window].sum(0)
    heard = decoded[:, first : first + window + _CODEC_DELAY_LIMIT].sum(0)
    return int(np.argmax(oaconvolve(heard, piece[::-1])[window - 1 : window + _CODEC_DELAY_LIMIT]))


def _biquad(bell: Bell) -> list[float]:
    amplitude = 10 ** (bell.gain_db / 40)
    angle = 2 * np.pi * bell.hz / SAMPLE_RATE_HZ
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
def _impulse_response(room: int) -> Samples:
    """Two sides of a room: a few early reflections and noise that dies away, the high part faster (Moorer 1979)."""
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


def _upsampled(gains: NDArray[np.float64], total_samples: int) -> Samples:
    """Gains of blocks, joined in straight lines between the middles of the blocks."""
    lines = _straight_lines(np.concatenate([gains[:1], gains, gains[-1:]]).astype(np.float32), _HOP)
    return lines[_HOP // 2 : _HOP // 2 + total_samples]


def _straight_lines(values: Samples, hop: int) -> Samples:
    """Samples between values that are `hop` apart."""
    ramp = np.arange(hop, dtype=np.float32) / np.float32(hop)
    return np.asarray((values[:-1, None] + np.diff(values)[:, None] * ramp).reshape(-1))
