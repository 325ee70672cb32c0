"""Audio production for the stems and the mix of a synthetic song: `effects`, mastering and lossy codecs.

The stems stay additive: mixture = vocals + accompaniment. Nonlinear effects (compression, saturation) are applied to a
stem before the sum. The master limiter applies the same gain to both stems. Codec artifacts are assigned to the
accompaniment (see `master`), so that the target of separation is the clean vocals.

Conventions: signals are float32, mono `[samples]` or stereo `[2, samples]`, at `SAMPLE_RATE_HZ`.
"""

import io

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, oaconvolve, sosfilt

from lyrics_asr.synthesis.effects import (
    HOP_SAMPLES,
    chorus,
    compress,
    draw_equalizer,
    draw_room,
    echo,
    equalize,
    reverberate,
    saturate,
    telephone,
    upsample_gains,
)
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Samples

CODECS = {"libmp3lame": (48, 64, 96, 128, 192, 320), "aac": (48, 64, 96, 128, 192, 256)}  # kbit/s in stereo
_FAST = {"libmp3lame": {"compression_level": "9"}, "aac": {"aac_coder": "fast"}}
CODED_SHARE = 0.3  # of songs
_PEAK = 0.9
_CODEC_DELAY_LIMIT = 4096  # samples; more than any of these codecs has


def limiter_gain(mixture: Samples, ceiling: float) -> Samples:
    """The limiter gain that keeps the mixture below `ceiling`, with 15 ms of look-ahead."""
    peaks = _block_maxima(np.abs(mixture).reshape(-1, mixture.shape[-1]).max(0))
    needed = np.minimum(1, ceiling / np.maximum(peaks, 1e-9))
    # Mean of minima: every value in the mean's window is at most the gain that the block in the middle needs.
    smooth = uniform_filter1d(minimum_filter1d(needed, 9), 5)
    return upsample_gains(smooth, mixture.shape[-1])


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


def _block_maxima(values: Samples) -> NDArray[np.float64]:
    padded = np.pad(values, (0, -len(values) % HOP_SAMPLES))
    return np.asarray(padded.reshape(-1, HOP_SAMPLES).max(1), dtype=np.float64)
