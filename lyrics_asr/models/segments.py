"""Split songs into inputs for the networks: vocal regions, overlapping windows, batches of equal length.

In the residue of an accompaniment, an acoustic model finds words that nobody sings. Syed et al. 2025, "Exploiting Music
Source Separation for Automatic Lyrics Transcription with Whisper", split songs at such silences. Here silences are
skipped in place, by energy-based voice activity detection on the separated vocals: the model's windows are filled with
vocals, and frames keep their times.

Conventions
- Levels are measured over 40 ms, relative to the song's loud parts (the 95th percentile of the levels). A region is
  silent if its level stays below `threshold_db` for `minimum_seconds`; `margin_seconds` at both ends are kept.
- Region boundaries are multiples of the acoustic model's stride, except the end of the song.
- Windows overlap by twice the context. Frames that lack context on one side are dropped.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from lyrics_asr.options import SilenceOptions
from lyrics_asr.types import FrameGrid

T = TypeVar("T")

_HOP_SECONDS = 0.02
_LOUD_QUANTILE = 0.95


@dataclass(frozen=True)
class Span:
    """A range of samples, half open."""

    start: int
    end: int


def vocal_spans(waveform: Float[Tensor, " samples"], grid: FrameGrid, options: SilenceOptions) -> tuple[Span, ...]:
    """Find the vocal regions of a song, in order; the whole song if it has no silence.

    Args:
        waveform: separated vocals, mono at the rate of `grid`.
        grid: of the acoustic model.
        options: thresholds.
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
            if cut > start:
                spans.append(Span(start, cut))
            start = resumed
    if len(waveform) > start:
        spans.append(Span(start, len(waveform)))
    return tuple(spans)


def split_at_silences(
    waveform: Float[Tensor, " samples"], sample_rate_hz: int, options: SilenceOptions, longest_seconds: float
) -> tuple[Span, ...]:
    """The vocal regions of a song, joined while they are short and split at their quietest points where they are long.

    Args:
        waveform: separated vocals, mono.
        sample_rate_hz: of the waveform.
        options: thresholds of silence.
        longest_seconds: of a span.
    """
    hop, longest = round(_HOP_SECONDS * sample_rate_hz), round(longest_seconds * sample_rate_hz)
    spans: list[Span] = []
    for region in vocal_spans(waveform, FrameGrid(hop, 1, sample_rate_hz), options):
        start = region.start
        while region.end - start > longest:
            second_half = waveform[start + longest // 2 : start + longest]
            hops = len(second_half) // hop
            quietest = int(second_half[: hops * hop].view(hops, hop).square().sum(1).argmin())
            cut = start + longest // 2 + quietest * hop + hop // 2
            spans.append(Span(start, cut))
            start = cut
        spans.append(Span(start, region.end))
    joined: list[Span] = []
    for span in spans:
        if joined and span.end - joined[-1].start <= longest:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return tuple(joined)


class VocalRegions:
    """The vocal regions of a song, addressed as one concatenated signal.

    Args:
        waveform: the whole song.
        spans: the regions, see `vocal_spans`.
        grid: of the acoustic model.
    """

    def __init__(self, waveform: Float[Tensor, " samples"], spans: Sequence[Span], grid: FrameGrid) -> None:
        self._waveform = waveform
        self._spans = spans
        self._grid = grid
        self._begins = [0]
        for span in spans:
            self._begins.append(self._begins[-1] + span.end - span.start)

    def __len__(self) -> int:
        return self._begins[-1]

    def samples(self, start: int, end: int) -> Float[Tensor, " segment"]:
        """Samples `start` to `end` of the concatenated regions."""
        pieces = []
        for span, (first, last) in zip(self._spans, pairwise(self._begins), strict=True):
            if first < end and last > start:
                inside = slice(span.start + max(0, start - first), span.start + min(last, end) - first)
                pieces.append(self._waveform[inside])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def statistics(self) -> tuple[float, float]:
        """Mean and variance of the samples, computed without copying them."""
        mean = mean_square = 0.0
        for span in self._spans:
            own_variance, own_mean = map(float, torch.var_mean(self._waveform[span.start : span.end], correction=0))
            weight = (span.end - span.start) / len(self)
            mean += weight * own_mean
            mean_square += weight * (own_variance + own_mean**2)
        return mean, mean_square - mean**2

    def frame_numbers(self) -> Int[Tensor, " frames"]:
        """The frame number in the whole song of every frame of the concatenated regions."""
        stride = self._grid.stride_samples
        numbers = []
        for span in self._spans:
            numbers.append(torch.arange(span.start // stride, -(-span.end // stride)))
        return torch.cat(numbers)[: self._grid.count(len(self))]


@dataclass(frozen=True)
class Window:
    """The frames of one forward pass, and those of them that are kept; half open."""

    start_frame: int
    end_frame: int
    keep_start_frame: int
    keep_end_frame: int


def split_windows(frames: int, grid: FrameGrid, window_seconds: float, context_seconds: float) -> tuple[Window, ...]:
    """Split `frames` frames into overlapping windows whose kept parts cover them without gap or overlap.

    The network uses context on both sides of a frame. Frames near the edge of a window lack context on one side, so
    they are dropped and taken from the neighbouring window, except at the two ends of the song.

    The number of windows is minimal. All have the same length, the shortest that suffices in whole seconds, so that
    windows of different songs can share batches. The last window is moved back to end with the song.

    Args:
        frames: of the song.
        grid: times of the frames.
        window_seconds: longest window, context included.
        context_seconds: at both ends of a window.

    Raises:
        ValueError: a window is not longer than its context.
    """
    max_frames = math.floor(window_seconds / grid.frame_seconds)
    context_frames = math.ceil(context_seconds / grid.frame_seconds)
    if context_frames < 0 or max_frames <= 2 * context_frames:
        raise ValueError(
            f"window_seconds {window_seconds} must be more than twice "
            f"context_seconds {context_seconds}, which must not be negative"
        )
    if frames <= max_frames:
        return (Window(0, frames, 0, frames),) if frames else ()
    count = math.ceil((frames - 2 * context_frames) / (max_frames - 2 * context_frames))
    needed_frames = math.ceil((frames + 2 * context_frames * (count - 1)) / count)
    needed_seconds = math.ceil(needed_frames * grid.frame_seconds)
    window_frames = min(max_frames, math.ceil(needed_seconds / grid.frame_seconds))
    windows = []
    kept = 0
    while kept < frames:
        start = min(max(0, kept - context_frames), frames - window_frames)
        end = start + window_frames
        keep_end = frames if end == frames else end - context_frames
        windows.append(Window(start, end, kept, keep_end))
        kept = keep_end
    return tuple(windows)


def stitch(windows: Sequence[Window], outputs: Sequence[Float[Tensor, "_ vocab"]]) -> Float[Tensor, "frames vocab"]:
    """Concatenate the kept frames of all windows."""
    kept = []
    for window, output in zip(windows, outputs, strict=True):
        kept.append(output[window.keep_start_frame - window.start_frame : window.keep_end_frame - window.start_frame])
    return torch.cat(kept)


def equal_length_batches(segments: Sequence[T], samples: Callable[[T], int], batch_size: int) -> Iterator[list[T]]:
    """Group segments of equal length into batches, longest first.

    Args:
        segments: of any number of songs.
        samples: length of a segment at the network's input.
        batch_size: segments per batch, at least 1.
    """
    for _, group in groupby(sorted(segments, key=samples, reverse=True), key=samples):
        equal = list(group)
        for start in range(0, len(equal), batch_size):
            yield equal[start : start + batch_size]


def padded_slice(
    mixture: Float[Tensor, "channels samples"], start: int, samples: int
) -> Float[Tensor, "channels segment"]:
    """`samples` samples from `start` on, zero-padded beyond the ends of the song."""
    total = mixture.shape[-1]
    end = start + samples
    inside = mixture[:, max(0, start) : min(total, end)]
    return pad(inside, (max(0, -start), max(0, end - total)))
