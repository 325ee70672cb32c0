"""Audio files: decode any format, resample, mix channels, write.

Conventions
- Samples are float32 of shape (channels, samples) with full scale -1..1. Time 0 is the first sample that a player
  plays: the encoder delay of MP3, AAC and Opus is removed, so a compressed file and its WAV are aligned.
- A window of a file is a slice of the whole: `read_audio(start, duration)` returns the samples
  `[round(start * rate), round((start + duration) * rate))` of what reading and resampling the whole file returns. The
  one exception is AAC with perceptual noise substitution, whose noise depends on where decoding begins.
- A window is read by seeking if the container's time stamps give sample positions. They do if its clock counts samples
  (MP3, AAC, FLAC, WAV, Ogg, most MP4), or if all frames have one size and the clock is finer than that (AAC, MP3, FLAC,
  Opus and the like in Matroska, WebM, FLV and MPEG-TS). Other files, such as WebM with Vorbis and WMA, are decoded from
  the start.
- Lost packets become silence if the time stamps show the gap. A time stamp is ignored, and its frame follows without a
  gap, if it is more than 10 s after the end in the header, or after the duration of the file's bytes at 8 kbit/s. So a
  wrong header cannot make us allocate more memory than that.
- Surround sound is mixed to stereo with the ITU-R BS.775 weights, scaled so that it cannot clip; LFE is dropped.
"""

import logging
import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Literal

import av
import numpy as np
import soxr
import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from jaxtyping import Float
from torch import Tensor

from lyrics_asr.files import atomic_path
from lyrics_asr.types import AudioInfo

SEPARATOR_SAMPLE_RATE_HZ = 44_100  # what the published Demucs networks were trained on
ACOUSTIC_SAMPLE_RATE_HZ = 16_000  # what the published Wav2Vec2 networks were trained on

# fmt: off
AUDIO_SUFFIXES = frozenset({  # files in a folder that are songs: audio, and video for its audio track
    ".aac", ".ac3", ".aif", ".aiff", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus",
    ".wav", ".wma", ".wv", ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv",
})
# fmt: on

_MINIMUM_SECONDS = 0.1
_SILENCE_PEAK = 1e-4  # -80 dB of full scale
_PREROLL_SECONDS = 0.5  # decoded before a window: MP3's bit reservoir and Opus's prediction need up to 0.25 s
_OPENING_FRAMES = 3  # the first may be cut by the encoder delay; two more show the frame size
_STAMP_ERROR_TICKS = 2  # stamps are rounded, and so is the encoder delay that is subtracted from the first
_STAMPED_CONTAINERS = frozenset({"matroska", "mov", "flv", "mpegts"})  # store a stamp for every packet or block
_FIXED_FRAME_CODECS = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})
_STAMP_MARGIN_SECONDS = 10.0  # lengths are estimates where there is no header
LEAST_BYTES_PER_SECOND = 1_000  # less than any codec needs for music
_RESAMPLER_MARGIN_SECONDS = 0.1  # longer than half the resampler's filter at 8 kHz

# Left and right weight of each channel, ITU-R BS.775-3, table 2; a back centre goes to both sides like a front centre.
_HALF_POWER = math.sqrt(0.5)
_STEREO_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
}

_LOSSY_BITS_PER_SECOND = 192_000
_ENCODERS = {  # suffix: codec, bit rate
    ".wav": ("pcm_f32le", None),
    ".flac": ("flac", None),
    ".mp3": ("libmp3lame", _LOSSY_BITS_PER_SECOND),
    ".ogg": ("libopus", _LOSSY_BITS_PER_SECOND),
    ".opus": ("libopus", _LOSSY_BITS_PER_SECOND),
    ".m4a": ("aac", _LOSSY_BITS_PER_SECOND),
}

_logger = logging.getLogger(__name__)


class AudioError(ValueError):
    """A file without usable audio; the message gives the file, the cause and the remedy."""


@dataclass(frozen=True)
class AudioHeader:
    """Length, rate and channels of an audio file."""

    duration_seconds: float
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, eq=False)
class Audio:
    """Audio samples, float32; on the CPU unless a network on another device produced them."""

    samples: Float[Tensor, "channels samples"]
    sample_rate_hz: int

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.sample_rate_hz

    def cpu(self) -> "Audio":
        """The same audio on the CPU."""
        return Audio(self.samples.cpu(), self.sample_rate_hz)

    def resampled(self, sample_rate_hz: int) -> "Audio":
        """Resample (soxr, high quality) to `n * new / old` samples, rounded to the nearest."""
        if sample_rate_hz == self.sample_rate_hz:
            return self
        # Halves are rounded up, not to even, so that a window's length does not depend on its position.
        count = (2 * self.samples.shape[1] * sample_rate_hz + self.sample_rate_hz) // (2 * self.sample_rate_hz)
        output = np.zeros((self.samples.shape[0], count), dtype=np.float32)
        if count:
            converted = soxr.resample(self.samples.numpy().T, self.sample_rate_hz, sample_rate_hz, quality="HQ").T
            output[:, : converted.shape[1]] = converted[:, :count]
        return Audio(torch.from_numpy(output), sample_rate_hz)

    def to_channels(self, channels: Literal[1, 2]) -> "Audio":
        """Mix to mono, or to stereo (mono twice); surround is assumed to have FFmpeg's default layout."""
        count = self.samples.shape[0]
        if count == channels:
            return self
        return Audio(_mixing_matrix(_usual_channel_names(count), channels) @ self.samples, self.sample_rate_hz)


def read_audio(
    path: Path,
    *,
    sample_rate_hz: int | None = None,
    channels: Literal[1, 2] | None = None,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
) -> Audio:
    """Read an audio or video file, or a window of it; damaged packets and a missing end are skipped.

    Args:
        path: any file that FFmpeg decodes; its first audio stream is read.
        sample_rate_hz: sample rate of the result; None keeps the file's.
        channels: 1 to mix to mono, 2 to stereo; None keeps the file's channels.
        start_seconds: start of the window.
        duration_seconds: length of the window, which is cut at the end of the file; None reads to the end.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, without audio that can be decoded, or it ends before the window.
        ValueError: the start is negative, the duration is not positive, or one is not finite.
    """
    if not 0 <= start_seconds < math.inf or (duration_seconds is not None and not 0 < duration_seconds < math.inf):
        raise ValueError(f"{path}: invalid window: start {start_seconds} s, duration {duration_seconds} s")

    def read(*, seek: bool) -> Audio | None:
        with _open(path) as (container, stream):
            frames = _decoded(path, container, stream)
            opening = _opening(path, frames)
            rate = opening[0].sample_rate
            window = _window(rate, sample_rate_hz or rate, start_seconds, duration_seconds)
            clock = _Clock.of(opening, container, stream)
            frames = chain(opening, frames)
            preroll = window.first_sample - math.ceil(_PREROLL_SECONDS * rate)
            if seek and clock.gives_samples and 0 < preroll <= clock.last_sample:
                sought = _seek(path, container, stream, clock, preroll)
                if sought is None:
                    return None
                frames = sought
            samples = _gather(path, frames, clock, window, channels or opening[0].layout.nb_channels, rate)
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
    with _open(path) as (container, stream):
        opening = _opening(path, _decoded(path, container, stream))
        return _Clock.of(opening, container, stream).gives_samples


def probe(path: Path) -> AudioInfo:
    """The duration and sample rate of a file from its header, see `read_header`.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, or without audio.
    """
    header = read_header(path)
    # A name that is not UTF-8 could not be written as JSON.
    name = os.fsencode(path).decode("utf-8", "replace")
    return AudioInfo(name, header.duration_seconds, header.sample_rate_hz)


def read_header(path: Path) -> AudioHeader:
    """Read duration, sample rate and channels from a file's header.

    Without a duration in the header, it is estimated from the bit rate (raw AAC), or the file is decoded (live
    recordings).

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, or without audio.
    """
    with _open(path) as (container, stream):
        duration_seconds = _stated_seconds(container, stream)
        if duration_seconds is None:
            duration_seconds = read_audio(path).duration_seconds
        return AudioHeader(duration_seconds, stream.sample_rate, stream.channels)


def read_tags(path: Path) -> dict[str, str]:
    """Read the tags of a file, such as artist and title; keys are in lower case.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, or without audio.
    """
    with _open(path) as (container, stream):
        return {name.lower(): value for tags in (stream.metadata, container.metadata) for name, value in tags.items()}


def write_audio(path: Path, audio: Audio) -> None:
    """Write a file in the format of its suffix, atomically.

    `.wav` is 32-bit float, without clipping; `.flac` is 16 bit; `.mp3`, `.ogg` and `.opus` (both Opus) and `.m4a` (AAC)
    are 192 kbit/s. If the codec does not support the sample rate, the next higher one is used: 48 kHz for Opus.

    Raises:
        AudioError: unknown suffix, or audio that the codec does not support.
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            encode_audio(temporary, audio)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error


def encode_audio(path: Path, audio: Audio) -> None:
    """`write_audio`, but not atomically; messages do not name the file, which may be temporary.

    Raises:
        AudioError: unknown suffix, or audio that the codec does not support.
        OSError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _ENCODERS:
        raise AudioError(f"cannot write {path.suffix!r} files; use one of {', '.join(_ENCODERS)}")
    name, bits_per_second = _ENCODERS[suffix]
    rates = av.Codec(name, "w").audio_rates or [audio.sample_rate_hz]
    rate = min((rate for rate in rates if rate >= audio.sample_rate_hz), default=max(rates))
    try:
        with av.open(str(path), "w") as container:
            layout = f"{audio.samples.shape[0]}c"
            stream = container.add_stream(name, rate=rate, layout=layout)
            assert isinstance(stream, AudioStream)
            if bits_per_second is not None:
                stream.bit_rate = bits_per_second
            for frame in _encodable(audio.resampled(rate), layout):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except OSError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        content = f"{audio.samples.shape[0]} channels at {audio.sample_rate_hz} Hz"
        raise AudioError(f"{name} does not support {content} ({error}); write a .wav") from error


def require_sound(audio: Audio, path: Path) -> None:
    """Check that the audio is usable and not silent.

    Raises:
        AudioError: samples are not finite, or the audio is shorter than 0.1 s or silent (peak below -80 dB).
    """
    if audio.duration_seconds < _MINIMUM_SECONDS and bool(torch.isfinite(audio.samples).all()):
        raise AudioError(
            f"{path}: {audio.duration_seconds:.3f} s is too short for lyrics; give at least {_MINIMUM_SECONDS} s"
        )
    require_peak(audio.samples.abs().max(), path)


def require_peak(peak: Float[Tensor, ""], path: Path) -> None:
    """Check that the audio is not silent, by its largest absolute sample.

    Raises:
        AudioError: the peak is not finite, or below -80 dB of full scale.
    """
    if not bool(torch.isfinite(peak)):
        raise AudioError(f"{path}: has samples that are not finite; export the file again")
    if peak < _SILENCE_PEAK:
        raise AudioError(f"{path}: is silent (peak {peak:.1e} of full scale); check the recording")


@dataclass(frozen=True)
class _Window:
    """The range to decode, `[first_sample, end_sample)` at the file's rate, and the part to keep after resampling."""

    first_sample: int
    end_sample: int | None
    skipped_samples: int
    samples: int | None


@dataclass(frozen=True)
class _Clock:
    """Converts time stamps to sample positions.

    Args:
        origin_pts: time stamp of the file's first sample.
        samples_per_tick: samples per tick of the container's clock; 0 without time stamps.
        first_frame_samples: size of the first frame, which may be shortened by the encoder delay.
        frame_samples: size of all other frames; 1 if the clock counts samples, 0 if time stamps do not give sample
            positions.
        last_sample: time stamps after it are ignored.
    """

    origin_pts: int
    samples_per_tick: Fraction
    first_frame_samples: int
    frame_samples: int
    last_sample: int

    @staticmethod
    def of(opening: Sequence[av.AudioFrame], container: InputContainer, stream: AudioStream) -> "_Clock":
        first = opening[0]
        if first.pts is None or stream.time_base is None:
            return _Clock(0, Fraction(0), 0, 0, 0)
        tick = first.sample_rate * stream.time_base
        sizes = set(map(attrgetter("samples"), opening[1:]))
        fixed = stream.codec.canonical_name in _FIXED_FRAME_CODECS and len(opening) == _OPENING_FRAMES
        stamped = not _STAMPED_CONTAINERS.isdisjoint(container.format.name.split(","))
        frame_samples = 0
        if tick.numerator == 1:
            frame_samples = 1
        elif fixed and stamped and len(sizes) == 1 and min(sizes) > 2 * _STAMP_ERROR_TICKS * tick:
            frame_samples = min(sizes)
        last_sample = math.ceil(_longest_seconds(container, stream) * first.sample_rate)
        return _Clock(first.pts, tick, first.samples, frame_samples, last_sample)

    @property
    def gives_samples(self) -> bool:
        return self.frame_samples > 0

    def pts(self, sample: int) -> int:
        """The last time stamp that is not after `sample`."""
        return self.origin_pts + math.floor(sample / self.samples_per_tick)

    def sample(self, frame: av.AudioFrame) -> int | None:
        """The position of a frame's first sample; None if its time stamp does not give it."""
        if not self.gives_samples or frame.pts is None:
            return None
        stamped = (frame.pts - self.origin_pts) * self.samples_per_tick
        if self.frame_samples == 1:
            return math.floor(stamped)
        if stamped == 0 and frame.samples == self.first_frame_samples:
            return 0
        frames = round((stamped - self.first_frame_samples) / self.frame_samples)
        return self.first_frame_samples + frames * self.frame_samples

    def confirms(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is on the grid of equal frames, within the rounding of time stamps."""
        position = self.sample(frame)
        if position is None or frame.pts is None:
            return False
        if self.frame_samples == 1:
            return True
        error = abs((frame.pts - self.origin_pts) * self.samples_per_tick - position)
        return frame.samples == self.frame_samples and error <= _STAMP_ERROR_TICKS * self.samples_per_tick


def _window(rate: int, new_rate: int, start_seconds: float, duration_seconds: float | None) -> _Window:
    """The range to decode for a window.

    It is widened by the length of the resampler's filter, and starts where samples of both rates coincide, `gcd` times
    per second, so that resampling gives the same samples as for the whole file.
    """
    start = round(start_seconds * new_rate)
    end = None if duration_seconds is None else round((start_seconds + duration_seconds) * new_rate)
    samples = None if end is None else end - start
    if rate == new_rate:
        return _Window(start, end, 0, samples)
    gcd = math.gcd(rate, new_rate)
    coincidence = max(0, math.floor((start / new_rate - _RESAMPLER_MARGIN_SECONDS) * gcd))
    end_sample = None if end is None else math.ceil((end / new_rate + _RESAMPLER_MARGIN_SECONDS) * rate)
    return _Window(coincidence * (rate // gcd), end_sample, start - coincidence * (new_rate // gcd), samples)


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a container and its first audio stream; FFmpeg's errors are raised with path and remedy."""
    _require_file(path)
    try:
        # Playlists can refer to other files and URLs; "file:" and the whitelist restrict FFmpeg to local files.
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", metadata_errors="replace", options=options) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no audio stream; give a file with audio")
            yield container, container.streams.audio[0]
    except PermissionError as error:
        raise PermissionError(f"{path}: no permission to read it; change its permissions") from error
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise AudioError(
            f"{path}: is not audio, or is damaged ({error.strerror}); give an audio or video file"
        ) from error


def _stated_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _longest_seconds(container: InputContainer, stream: AudioStream) -> float:
    """The maximum duration of a file, with a margin: by its header, and by its size."""
    stated_seconds = _stated_seconds(container, stream)
    possible_seconds = container.size / LEAST_BYTES_PER_SECOND
    return _STAMP_MARGIN_SECONDS + min(possible_seconds, math.inf if stated_seconds is None else stated_seconds)


def _require_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder; give an audio file in it")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: is a device or a pipe; save the audio to a file first")
    if status.st_size == 0:
        raise AudioError(f"{path}: is empty; get the file again")


def _opening(path: Path, frames: Iterator[av.AudioFrame]) -> list[av.AudioFrame]:
    """The first frames: at least one, fewer than `_OPENING_FRAMES` only in a very short file."""
    opening = list(islice(frames, _OPENING_FRAMES))
    if not opening:
        raise AudioError(f"{path}: no audio can be decoded; it is damaged or truncated; get the file again")
    return opening


def _seek(
    path: Path, container: InputContainer, stream: AudioStream, clock: _Clock, sample: int
) -> Iterator[av.AudioFrame] | None:
    """Frames from `sample` or shortly before it; None if seeking fails."""
    try:
        container.seek(clock.pts(sample), stream=stream)
    except av.error.FFmpegError:
        return None
    frames = _decoded(path, container, stream)
    first = next(frames, None)
    if first is None or not clock.confirms(first) or (clock.sample(first) or 0) > sample:
        return None
    return chain([first], frames)


def _decoded(path: Path, container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
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
    if damaged:
        _logger.warning("%s: %d damaged or incomplete packets were skipped", path, damaged)


def _gather(
    path: Path, frames: Iterable[av.AudioFrame], clock: _Clock, window: _Window, channels: int, sample_rate_hz: int
) -> Float[Tensor, "channels samples"]:
    """The samples of the window, with each frame at its time stamp; empty if the file ends before the window."""
    pieces: list[tuple[int, Float[Tensor, "channels samples"]]] = []
    position = 0
    ignored = 0
    for index, frame in enumerate(frames):
        if frame.sample_rate != sample_rate_hz:
            raise AudioError(
                f"{path}: its sample rate changes from {sample_rate_hz} to {frame.sample_rate} Hz; convert it first"
            )
        stamp = clock.sample(frame)
        if stamp is not None:
            # Lost packets leave a gap, which becomes silence. Time stamps may jump back where files were joined; the
            # position does not. The first may be negative: after seeking back to the start, FFmpeg does not remove
            # the encoder delay.
            if stamp > clock.last_sample:
                ignored += stamp > position
            else:
                position = max(position, stamp) if index else stamp
        if window.end_sample is not None and position >= window.end_sample:
            break
        if position + frame.samples > window.first_sample:
            pieces.append((position, _mixed(path, frame, channels)))
        position += frame.samples
    if ignored:
        _logger.warning("%s: %d time stamps far after its end were ignored", path, ignored)
    end = position if window.end_sample is None else min(position, window.end_sample)
    samples = torch.zeros(channels, max(0, end - window.first_sample))
    for start, piece in pieces:
        first, last = max(start, window.first_sample), min(start + piece.shape[1], end)
        samples[:, first - window.first_sample : last - window.first_sample] = piece[:, first - start : last - start]
    return samples


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
    return _mixing_matrix(names, channels) @ samples.float()


def _mixing_matrix(names: tuple[str, ...], channels: int) -> Float[Tensor, "channels inputs"]:
    """Weights that mix the named channels to mono or stereo; the mean of all if a name is unknown."""
    if len(names) == 2:
        stereo = torch.eye(2)
    elif len(names) > 2 and all(name in _STEREO_WEIGHTS for name in names):
        stereo = torch.tensor([_STEREO_WEIGHTS[name] for name in names]).T
        stereo = stereo / stereo.sum(1).max()
    else:
        stereo = torch.full((2, len(names)), 1 / len(names))
    return stereo if channels == 2 else stereo.mean(0, keepdim=True)


def _usual_channel_names(count: int) -> tuple[str, ...]:
    try:
        return tuple(channel.name for channel in av.AudioLayout(f"{count}c").channels)
    except ValueError:  # FFmpeg has no default layout for this number of channels
        return ("unknown",) * count


def _encodable(audio: Audio, layout: str) -> Iterator[av.AudioFrame]:
    """Frames of one second, so that a long song is not copied at once."""
    for start in range(0, audio.samples.shape[1], audio.sample_rate_hz):
        piece = audio.samples[:, start : start + audio.sample_rate_hz].T.reshape(1, -1).numpy()
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = audio.sample_rate_hz, Fraction(1, audio.sample_rate_hz), start
        yield frame
