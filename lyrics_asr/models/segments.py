"""How songs are cut into the segments that the networks take: voiced spans, windows, batches of equal length.

A recogniser that is given the leftovers of an accompaniment writes words for them. Syed et al. 2025, "Exploiting Music
Source Separation for Automatic Lyrics Transcription with Whisper", cut songs at such silences. Here the silences are
left out in place (voice activity detection by energy): windows are full of voice, and frames keep their times.

Conventions
- Edges of voiced spans are multiples of the stride of the acoustic model's frames, but for the end of the song.
- A segment is silent where the level in 40 ms, relative to the song's loud parts (the 95th percentile of the levels),
  stays below `threshold_db` for `minimum_seconds`; `margin_seconds` at either end of it are kept.
- Windows overlap by twice the context; the frames that lack context on one side are dropped.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyrics_asr.options import AcousticOptions, SilenceOptions
from lyrics_asr.types import FrameGrid

Segment = TypeVar("Segment")

_HOP_SECONDS = 0.02
_LOUD_QUANTILE = 0.95


@dataclass(frozen=True)
class Span:
    """A stretch of samples, half open."""

    start: int
    end: int


def voiced_spans(waveform: Float[Tensor, " samples"], grid: FrameGrid, options: SilenceOptions) -> tuple[Span, ...]:
    """The stretches that are sung, in order, parted by silences; the whole of a song that has none.

    Args:
        waveform: vocals, mono at the rate of `grid`.
        grid: of the acoustic model.
        options: what counts as silence.
    """
    hop = round(_HOP_SECONDS * grid.sample_rate_hz)
    hops = len(waveform) // hop
    if not hops:
        return (Span(0, len(waveform)),) if len(waveform) else ()
    energy = torch.linalg.vector_norm(waveform[: hops * hop].view(hops, hop), dim=1).square().cpu() / hop
    padded = torch.cat([energy[:1], energy])
    level_db = 10 * torch.log10((padded[1:] + padded[:-1]) / 2 + 1e-12)
    loud_db = level_db.kthvalue(max(1, round(_LOUD_QUANTILE * hops))).values
    silent = torch.cat([torch.tensor([False]), level_db < loud_db + options.threshold_db, torch.tensor([False])])
    edges = silent.int().diff().nonzero()[:, 0].tolist()
    margin = round(options.margin_seconds * grid.sample_rate_hz)
    stride = grid.stride_samples
    spans, start = [], 0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if (last - first) * _HOP_SECONDS < options.minimum_seconds:
            continue
        cut = first * hop + margin if first else 0
        resumed = last * hop - margin if last < hops else len(waveform)
        cut, resumed = -(-cut // stride) * stride, resumed // stride * stride
        if resumed > cut:
            spans.append(Span(start, cut))
            start = resumed
    spans.append(Span(start, len(waveform)))
    return tuple(span for span in spans if span.end > span.start)


class VoicedSong:
    """A song without its silences: samples and frames are numbered as if the spans followed each other.

    Args:
        waveform: the whole song.
        spans: of it, see `voiced_spans`.
        grid: of the acoustic model.
    """

    def __init__(self, waveform: Float[Tensor, " samples"], spans: Sequence[Span], grid: FrameGrid) -> None:
        self._waveform = waveform
        self._spans = spans
        self._grid = grid
        self._begins = [0, *accumulate(span.end - span.start for span in spans)]

    def __len__(self) -> int:
        return self._begins[-1]

    def samples(self, start: int, end: int) -> Float[Tensor, " stretch"]:
        """The samples from `start` to `end`."""
        pieces = [
            self._waveform[span.start + max(0, start - first) : span.start + min(last, end) - first]
            for span, (first, last) in zip(self._spans, pairwise(self._begins), strict=True)
            if first < end and last > start
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def statistics(self) -> tuple[float, float]:
        """Mean and variance of the samples, in no memory to speak of."""
        pieces = [self._waveform[span.start : span.end] for span in self._spans]
        moments = [torch.var_mean(piece, correction=0) for piece in pieces]
        weights = torch.tensor([len(piece) / len(self) for piece in pieces], dtype=torch.float64)
        variances, means = (torch.stack([each[i] for each in moments]).cpu().double() for i in (0, 1))
        mean = (weights * means).sum()
        return float(mean), float((weights * (variances + (means - mean).square())).sum())

    def frame_numbers(self) -> Int[Tensor, " frames"]:
        """For every frame of the spans its number in the whole song."""
        stride = self._grid.stride_samples
        numbers = [torch.arange(span.start // stride, -(-span.end // stride)) for span in self._spans]
        return torch.cat(numbers)[: self._grid.count(len(self))]


@dataclass(frozen=True)
class Window:
    """A stretch of frames that goes through the network at once, and the part of it that is kept; all half open."""

    start_frame: int
    end_frame: int
    keep_start_frame: int
    keep_end_frame: int


def split_windows(frames: int, grid: FrameGrid, options: AcousticOptions) -> tuple[Window, ...]:
    """Windows that go over `frames` frames; the kept parts follow each other without gap or overlap.

    The network looks at both sides of a frame. Near the edge of a window one side is missing, so its values there are
    not those of the unsplit run; these borders are dropped, and the neighbouring window supplies their frames. Only
    the two ends of the song have no neighbour and are kept. There are as few windows as can be. All are equally long,
    as long as they have to be in whole seconds, so that those of different songs can share batches; the last one is
    moved back to end with the song.
    """
    longest_frames = math.floor(options.window_seconds / grid.frame_seconds)
    border_frames = math.ceil(options.context_seconds / grid.frame_seconds)
    if border_frames < 0 or longest_frames <= 2 * border_frames:
        raise ValueError(
            f"window_seconds {options.window_seconds} must be longer than two borders "
            f"of context_seconds {options.context_seconds}, which must not be negative"
        )
    if frames <= longest_frames:
        return (Window(0, frames, 0, frames),) if frames else ()
    count = math.ceil((frames - 2 * border_frames) / (longest_frames - 2 * border_frames))
    needed_frames = math.ceil((frames + 2 * border_frames * (count - 1)) / count)
    needed_seconds = math.ceil(needed_frames * grid.frame_seconds)
    window_frames = min(longest_frames, math.ceil(needed_seconds / grid.frame_seconds))
    windows = []
    kept = 0
    while kept < frames:
        start = min(max(0, kept - border_frames), frames - window_frames)
        end = start + window_frames
        keep_end = frames if end == frames else end - border_frames
        windows.append(Window(start, end, kept, keep_end))
        kept = keep_end
    return tuple(windows)


def stitch(windows: Sequence[Window], outputs: Sequence[Float[Tensor, "_ vocab"]]) -> Float[Tensor, "frames vocab"]:
    """The kept frames of every window's output, one after the other: borders saw half their context and are dropped."""
    return torch.cat(
        [
            output[window.keep_start_frame - window.start_frame : window.keep_end_frame - window.start_frame]
            for window, output in zip(windows, outputs, strict=True)
        ]
    )


def batches(segments: Sequence[Segment], samples: Callable[[Segment], int], batch_size: int) -> Iterator[list[Segment]]:
    """Segments of equal length in batches of at most `batch_size`; the longest first.

    Args:
        segments: of any songs.
        samples: how long each is, as a network takes it.
        batch_size: at least 1.
    """
    for _, group in groupby(sorted(segments, key=samples, reverse=True), key=samples):
        alike = list(group)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]
