"""Gain that raises the quiet parts of a song before it is separated.

Separators and acoustic models lose a verse that is much quieter than what they were trained on: at 20 dB below the
rest, a U-Net returns it another 6 to 9 dB lower.

Conventions
- The level is the RMS of the mono mix over 0.5 s. A part keeps the gain of the loudest level within 0.25 s, so that
  words do not lose theirs.
- Parts below `_TARGET_DB` are raised to it, by `_MAX_GAIN_DB` at most; louder ones are not changed. Parts below
  `_SILENCE_DB` have no gain.
- The gain at a sample depends on less than 1 s around it, so blocks of a song have the gain of the whole.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool1d, interpolate, max_pool1d, pad

from lyrics_asr.audio.samples import Audio

_TARGET_DB = -16.0  # of full scale; the level of songs that the embedded models were trained on
_MAX_GAIN_DB = 30.0
_SILENCE_DB = -60.0
_FRAMES_PER_SECOND = 100
_LEVEL_FRAMES = 51  # 0.5 s


def leveled(audio: Audio, start_samples: int = 0) -> Audio:
    """A song, or a part of it, with its quiet parts raised.

    Args:
        audio: mixture.
        start_samples: position of the part in the song.
    """
    return Audio(audio.samples * leveling_gain(audio, start_samples), audio.sample_rate_hz)


def leveling_gain(audio: Audio, start_samples: int = 0) -> Float[Tensor, " samples"]:
    """The factor of `leveled` for each sample, at least 1."""
    count, frame_samples = audio.samples.shape[1], audio.sample_rate_hz // _FRAMES_PER_SECOND
    before = start_samples % frame_samples  # frames start at the same samples in every block
    after = -(before + count) % frame_samples
    power = pad(audio.samples.mean(0).square(), (before, after)).view(1, -1, frame_samples).mean(2)
    power = _smoothed(power)
    level_db = 10 * max_pool1d(power, _LEVEL_FRAMES, 1, _LEVEL_FRAMES // 2).clamp(min=1e-12).log10()
    gain_db = (_TARGET_DB - level_db).clamp(0, _MAX_GAIN_DB).where(level_db > _SILENCE_DB, torch.zeros(()))
    smooth_db = interpolate(_smoothed(gain_db)[None], scale_factor=frame_samples, mode="linear")[0, 0]
    return (10 ** (smooth_db / 20))[before : before + count]


def _smoothed(frames: Float[Tensor, "1 frames"]) -> Float[Tensor, "1 frames"]:
    """The mean of frames over 0.5 s."""
    return avg_pool1d(frames, _LEVEL_FRAMES, 1, _LEVEL_FRAMES // 2, count_include_pad=False)
