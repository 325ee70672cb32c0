"""Which stretches of a song's separated vocals are sung, by their energy, so that the rest is not listened to.

A recogniser that is given the leftovers of an accompaniment hears words in them. Syed et al. 2025, "Exploiting Music
Source Separation for Automatic Lyrics Transcription with Whisper", cut songs at such silences. Here the silences are
left out in place: windows are full of voice, and frames keep their times.

Conventions
- Edges are multiples of the stride of the acoustic model's frames, but for the end of the song.
- A stretch is silent where the level in 40 ms, relative to the song's loud parts (the 95th percentile of the levels),
  stays below `threshold_db` for `minimum_seconds`; `margin_seconds` at either end of it are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyrics_asr.options import SilenceOptions
from lyrics_asr.types import FrameGrid

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
