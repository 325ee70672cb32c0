"""Containers: their audio tracks, headers and tags.

Conventions
- Track numbers count the audio tracks of a file from 1. Without a number, the default track is taken, as players do.
- Times are those of the container, which subtitles follow: in a file with pictures or several tracks, audio that starts
  late starts with silence. In a file with one track, time 0 is its first sample.
- MP3 without a Xing, Info or VBRI tag, raw AAC and the like state no duration. It is the sum of the packets' durations.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from lyrics_asr.audio.samples import AudioError
from lyrics_asr.types import AudioInfo

# fmt: off
AUDIO_SUFFIXES = frozenset({  # files in a folder that are songs: audio, and video for its audio track
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".dff", ".dsf", ".dts", ".eac3", ".flac",
    ".m4a", ".m4b", ".m4r", ".mka", ".mp1", ".mp2", ".mp3", ".mpc", ".oga", ".ogg", ".oma", ".opus", ".ra", ".rf64",
    ".shn", ".snd", ".spx", ".tak", ".tta", ".voc", ".w64", ".wav", ".weba", ".wma", ".wv",
    ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".nut", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on

LEAST_BYTES_PER_SECOND = 1_000  # less than any codec needs for music

_UNSTATED_FORMATS = frozenset({"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "dtshd", "eac3", "loas", "mlp", "truehd"})
_STREAMED_BYTES = 0x7FFF0000  # programs that cannot know the size write about 2 or 4 GB
_MP3_TAGS = (b"Xing", b"Info", b"VBRI")


@dataclass(frozen=True)
class AudioHeader:
    """Length, rate and channels of an audio track.

    Args:
        duration_seconds: time of its end.
        sample_rate_hz: sample rate.
        channels: number of channels.
        states_length: whether the file itself states this end, so that a shorter track is incomplete.
    """

    duration_seconds: float
    sample_rate_hz: int
    channels: int
    states_length: bool = True


def read_header(path: Path, track: int | None = None) -> AudioHeader:
    """Read duration, sample rate and channels of a track from a file's header.

    Without a duration in the header, it is the sum of the packets' durations.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, without audio, or without this track.
    """
    with open_track(path, track) as (container, stream):
        stated = stated_seconds(path, container, stream)
        duration_seconds = _packet_seconds(container, stream) if stated is None else stated
        states_length = stated is not None and states_track_length(container, stream)
        return AudioHeader(duration_seconds, stream.sample_rate, stream.channels, states_length)


def probe(path: Path, track: int | None = None) -> AudioInfo:
    """The duration and sample rate of a track from the header, see `read_header`.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, without audio, or without this track.
    """
    header = read_header(path, track)
    # A name that is not UTF-8 could not be written as JSON.
    name = os.fsencode(path).decode("utf-8", "replace")
    return AudioInfo(name, header.duration_seconds, header.sample_rate_hz)


def read_tags(path: Path) -> dict[str, str]:
    """Read the tags of a file, such as artist and title; keys are in lower case.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, or without audio.
    """
    with open_track(path) as (container, stream):
        return {name.lower(): value for tags in (stream.metadata, container.metadata) for name, value in tags.items()}


@contextmanager
def open_track(path: Path, track: int | None = None) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a container and one of its audio tracks; FFmpeg's errors are raised with path and remedy.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a file, empty, without audio, or without this track.
    """
    _require_file(path)
    try:
        # Playlists can refer to other files and URLs; "file:" and the whitelist restrict FFmpeg to local files.
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", metadata_errors="replace", options=options) as container:
            yield container, _chosen(path, container.streams.audio, track)
    except PermissionError as error:
        raise PermissionError(f"{path}: no permission to read it; change its permissions") from error
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise AudioError(
            f"{path}: is not audio, or is damaged ({error.strerror}); give an audio or video file"
        ) from error


def stated_seconds(path: Path, container: InputContainer, stream: AudioStream) -> float | None:
    """The end of a track by the header; None if the header does not state it."""
    if container.format.name in _UNSTATED_FORMATS or (container.format.name == "mp3" and not _has_mp3_tag(path)):
        return None
    if stream.duration is not None and stream.time_base is not None:
        share = _whole_share(path, container) if container.format.name == "wav" else 1.0
        seconds = float(stream.duration * stream.time_base) * share
        return start_seconds(container, stream, stream.start_time) + seconds
    return None if container.duration is None else container.duration / av.time_base


def states_track_length(container: InputContainer, stream: AudioStream) -> bool:
    """Whether `stated_seconds` is the end of this track, not of the longest one."""
    if len(_timed_streams(container)) == 1:
        return True
    return stream.duration is not None and container.format.name != "avi"  # where late audio counts from the start


def start_seconds(container: InputContainer, stream: AudioStream, pts: int | None) -> float:
    """The time of a track's first sample, whose time stamp is `pts`."""
    if pts is None or stream.time_base is None or len(_timed_streams(container)) == 1:
        return 0.0
    origin_seconds = max(0.0, (container.start_time or 0) / av.time_base)
    return max(0.0, float(pts * stream.time_base) - origin_seconds)


def _timed_streams(container: InputContainer) -> list[object]:
    """Audio and video tracks, without covers."""
    covers = Disposition.attached_pic
    video = [stream for stream in container.streams.video if not stream.disposition & covers]
    return [*container.streams.audio, *video]


def _chosen(path: Path, tracks: tuple[AudioStream, ...], number: int | None) -> AudioStream:
    if not tracks:
        raise AudioError(f"{path}: has no audio stream; give a file with audio")
    if number is None:
        return next((track for track in tracks if track.disposition & Disposition.default), tracks[0])
    if not 1 <= number <= len(tracks):
        raise AudioError(f"{path}: has no audio track {number}; choose one of 1 to {len(tracks)}")
    return tracks[number - 1]


def _packet_seconds(container: InputContainer, stream: AudioStream) -> float:
    """The sum of the durations of all packets, which are not decoded."""
    ticks = sum(packet.duration or 0 for packet in container.demux(stream))
    return 0.0 if stream.time_base is None else float(ticks * stream.time_base)


def _whole_share(path: Path, container: InputContainer) -> float:
    """The size of a WAV file as it states it, over its actual size; at least 1.

    FFmpeg gives the duration of what is there.
    """
    with path.open("rb") as file:
        head = file.read(8)
    stated = 8 + int.from_bytes(head[4:8], "little")
    return max(1.0, stated / container.size) if head[:4] == b"RIFF" and stated < _STREAMED_BYTES else 1.0


def _has_mp3_tag(path: Path) -> bool:
    """Whether an MP3 file has a tag with its number of frames, in its first frame."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3" and len(head) == 10:  # its size has seven bits per byte
            size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
            file.seek(10 + size)
            head = b""
        start = head + file.read(4096)
    return any(tag in start for tag in _MP3_TAGS)


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
