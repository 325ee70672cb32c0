"""Recording conditions as augmentation: equalizer, reverberation, noise and lossy codecs, in this order.

Conventions
- Of a row with stems, the linear effects change both alike. Noise and what a codec changes are added to the
  accompaniment, so that the vocals stay the target of separation. Of other rows, the only signal is changed.
- Words keep their times: reverberation leaves the direct sound, and what a codec gives back is aligned.
- Everything is drawn from the row's generator, after what is drawn for remixes.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import av
import numpy as np
import soxr
import torch
from av.audio.stream import AudioStream
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.signal import oaconvolve
from torch import Tensor

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.synthesis.effects import draw_equalizer, draw_room, equalize, impulse_response
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.training.data.cut_reader import Row
from lyrics_asr.training.data.options import AugmentationOptions

Signal = Float[Tensor, "channels samples"]

CODECS = {"libmp3lame": ("mp3", (32, 48, 64, 96, 128)), "libopus": ("ogg", (16, 24, 32, 48, 64, 96))}
"""Container of a codec, and the bit rates to draw from, in kbit/s of a stereo signal."""

_HIGHEST_BAND = 0.4  # of the sample rate
_WET_LEVELS = (0.05, 0.35)
_STEEPEST_NOISE = 2.0  # power falls with frequency to this power: 0 for white, 1 for pink, 2 for brown noise
_LOWEST_NOISE_HZ = 40.0


def augment(row: Row, options: AugmentationOptions, sample_rate_hz: int) -> Row:
    """Draw effects for a row and apply them.

    Args:
        row: after remixing.
        options: probabilities of the effects.
        sample_rate_hz: of stems and mixtures; separated vocals are at the acoustic model's rate.
    """
    rate = ACOUSTIC_SAMPLE_RATE_HZ if row.mixture is None else sample_rate_hz
    rng = row.rng
    if options.equalizer_prob and rng.random() < options.equalizer_prob:
        bells = [replace(bell, hz=min(bell.hz, _HIGHEST_BAND * rate)) for bell in draw_equalizer(rng)]
        row = _each(row, lambda signal: torch.from_numpy(equalize(signal.numpy(), bells, rate)))
    if options.reverberation_prob and rng.random() < options.reverberation_prob:
        room, level = draw_room(rng), rng.uniform(*_WET_LEVELS)
        row = _each(row, lambda signal: reverberated(signal, rate, room, level))
    if options.noise_prob and rng.random() < options.noise_prob:
        snr_db = rng.uniform(options.min_noise_snr_db, options.max_noise_snr_db)
        row = _mixture_plus(row, lambda mixture: mixture + noise_for(mixture, rate, snr_db, rng))
    if options.codec_prob and rng.random() < options.codec_prob:
        codec = str(rng.choice(list(CODECS)))
        kilobits_per_second = int(rng.choice(CODECS[codec][1]))
        row = _mixture_plus(row, lambda mixture: coded(mixture, rate, codec, kilobits_per_second))
    return row


def noise_for(signal: Signal, sample_rate_hz: int, snr_db: float, rng: np.random.Generator) -> Signal:
    """Stationary noise, the same in all channels, whose spectrum falls with some power of the frequency.

    Args:
        signal: that the noise is for; there is none for silence.
        sample_rate_hz: of the signal.
        snr_db: mean power of the signal relative to that of the noise.
        rng: draws slope and samples.
    """
    samples = signal.shape[1]
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.maximum(np.fft.rfftfreq(samples, 1 / sample_rate_hz), _LOWEST_NOISE_HZ)
    shaped = np.fft.irfft(spectrum * hz ** (-rng.uniform(0, _STEEPEST_NOISE) / 2), samples)
    scale = float(signal.square().mean().sqrt()) / np.sqrt(np.square(shaped).mean()) * 10 ** (-snr_db / 20)
    return torch.from_numpy((scale * shaped).astype(np.float32)).expand_as(signal)


def reverberated(signal: Signal, sample_rate_hz: int, room: int, level: float) -> Signal:
    """Add the sound of a synthetic room to a signal, see `synthesis.effects.impulse_response`.

    Args:
        signal: mono or stereo.
        sample_rate_hz: of the signal.
        room: below `synthesis.effects.ROOMS`.
        level: amplitude of the reverberation, as a fraction.
    """
    channels, samples = signal.shape
    dry = signal.numpy()
    response = _impulse_response(room, sample_rate_hz)[:channels]
    tail = oaconvolve(dry.mean(0, keepdims=True), response, axes=1)[:, :samples]
    return torch.from_numpy(((1 - level) * dry + 2 * level * tail).astype(np.float32))


def coded(signal: Signal, sample_rate_hz: int, codec: str, kilobits_per_second: int) -> Signal:
    """Encode and decode with a lossy codec; the result has the same length and is aligned.

    Args:
        signal: mono or stereo.
        sample_rate_hz: of the signal.
        codec: one of `CODECS`.
        kilobits_per_second: of a stereo signal; a mono signal gets half.
    """
    channels, samples = signal.shape
    rates = av.Codec(codec, "w").audio_rates or [sample_rate_hz]
    rate = min((each for each in rates if each >= sample_rate_hz), default=max(rates))
    layout = "stereo" if channels == 2 else "mono"
    file = io.BytesIO()
    with av.open(file, "w", format=CODECS[codec][0]) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        stream.bit_rate = 500 * kilobits_per_second * channels
        resampled = Audio(signal, sample_rate_hz).resampled(rate).samples.contiguous().numpy()
        frame = av.AudioFrame.from_ndarray(resampled, format="fltp", layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        frames = list(container.decode(audio=0))
    decoded = torch.from_numpy(np.concatenate([each.to_ndarray() for each in frames], axis=1))
    back = Audio(decoded, frames[0].sample_rate).resampled(sample_rate_hz).samples[:, :samples]
    return torch.nn.functional.pad(back, (0, samples - back.shape[1]))


def _each(row: Row, change: Callable[[Signal], Signal]) -> Row:
    names = ("vocals", "accompaniment", "unseparated")
    changed: dict[str, Any] = {name: change(getattr(row, name)) for name in names if getattr(row, name) is not None}
    return replace(row, **changed)


def _mixture_plus(row: Row, change: Callable[[Signal], Signal]) -> Row:
    """The row with another mixture; of stems, the accompaniment takes the difference."""
    if row.vocals is not None and row.accompaniment is not None:
        return replace(row, accompaniment=change(row.vocals + row.accompaniment) - row.vocals)
    return _each(row, change)


@cache
def _impulse_response(room: int, sample_rate_hz: int) -> NDArray[np.float32]:
    """A room's response at a rate, of unit energy in each channel."""
    response = soxr.resample(impulse_response(room).T, SAMPLE_RATE_HZ, sample_rate_hz).T
    return np.asarray(response / np.sqrt(np.square(response).sum(1, keepdims=True)), dtype=np.float32)
