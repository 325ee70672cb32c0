"""From time stamps to sample positions, and from windows in seconds to ranges of samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from lyrics_asr.audio.container import start_seconds

OPENING_FRAMES = 3  # the first may be cut by the encoder delay; two more show the frame size

_STAMP_ERROR_TICKS = 2  # stamps are rounded, and so is the encoder delay that is subtracted from the first
_STAMPED_CONTAINERS = frozenset({"matroska", "mov", "flv", "mpegts"})  # store a stamp for every packet or block
_FIXED_FRAME_CODECS = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})
_RESAMPLER_MARGIN_SECONDS = 0.1  # longer than half the resampler's filter at 8 kHz


@dataclass(frozen=True)
class Window:
    """The range to decode, `[first_sample, end_sample)` at the file's rate, and the part to keep after resampling."""

    first_sample: int
    end_sample: int | None
    skipped_samples: int
    samples: int | None


@dataclass(frozen=True)
class Clock:
    """Converts time stamps to sample positions.

    Args:
        origin_pts: time stamp of the track's first sample.
        start_sample: position of the track's first sample; 0 unless the track starts late in its container.
        samples_per_tick: samples per tick of the container's clock; 0 without time stamps.
        first_frame_samples: size of the first frame, which may be shortened by the encoder delay.
        frame_samples: size of all other frames; 1 if the clock counts samples, 0 if time stamps do not give sample
            positions.
        last_sample: time stamps after it are ignored.
    """

    origin_pts: int
    start_sample: int
    samples_per_tick: Fraction
    first_frame_samples: int
    frame_samples: int
    last_sample: int

    @staticmethod
    def of(
        opening: Sequence[av.AudioFrame], container: InputContainer, stream: AudioStream, longest_seconds: float
    ) -> "Clock":
        """The clock of a track.

        Args:
            opening: the first frames.
            container: the container.
            stream: the track.
            longest_seconds: time stamps after this time are ignored.
        """
        first = opening[0]
        if first.pts is None or stream.time_base is None:
            return Clock(0, 0, Fraction(0), 0, 0, 0)
        tick = first.sample_rate * stream.time_base
        sizes = set(map(attrgetter("samples"), opening[1:]))
        fixed = stream.codec.canonical_name in _FIXED_FRAME_CODECS and len(opening) == OPENING_FRAMES
        stamped = not _STAMPED_CONTAINERS.isdisjoint(container.format.name.split(","))
        frame_samples = 0
        if tick.numerator == 1:
            frame_samples = 1
        elif fixed and stamped and len(sizes) == 1 and min(sizes) > 2 * _STAMP_ERROR_TICKS * tick:
            frame_samples = min(sizes)
        last_sample = math.ceil(longest_seconds * first.sample_rate)
        start_sample = round(start_seconds(container, stream, first.pts) * first.sample_rate)
        if start_sample > last_sample:
            start_sample = 0
        return Clock(first.pts, start_sample, tick, first.samples, frame_samples, last_sample)

    @property
    def gives_samples(self) -> bool:
        """Whether time stamps give sample positions."""
        return self.frame_samples > 0

    def pts(self, sample: int) -> int:
        """The last time stamp that is not after `sample`."""
        return self.origin_pts + math.floor((sample - self.start_sample) / self.samples_per_tick)

    def sample(self, frame: av.AudioFrame) -> int | None:
        """The position of a frame's first sample; None if its time stamp does not give it."""
        if not self.gives_samples or frame.pts is None:
            return None
        stamped = (frame.pts - self.origin_pts) * self.samples_per_tick
        if self.frame_samples == 1:
            return self.start_sample + math.floor(stamped)
        if stamped == 0 and frame.samples == self.first_frame_samples:
            return self.start_sample
        frames = round((stamped - self.first_frame_samples) / self.frame_samples)
        return self.start_sample + self.first_frame_samples + frames * self.frame_samples

    def confirms(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is on the grid of equal frames, within the rounding of time stamps."""
        position = self.sample(frame)
        if position is None or frame.pts is None:
            return False
        if self.frame_samples == 1:
            return True
        stamped = self.start_sample + (frame.pts - self.origin_pts) * self.samples_per_tick
        error = abs(stamped - position)
        return frame.samples == self.frame_samples and error <= _STAMP_ERROR_TICKS * self.samples_per_tick


def window_samples(rate: int, new_rate: int, start_seconds: float, duration_seconds: float | None) -> Window:
    """The range to decode for a window.

    It is widened by the length of the resampler's filter, and starts where samples of both rates coincide, `gcd` times
    per second, so that resampling gives the same samples as for the whole file.
    """
    start = round(start_seconds * new_rate)
    end = None if duration_seconds is None else round((start_seconds + duration_seconds) * new_rate)
    samples = None if end is None else end - start
    if rate == new_rate:
        return Window(start, end, 0, samples)
    gcd = math.gcd(rate, new_rate)
    coincidence = max(0, math.floor((start / new_rate - _RESAMPLER_MARGIN_SECONDS) * gcd))
    end_sample = None if end is None else math.ceil((end / new_rate + _RESAMPLER_MARGIN_SECONDS) * rate)
    return Window(coincidence * (rate // gcd), end_sample, start - coincidence * (new_rate // gcd), samples)
