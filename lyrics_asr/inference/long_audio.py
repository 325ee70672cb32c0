"""Separate songs block by block that are too long to hold in memory, such as concerts.

The result equals that of the whole song, up to rounding: blocks start at a segment of the separator, and have enough
context on both sides. Only the vocals are kept, mono at the acoustic model's sample rate: 230 MB per hour.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lyrics_asr.audio import (
    ACOUSTIC_SAMPLE_RATE_HZ,
    LEAST_BYTES_PER_SECOND,
    Audio,
    ChannelCorrection,
    check_complete,
    leveled,
    peak_of,
    read_audio,
    read_header,
    require_peak,
)
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import SeparationOptions

LONG_SECONDS = 600
"""Longer songs are separated in blocks."""

BLOCK_SECONDS = 240
"""Length of a block."""

_RESAMPLER_MARGIN_SECONDS = 1
"""Longer than half the resampler's filter; in whole seconds the samples of any two rates fall together."""


@dataclass(frozen=True)
class AudioFile:
    """A song that is not in memory.

    Args:
        path: audio or video file.
        track: number of the audio track, from 1; None for the default track.
        strict: refuse damaged and truncated files.
    """

    path: Path
    track: int | None = None
    strict: bool = False


def separate_in_blocks(
    song: AudioFile, model: LyricsModel, options: SeparationOptions, progress: Callable[[float], None] | None = None
) -> Audio:
    """Separate the vocals of a song, as mono at 16 kHz.

    Args:
        song: the song.
        model: model with the separator.
        options: options of the separator for each block.
        progress: progress callback, with a fraction in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
    """
    path, rate = song.path, model.separator.sample_rate_hz
    grid, context = model.separator.block_grid(options)
    margin, block = _RESAMPLER_MARGIN_SECONDS * rate, BLOCK_SECONDS * rate
    header = read_header(path, song.track)
    stated_seconds = max(1.0, header.duration_seconds)
    possible_seconds = path.stat().st_size / LEAST_BYTES_PER_SECOND  # limits the memory that a wrong header can request
    whole = torch.empty(math.ceil(min(stated_seconds, possible_seconds) * ACOUSTIC_SAMPLE_RATE_HZ))
    filled, start, peak = 0, 0, torch.zeros(())
    correction: ChannelCorrection | None = None
    while True:
        first = max(0, start - margin - context) // grid * grid
        wanted = start + block + margin + context - first
        audio = read_audio(
            path,
            sample_rate_hz=rate,
            channels=2,
            start_seconds=first / rate,
            duration_seconds=wanted / rate,
            track=song.track,
            strict=song.strict,
        )
        is_last = audio.samples.shape[1] < wanted
        if correction is None and audio.samples.any():
            correction = ChannelCorrection.measure(audio, path)
        if correction is not None:
            audio = correction.apply(audio)
        peak = torch.maximum(peak, peak_of(audio.to_channels(1)))
        mixture = leveled(audio.to_channels(model.mixture_channels), first)
        (vocals,) = model.vocals([mixture], options)
        left = max(0, start - margin)
        right = None if is_last else start + block + margin - first
        resampled = model.to_16k_mono(Audio(vocals.samples[:, left - first : right], rate)).cpu().samples[0]
        skipped = (start - left) // rate * ACOUSTIC_SAMPLE_RATE_HZ
        kept = None if is_last else skipped + BLOCK_SECONDS * ACOUSTIC_SAMPLE_RATE_HZ
        piece = resampled[skipped:kept]
        if filled + len(piece) > len(whole):  # longer than its header says
            whole = torch.cat([whole[:filled], torch.empty(len(piece))])
        whole[filled : filled + len(piece)] = piece
        filled += len(piece)
        start += block
        if progress is not None:
            progress(1.0 if is_last else min(1.0, start / (stated_seconds * rate)))
        if is_last:
            break
    require_peak(peak, path)
    if header.states_length:
        check_complete(path, header.duration_seconds, filled / ACOUSTIC_SAMPLE_RATE_HZ, strict=song.strict)
    return Audio(whole[None, :filled], ACOUSTIC_SAMPLE_RATE_HZ)
