"""Vocals and accompaniment of a mix from its instrumental or a cappella, where their sound shows that they belong.

A pair passes these checks, in this order:
1. Chromaprint fingerprints (`audio.fingerprint`): the files are neither the same recording nor, with an instrumental,
   two songs. An a cappella shares too few bits with its mix to be told from another song; the next steps do that.
2. The stem is found at the same offset in most windows of the mix (`pair_alignment`).
3. After the stem is subtracted, little remains of the mix where nobody sings, in a tenth of the frames at least, and
   something remains elsewhere. For an a cappella, which leaves the music everywhere, its gain must be steady.

Targets
- "subtracted": the stem is aligned to the sample. The other stem is the mix minus this one, so that both add up to the
  mix.
- "max rule": an instrumental that only its spectrum fits, as after another mastering. The magnitudes of the vocals are
  max(|mix| - |instrumental|, 0) and their phases those of the mix (Jansson et al. 2017, section 4). These stems do not
  add up to the mix.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lyrics_asr.audio import Audio, read_audio, require_sound
from lyrics_asr.audio.fingerprint import fingerprint, match_fingerprints
from lyrics_asr.corpora.pairs import TrackPair
from lyrics_asr.training.data.pair_alignment import PairAlignment, align_stem, frame_levels_db, refined_gain, shift

SHORT = "shorter than 10 s"
LONG = "longer than 15 min"
SAME = "the same recording twice"
OTHER = "of two songs"
NOT_ALIGNED = "that cannot be aligned"
DRIFTING = "with clocks that drift apart"
NOT_FITTING = "whose difference is loud where nobody sings"
UNSTEADY = "with an a cappella that cannot be subtracted"
NOTHING_LEFT = "without a voice in the difference"

_MIN_SECONDS, _MAX_SECONDS = 10.0, 900.0
_SAME_RATE, _OTHER_RATE = 0.04, 0.4  # bit error rates; lossy copies have 0.03 at most, instrumentals 0.07 to 0.25
_MAX_EXACT_DRIFT_SAMPLES = 2.0
_MAX_DRIFT_SECONDS = 0.01
_MAX_EXACT_DB = -18.0  # of the residual where nobody sings; lossy codecs leave -20 to -40 dB
_MAX_SPECTRAL_DB = -12.0
_MIN_VOICE_DB = -10.0
_MAX_GAIN_SPREAD_DB = 2.0
_QUIET, _LOUD = 0.1, 0.95  # quantiles of the frames
_MIN_ENERGY = 1e-4  # of the loudest frame; quieter frames are silent
_FFT_SAMPLES, _HOP_SAMPLES = 4096, 1024


@dataclass(frozen=True)
class PairMeasures:
    """What the checks found.

    Args:
        bit_error_rate: of the fingerprints.
        offset_seconds: where the stem starts in the mix.
        gain: of the stem, negative where its polarity was inverted.
        drift_samples: over the length of the stem.
        quiet_residual_db: level of what remains of the mix in the quietest tenth of the frames.
    """

    bit_error_rate: float
    offset_seconds: float
    gain: float
    drift_samples: float
    quiet_residual_db: float


@dataclass(frozen=True, eq=False)
class PairStems:
    """The stems of a mix, as long as the mix.

    Args:
        vocals: zero outside of the span.
        accompaniment: zero outside of the span.
        target: how the stem that was missing was made.
        start_seconds: where mix and stem both have begun.
        end_seconds: where the first of them ends.
        measures: of the checks.
    """

    vocals: Audio
    accompaniment: Audio
    target: Literal["subtracted", "max rule"]
    start_seconds: float
    end_seconds: float
    measures: PairMeasures


def make_stems(pair: TrackPair) -> PairStems | str:
    """The stems of a pair, or why it is dropped.

    Raises:
        AudioError: a file cannot be decoded, is silent, or has samples that are not finite.
        OSError: a file cannot be read, or fingerprints cannot be computed.
    """
    seconds = [track.duration_seconds or 0.0 for track in (pair.mix, pair.stem)]
    if max(seconds) > _MAX_SECONDS:
        return LONG
    mix = read_audio(pair.mix.path)
    stem = read_audio(pair.stem.path, sample_rate_hz=mix.sample_rate_hz)
    for audio, track in ((mix, pair.mix), (stem, pair.stem)):
        require_sound(audio, track.path)
    if min(mix.duration_seconds, stem.duration_seconds) < _MIN_SECONDS:
        return SHORT
    channels: Literal[1, 2] = 1 if min(mix.samples.shape[0], stem.samples.shape[0]) == 1 else 2
    mix, stem = mix.to_channels(channels), stem.to_channels(channels)
    match = match_fingerprints(fingerprint(mix), fingerprint(stem))
    if match.bit_error_rate <= _SAME_RATE:
        return SAME
    is_instrumental = pair.kind == "instrumental"
    if is_instrumental and match.bit_error_rate > _OTHER_RATE:
        return OTHER
    alignment = align_stem(mix, stem, match.offset_seconds if match.bit_error_rate <= _OTHER_RATE else 0.0)
    if alignment is None:
        return NOT_ALIGNED
    if abs(alignment.drift_samples) > _MAX_DRIFT_SECONDS * mix.sample_rate_hz:
        return DRIFTING
    return _subtract(mix, stem, alignment, match.bit_error_rate, is_instrumental=is_instrumental)


def _subtract(
    mix: Audio, stem: Audio, alignment: PairAlignment, bit_error_rate: float, *, is_instrumental: bool
) -> PairStems | str:
    rate, samples = mix.sample_rate_hz, mix.samples.shape[1]
    aligned = shift(stem, alignment.offset_samples, samples)
    gain = refined_gain(mix, aligned, alignment.gain) if is_instrumental else alignment.gain
    first = max(0, math.ceil(alignment.offset_samples))
    last = min(samples, math.floor(alignment.offset_samples) + stem.samples.shape[1])
    whole, own = (torch.zeros_like(mix.samples) for _ in range(2))
    whole[:, first:last], own[:, first:last] = mix.samples[:, first:last], gain * aligned.samples[:, first:last]
    rest = whole - own
    levels = frame_levels_db(rest, whole, rate)
    quiet, loud = np.quantile(levels, [_QUIET, _LOUD]).tolist()
    steady = abs(alignment.drift_samples) <= _MAX_EXACT_DRIFT_SAMPLES
    target: Literal["subtracted", "max rule"] = "subtracted"
    if not is_instrumental:
        if not steady or alignment.gain_spread_db > _MAX_GAIN_SPREAD_DB:
            return UNSTEADY
    elif not steady or quiet > _MAX_EXACT_DB:
        own = own * _spectral_gain(whole, own)
        rest, quiet = _max_rule(whole, own)
        target = "max rule"
        if quiet > _MAX_SPECTRAL_DB:
            return NOT_FITTING
    if loud < _MIN_VOICE_DB:
        return NOTHING_LEFT
    peak = max(1.0, float(rest.abs().max()), float(own.abs().max()))  # integer formats clip
    vocals, accompaniment = (rest, own) if is_instrumental else (own, rest)
    return PairStems(
        Audio(vocals / peak, rate),
        Audio(accompaniment / peak, rate),
        target,
        first / rate,
        last / rate,
        PairMeasures(
            round(bit_error_rate, 4), alignment.offset_samples / rate, gain, alignment.drift_samples, round(quiet, 2)
        ),
    )


def _spectral_gain(mix: Float[Tensor, "channels samples"], instrumental: Float[Tensor, "channels samples"]) -> float:
    """What makes an instrumental as loud as in the mix, by the magnitudes where nobody sings: phases may differ."""
    magnitudes, other = (_spectrum(each.mean(0)).abs() for each in (mix, instrumental))
    energies = other.square().sum(0)
    sounding = energies > energies.max() * _MIN_ENERGY
    gains = (magnitudes * other).sum(0)[sounding] / energies[sounding]
    return float(gains.quantile(_QUIET))


def _spectrum(samples: Float[Tensor, "samples"]) -> Complex[Tensor, "bins frames"]:
    window = torch.hann_window(_FFT_SAMPLES)
    return torch.stft(samples, _FFT_SAMPLES, _HOP_SAMPLES, window=window, return_complex=True)


def _max_rule(
    mix: Float[Tensor, "channels samples"], instrumental: Float[Tensor, "channels samples"]
) -> tuple[Float[Tensor, "channels samples"], float]:
    """The vocals by the max rule, and the level of the spectra's difference in the quietest tenth of the frames."""
    window = torch.hann_window(_FFT_SAMPLES)
    vocals = torch.zeros_like(mix)
    of_difference, of_mix = [], []
    for channel in range(mix.shape[0]):  # one after the other: spectra take eight times the memory
        spectrum, other = (_spectrum(each[channel]) for each in (mix, instrumental))
        magnitude, difference = spectrum.abs(), spectrum.abs() - other.abs()
        of_difference.append(difference.square().sum(0))
        of_mix.append(magnitude.square().sum(0))
        voice = spectrum * (difference.clamp(min=0) / magnitude.clamp(min=1e-8))
        vocals[channel] = torch.istft(voice, _FFT_SAMPLES, _HOP_SAMPLES, window=window, length=mix.shape[1])
    total = torch.stack(of_mix).sum(0)
    sounding = total > total.max() * _MIN_ENERGY
    levels = 10 * torch.log10((torch.stack(of_difference).sum(0)[sounding] / total[sounding]).clamp(min=1e-12))
    return vocals, float(np.quantile(levels.numpy(), _QUIET))
