"""Vocal separation with Demucs networks.

Only the networks with a non-zero vocals weight are run. For a bag such as htdemucs_ft, that is one network of four.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import TypeAlias, cast

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from lyrics_asr.models.precision import computing_in
from lyrics_asr.models.segments import equal_length_batches, padded_slice
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.vocals_only import VOCALS, vocals_only
from lyrics_asr.options import SeparationOptions

DemucsNetwork: TypeAlias = Demucs | HDemucs | HTDemucs


class DemucsSeparator(Separator):
    """Estimates vocals as the weighted mean of one or more Demucs networks.

    Args:
        name: the name that `load_separator` takes.
        networks: at least one Demucs network; each has a source named "vocals".
        weights: weight of each network in the mean; equal weights when None.

    Raises:
        ValueError: a network has no source "vocals".
    """

    gains_by_bfloat16 = True

    def __init__(self, name: str, networks: Sequence[DemucsNetwork], weights: Sequence[float] | None = None) -> None:
        super().__init__(
            name,
            networks,
            sample_rate_hz=int(networks[0].samplerate),
            audio_channels=int(networks[0].audio_channels),
        )
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(networks)
        for network in networks:
            if VOCALS not in network.sources:
                raise ValueError(
                    f"separator {name!r} has the sources {', '.join(network.sources)}; a source 'vocals' is needed"
                )
        # In training, HTDemucs overwrites its segment length, which would change how songs are split. We pad instead.
        self._pads_to_segment = []
        for network in networks:
            self._pads_to_segment.append(getattr(network, "use_train_segment", False))
            if isinstance(network, HTDemucs):
                network.use_train_segment = False

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Separate segments of any length in one differentiable pass.

        In evaluation mode, segments shorter than HTDemucs' own are padded to it, as in Demucs. In training mode they
        are not.
        """
        return self._mean(self._run, mixture)

    def stems(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "sources batch channels samples"]:
        """Vocals and the sum of the other sources; what the vocals leave where there are no other sources."""
        return self._mean(self._run_stems, mixture)

    def _mean(self, run: Callable[[int, Tensor], Tensor], mixture: Float[Tensor, "batch channels samples"]) -> Tensor:
        """The weighted mean of what networks make of a padded mixture."""
        self._check_channels(mixture.shape[-2])
        samples = mixture.shape[-1]
        total = torch.zeros_like(mixture)
        for index, weight in enumerate(self.weights):
            missing = self._padded_samples(index, samples, self.segment_samples(index)) - samples
            padded = pad(mixture, (missing // 2, missing - missing // 2))
            total = total + weight * run(index, padded)[..., missing // 2 : missing // 2 + samples]
        return total / sum(self.weights)

    @torch.inference_mode()
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Separate whole songs, by overlap-add of segments with triangular weights (`demucs.apply.apply_model`).

        Arguments, result and errors are those of `Separator.separate`.
        """
        if not mixtures:
            return []
        for mixture in mixtures:
            self._check_channels(mixture.shape[0])
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        try:
            with computing_in(options.precision, device), _no_mha_fastpath():
                on_device = list(map(torch.Tensor.to, mixtures, repeat(device)))
                return self._overlap_add(on_device, options, progress or (lambda share: None))
        finally:
            self.train(was_training)

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """See `Separator.block_grid`."""
        segments = [self.segment_samples(index, options) for index in range(len(self.networks))]
        return math.lcm(*(_stride(segment, options) for segment in segments)), max(segments)

    @property
    def settings(self) -> dict[str, object]:
        """See `Separator.settings`."""
        return {"sample rate": self.sample_rate_hz, "bag weights": list(self.weights)}

    def segment_samples(self, index: int, options: SeparationOptions | None = None) -> int:
        """Length of the segments of network `index` in `separate`."""
        network = self.network(index)
        own = int(network.samplerate * network.segment)
        if options is None or options.segment_seconds is None:
            return own
        return min(own, round(float(network.samplerate) * options.segment_seconds))

    def network(self, index: int) -> DemucsNetwork:
        """Network `index` of this separator."""
        return cast(DemucsNetwork, self.networks[index])

    def _overlap_add(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None],
    ) -> list[Float[Tensor, "channels _"]]:
        vocals = [torch.zeros_like(mixture) for mixture in mixtures]
        for index, weight in enumerate(self.weights):
            length = self.segment_samples(index, options)
            rising, falling = torch.arange(1, length // 2 + 1), torch.arange(length - length // 2, 0, -1)
            triangle = torch.cat([rising, falling]).to(vocals[0].device) / max(1, length - length // 2)
            estimates = [torch.zeros_like(mixture) for mixture in mixtures]
            totals = [torch.zeros_like(mixture[0]) for mixture in mixtures]
            segments = [
                _Segment(song, offset, samples, self._padded_samples(index, samples, length))
                for song, mixture in enumerate(mixtures)
                for offset, samples in _split(mixture.shape[-1], length, options)
            ]
            done = 0
            for batch in equal_length_batches(segments, attrgetter("padded"), options.batch_size or 1):
                inputs = [padded_slice(mixtures[each.song], each.offset - each.left, each.padded) for each in batch]
                outputs = self._run(index, torch.stack(inputs)).float()
                for each, output in zip(batch, outputs, strict=True):
                    span = slice(each.offset, each.offset + each.length)
                    weighted = triangle[: each.length] * output[:, each.left : each.left + each.length]
                    estimates[each.song][:, span] += weighted
                    totals[each.song][span] += triangle[: each.length]
                done += len(batch)
                progress((index + done / len(segments)) / len(self.weights))
            for song, (estimate, total) in enumerate(zip(estimates, totals, strict=True)):
                vocals[song] += weight / sum(self.weights) * estimate / total
        return vocals

    def _run(
        self, index: int, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch channels samples"]:
        network = self.network(index)
        if not self.training:  # a compiled network is not copied in training
            network = vocals_only(network)
        vocals: Tensor = network(mixture)[:, network.sources.index(VOCALS)]
        return vocals

    def _run_stems(
        self, index: int, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "2 batch channels samples"]:
        network = self.network(index)
        sources: Tensor = network(mixture)
        vocals = sources[:, network.sources.index(VOCALS)]
        total = sources.sum(1) if len(network.sources) > 1 else mixture
        return torch.stack([vocals, total - vocals])

    def _padded_samples(self, index: int, samples: int, segment: int) -> int:
        network = self.network(index)
        if isinstance(network, Demucs):
            return int(network.valid_length(samples))
        if isinstance(network, HDemucs) and not network.hybrid:
            return max(samples, int(network.nfft) // 2 + 1)  # its spectrogram reflects half a window at both ends
        if self._pads_to_segment[index] and not self.training:
            return max(samples, segment)
        return samples


@contextlib.contextmanager
def _no_mha_fastpath() -> Iterator[None]:
    """Disable PyTorch's fast path for transformer layers: it materializes attention matrices, and is slower here."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@dataclass(frozen=True)
class _Segment:
    """A segment of one of several songs, padded with silence at both ends if the network needs more samples."""

    song: int
    offset: int
    length: int
    padded: int

    @property
    def left(self) -> int:
        return (self.padded - self.length) // 2


def _split(samples: int, segment: int, options: SeparationOptions) -> Iterator[tuple[int, int]]:
    """Offset and length of the overlapping segments of a song; the last ones are shorter."""
    for offset in range(0, samples, _stride(segment, options)):
        yield offset, min(segment, samples - offset)


def _stride(segment: int, options: SeparationOptions) -> int:
    return max(1, int((1 - options.overlap) * segment))
