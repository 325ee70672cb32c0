"""Decode audio files of any format, whole or in windows.

Conventions
- Samples are float32 of shape (channels, samples) with full scale -1..1. Time 0 is the first sample that a player
  plays: the encoder delay of MP3, AAC and Opus is removed, so a compressed file and its WAV are aligned. In a container
  with several tracks, it is the container's (see `audio.container`).
- A window of a file is a slice of the whole: `read_audio(start, duration)` returns the samples
  `[round(start * rate), round((start + duration) * rate))` of what reading and resampling the whole file returns. The
  exceptions are AAC with perceptual noise substitution, whose noise depends on where decoding begins, and files whose
  sample rate changes.
- A window is read by seeking if the container's time stamps give sample positions. They do if its clock counts samples
  (MP3, AAC, FLAC, WAV, Ogg, most MP4), or if all frames have one size and the clock is finer than that (AAC, MP3, FLAC,
  Opus and the like in Matroska, WebM, FLV and MPEG-TS). Other files, such as WebM with Vorbis and WMA, are decoded from
  the start.
- Lost packets become silence if the time stamps show the gap. A time stamp is ignored, and its frame follows without a
  gap, if it is more than 10 s after the end in the header, or after the duration of the file's bytes at 8 kbit/s. So a
  wrong header cannot make us allocate more memory than that.
- If the sample rate changes in the middle, such as where MP3 files were joined, the rest is resampled to the first one.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Literal

import av
import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.audio.clock import OPENING_FRAMES, Clock, Window, window_samples
from lyrics_asr.audio.container import (
    LEAST_BYTES_PER_SECOND,
    open_track,
    stated_seconds,
    states_track_length,
)
from lyrics_asr.audio.samples import Audio, AudioError, mixing_matrix

_PREROLL_SECONDS = 0.5  # decoded before a window: MP3's bit reservoir and Opus's prediction need up to 0.25 s
_STAMP_MARGIN_SECONDS = 10.0  # lengths are estimates where there is no header
_GAP_SECONDS = 0.02  # time stamps are rounded
_MISSING_SECONDS = 0.5  # headers count the encoder delay and padding of up to 0.1 s

_logger = logging.getLogger(__name__)


def read_audio(
    path: Path,
    *,
    sample_rate_hz: int | None = None,
    channels: Literal[1, 2] | None = None,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    track: int | None = None,
    strict: bool = False,
) -> Audio:
    """Read an audio or video file, or a window of it; damaged packets and a missing end are skipped.

    Args:
        path: any file that FFmpeg decodes.
        sample_rate_hz: sample rate of the result; None keeps the file's.
        channels: 1 to mix to mono, 2 to stereo; None keeps the file's channels.
        start_seconds: start of the window.
        duration_seconds: length of the window, which is cut at the end of the file; None reads to the end.
        track: number of the audio track, from 1; None for the default track.
        strict: refuse damaged and truncated files, in place of a warning.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, without audio that can be decoded, without this track, or it ends before the
            window; with `strict`, also if packets are damaged or the end is missing.
        ValueError: the start is negative, the duration is not positive, or one is not finite.
    """
    if not 0 <= start_seconds < math.inf or (duration_seconds is not None and not 0 < duration_seconds < math.inf):
        raise ValueError(f"{path}: invalid window: start {start_seconds} s, duration {duration_seconds} s")

    def read(*, seek: bool) -> Audio | None:
        with open_track(path, track) as (container, stream):
            frames = _decoded(path, container, stream, strict=strict)
            opening = _opening(path, frames)
            rate = opening[0].sample_rate
            window = window_samples(rate, sample_rate_hz or rate, start_seconds, duration_seconds)
            clock = Clock.of(opening, container, stream, _longest_seconds(path, container, stream))
            frames = chain(opening, frames)
            preroll = window.first_sample - math.ceil(_PREROLL_SECONDS * rate)
            if seek and clock.gives_samples and clock.start_sample < preroll <= clock.last_sample:
                sought = _seek(path, container, stream, clock, preroll, strict=strict)
                if sought is None:
                    return None
                frames = sought
            samples = _gather(
                path, frames, clock, window, channels or opening[0].layout.nb_channels, rate, strict=strict
            )
            if window == Window(0, None, 0, None) and states_track_length(container, stream):
                stated = stated_seconds(path, container, stream)
                check_complete(path, stated, samples.shape[1] / rate, strict=strict)
        audio = Audio(samples, rate).resampled(sample_rate_hz or rate)
        return Audio(audio.samples[:, window.skipped_samples :][:, : window.samples], audio.sample_rate_hz)

    audio = read(seek=start_seconds > 0) or read(
        seek=False
    )  # reopened, because seeking back would keep the encoder delay
    assert audio is not None
    if not audio.samples.shape[1]:
        raise AudioError(f"{path}: ends before {start_seconds} s; choose an earlier window")
    return audio


def reads_windows_by_seeking(path: Path) -> bool:
    """Whether `read_audio` can seek in this file, rather than decode from the start.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, or without audio that can be decoded.
    """
    with open_track(path) as (container, stream):
        opening = _opening(path, _decoded(path, container, stream, strict=False))
        return Clock.of(opening, container, stream, _longest_seconds(path, container, stream)).gives_samples


def check_complete(path: Path, stated: float | None, decoded_seconds: float, *, strict: bool) -> None:
    """Warn if a file is shorter than its header says: it was not downloaded to its end, or is damaged.

    Args:
        path: names the file.
        stated: duration in the header in seconds; None if it has none.
        decoded_seconds: duration that could be decoded.
        strict: raise in place of a warning.

    Raises:
        AudioError: with `strict`, it is shorter.
    """
    if stated is None or decoded_seconds >= stated - _MISSING_SECONDS:
        return
    message = f"{path}: the header says {stated:.1f} s, {decoded_seconds:.1f} s could be decoded; get the file again"
    if strict:
        raise AudioError(message)
    _logger.warning("%s", message)


def _longest_seconds(path: Path, container: InputContainer, stream: AudioStream) -> float:
    """The maximum duration of a file, with a margin: by its header, and by its size."""
    stated = stated_seconds(path, container, stream)
    possible_seconds = container.size / LEAST_BYTES_PER_SECOND
    return _STAMP_MARGIN_SECONDS + min(possible_seconds, math.inf if stated is None else stated)


def _opening(path: Path, frames: Iterator[av.AudioFrame]) -> list[av.AudioFrame]:
    """The first frames: at least one, fewer than `OPENING_FRAMES` only in a very short file."""
    opening = list(islice(frames, OPENING_FRAMES))
    if not opening:
        raise AudioError(f"{path}: no audio can be decoded; it is damaged or truncated; get the file again")
    return opening


def _seek(
    path: Path, container: InputContainer, stream: AudioStream, clock: Clock, sample: int, *, strict: bool
) -> Iterator[av.AudioFrame] | None:
    """Frames from `sample` or shortly before it; None if seeking fails."""
    try:
        container.seek(clock.pts(sample), stream=stream)
    except av.error.FFmpegError:
        return None
    frames = _decoded(path, container, stream, strict=strict)
    first = next(frames, None)
    if first is None or not clock.confirms(first) or (clock.sample(first) or 0) > sample:
        return None
    return chain([first], frames)


def _decoded(path: Path, container: InputContainer, stream: AudioStream, *, strict: bool) -> Iterator[av.AudioFrame]:
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            continue
        for frame in frames:
            if isinstance(frame, av.AudioFrame):
                yield frame
    if damaged and strict:
        raise AudioError(f"{path}: {damaged} packets are damaged or incomplete; get the file again")
    if damaged:
        _logger.warning("%s: %d damaged or incomplete packets were skipped", path, damaged)


def _gather(
    path: Path,
    frames: Iterable[av.AudioFrame],
    clock: Clock,
    window: Window,
    channels: int,
    sample_rate_hz: int,
    *,
    strict: bool,
) -> Float[Tensor, "channels samples"]:
    """The samples of the window, with each frame at its time stamp; empty if the file ends before the window."""
    pieces: list[tuple[int, Float[Tensor, "channels samples"]]] = []
    position = clock.start_sample
    ignored = lost_samples = 0
    for index, run in enumerate(_runs(frames, sample_rate_hz)):
        stamp = clock.sample(run[0])
        if stamp is not None:
            # Lost packets leave a gap, which becomes silence. Time stamps may jump back where files were joined; the
            # position does not. The first may be negative: after seeking back to the start, FFmpeg does not remove
            # the encoder delay.
            if stamp > clock.last_sample:
                ignored += stamp > position
            else:
                gap = stamp - position if index else 0
                if gap > _GAP_SECONDS * sample_rate_hz:
                    lost_samples += gap
                position = max(position, stamp) if index else stamp
        if window.end_sample is not None and position >= window.end_sample:
            break
        if run[0].sample_rate == sample_rate_hz:
            length = run[0].samples
            if position + length > window.first_sample:
                pieces.append((position, _mixed(path, run[0], channels)))
        else:
            mixed = torch.cat([_mixed(path, frame, channels) for frame in run], dim=1)
            piece = Audio(mixed, run[0].sample_rate).resampled(sample_rate_hz).samples
            length = piece.shape[1]
            pieces.append((position, piece))
        position += length
    if ignored:
        _logger.warning("%s: %d time stamps far after its end were ignored", path, ignored)
    if lost_samples:
        message = f"{path}: {lost_samples / sample_rate_hz:.2f} s are missing and became silence; get the file again"
        if strict:
            raise AudioError(message)
        _logger.warning("%s", message)
    end = position if window.end_sample is None else min(position, window.end_sample)
    samples = torch.zeros(channels, max(0, end - window.first_sample))
    for start, piece in pieces:
        first, last = max(start, window.first_sample), min(start + piece.shape[1], end)
        samples[:, first - window.first_sample : last - window.first_sample] = piece[:, first - start : last - start]
    return samples


def _runs(frames: Iterable[av.AudioFrame], sample_rate_hz: int) -> Iterator[list[av.AudioFrame]]:
    """Frames one by one; consecutive frames of another rate together, to be resampled in one piece."""
    run: list[av.AudioFrame] = []
    for frame in frames:
        if run and frame.sample_rate != run[0].sample_rate:
            yield run
            run = []
        run.append(frame)
        if frame.sample_rate == sample_rate_hz:
            yield run
            run = []
    if run:
        yield run


def _mixed(path: Path, frame: av.AudioFrame, channels: int) -> Float[Tensor, "channels samples"]:
    """A frame as floats with full scale -1..1, mixed to `channels`."""
    names = tuple(map(attrgetter("name"), frame.layout.channels))
    if frame.format.is_planar and len(names) >= 8:  # PyAV's to_ndarray reads past the eighth plane
        frame = av.AudioResampler("flt").resample(frame)[0]
    samples = torch.from_numpy(frame.to_ndarray())
    if not frame.format.is_planar:
        samples = samples.view(-1, len(names)).T
    if samples.dtype == torch.uint8:
        samples = (samples.float() - 128) / 128
    elif not samples.is_floating_point():
        samples = samples.float() / 2 ** (8 * samples.itemsize - 1)
    if len(names) == channels:
        return samples.float()
    if channels > 2:
        raise AudioError(f"{path}: its channels change from {channels} to {len(names)}; convert it to stereo first")
    return mixing_matrix(names, channels) @ samples.float()
