"""Mixture in, vocals out: Demucs separators, run over whole songs without a random number.

Conventions
- Samples are float32 at the separator's own rate, shaped `channels samples`.
- A separator keeps the networks of a Demucs bag that the bag's weights choose for the vocals, and no other.
- Weights are safetensors, or the older Demucs `.th` packages read with `torch.load(weights_only=True)`. Both name the
  class of their network; only Demucs' own network classes are ever built, whatever a file names.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from lyrics_asr.audio import SEPARATOR_SAMPLE_RATE_HZ
from lyrics_asr.models.segments import batches
from lyrics_asr.options import SeparationOptions

DemucsNetwork: TypeAlias = Demucs | HDemucs | HTDemucs

VOCALS = "vocals"


class Separator(nn.Module):
    """The vocals of a mixture, as the weighted mean of one or more Demucs networks; of none, the mixture itself.

    Args:
        name: what `load_separator` would find it by.
        networks: Demucs networks with a source named "vocals".
        weights: weight of each network in the mean; 1 for each when None.
    """

    def __init__(self, name: str, networks: Sequence[DemucsNetwork], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.name = name
        self.sample_rate_hz = int(networks[0].samplerate) if networks else SEPARATOR_SAMPLE_RATE_HZ
        self.audio_channels = int(networks[0].audio_channels) if networks else 2
        self.networks = nn.ModuleList(networks)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(networks)
        for network in networks:
            if VOCALS not in network.sources:
                raise ValueError(f"separator {name!r} gives {', '.join(network.sources)}: a source 'vocals' is needed")
        # HTDemucs would overwrite its own segment while it trains, and then cut songs differently: we pad in its place.
        self._pads_to_segment = tuple(getattr(network, "use_train_segment", False) for network in networks)
        for network in networks:
            if isinstance(network, HTDemucs):
                network.use_train_segment = False

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Vocals of one stretch of any length, in one piece and differentiable.

        In evaluation mode a stretch shorter than an HTDemucs segment is padded to it, as Demucs does; in training mode
        the network sees the stretch alone.
        """
        if not self.networks:
            return mixture
        self._check_channels(mixture.shape[-2])
        samples = mixture.shape[-1]
        vocals = torch.zeros_like(mixture)
        for index, weight in enumerate(self.weights):
            missing = self._padded_samples(index, samples) - samples
            padded = pad(mixture, (missing // 2, missing - missing // 2))
            vocals = vocals + weight * self._run(index, padded)[..., missing // 2 : missing // 2 + samples]
        return vocals / sum(self.weights)

    @torch.inference_mode()
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Vocals of whole songs, by overlap-add of segments with triangular weights (`demucs.apply.apply_model`).

        Segments of different songs share batches. The same songs always give the same vocals.

        Args:
            mixtures: whole songs at the separator's rate, on any device.
            options: overlap, batch size and precision.
            progress: called with the share that is done, in 0..1.

        Returns:
            The vocals of each song, on the separator's device.
        """
        if not (self.networks and mixtures):
            return list(mixtures)
        for mixture in mixtures:
            self._check_channels(mixture.shape[0])
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        try:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16")
            with autocast, _flash_attention():
                on_device = [mixture.detach().to(device) for mixture in mixtures]
                return self._overlap_add(on_device, options, progress or (lambda share: None))
        finally:
            self.train(was_training)

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """How a song can be separated in blocks as if in one piece.

        Returns:
            What the first sample of a block must be a multiple of, and how many samples at either end of a block, other
            than an end of the song, differ from those of the whole song and are to be left out.
        """
        segments = [self.segment_samples(index) for index in range(len(self.networks))]
        return math.lcm(*(_stride(segment, options) for segment in segments)), max(segments, default=0)

    def segment_samples(self, index: int) -> int:
        """Samples that network `index` of this separator takes at once in `separate`."""
        network = self.network(index)
        return int(network.samplerate * network.segment)

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
            segment = self.segment_samples(index)
            triangle = _triangle(segment).to(vocals[0].device)
            estimates = [torch.zeros_like(mixture) for mixture in mixtures]
            totals = [torch.zeros_like(mixture[0]) for mixture in mixtures]
            pieces = [
                _Piece(song, offset, length, self._padded_samples(index, length))
                for song, mixture in enumerate(mixtures)
                for offset, length in _segments(mixture.shape[-1], segment, options)
            ]
            done = 0
            for batch in batches(pieces, lambda piece: piece.padded, options.batch_size or 1):
                stretches = [_stretch(mixtures[each.song], each.offset - each.left, each.padded) for each in batch]
                outputs = self._run(index, torch.stack(stretches)).float()
                for each, output in zip(batch, outputs, strict=True):
                    span = slice(each.offset, each.offset + each.length)
                    weighted = triangle[: each.length] * output[:, each.left : each.left + each.length]
                    estimates[each.song][:, span] += weighted
                    totals[each.song][span] += triangle[: each.length]
                done += len(batch)
                progress((index + done / len(pieces)) / len(self.weights))
            for song, (estimate, total) in enumerate(zip(estimates, totals, strict=True)):
                vocals[song] += weight / sum(self.weights) * estimate / total
        return vocals

    def _run(
        self, index: int, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch channels samples"]:
        network = self.network(index)
        vocals: Tensor = network(mixture)[:, network.sources.index(VOCALS)]
        return vocals

    def _padded_samples(self, index: int, samples: int) -> int:
        network = self.network(index)
        if isinstance(network, Demucs):
            return int(network.valid_length(samples))
        if isinstance(network, HDemucs) and not network.hybrid:
            return max(samples, int(network.nfft) // 2 + 1)  # its spectrogram mirrors half a window beyond both ends
        if self._pads_to_segment[index] and not self.training:
            return max(samples, self.segment_samples(index))
        return samples

    def _check_channels(self, channels: int) -> None:
        if channels != self.audio_channels:
            raise ValueError(
                f"separator {self.name!r} takes {self.audio_channels} channels, the mixture has {channels}"
            )


def build_separator(kwargs: Mapping[str, Any], name: str = "custom") -> Separator:
    """A new Demucs network with random weights, to train from nothing.

    Args:
        kwargs: arguments of the network's class (sources, channels, depth, segment, ...) and, as `network`, the class:
            "HTDemucs" (the default), "HDemucs" or "Demucs".
        name: what the separator is to be called.

    Raises:
        ValueError: no such class.
    """
    classes: dict[str, type[DemucsNetwork]] = {each.__name__: each for each in (HTDemucs, HDemucs, Demucs)}
    arguments = dict(kwargs)
    class_name = arguments.pop("network", "HTDemucs")
    if class_name not in classes:
        raise ValueError(f"separator network {class_name!r} is unknown; choose one of {', '.join(classes)}")
    return Separator(name, [classes[class_name](**arguments)])


@contextlib.contextmanager
def _flash_attention() -> Iterator[None]:
    """Do without PyTorch's fast path of transformer layers, which writes out whole attention matrices and is slower."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _triangle(samples: int) -> Float[Tensor, " samples"]:
    rising = torch.arange(1, samples // 2 + 1)
    falling = torch.arange(samples - samples // 2, 0, -1)
    weight = torch.cat([rising, falling])
    return weight / weight.max()


@dataclass(frozen=True)
class _Piece:
    """A segment of one of several songs, with silence around it where the network takes more samples than it has."""

    song: int
    offset: int
    length: int
    padded: int

    @property
    def left(self) -> int:
        return (self.padded - self.length) // 2


def _segments(samples: int, segment: int, options: SeparationOptions) -> Iterator[tuple[int, int]]:
    """Where the segments of a song begin, and how long they are: the last ones are shorter."""
    for offset in range(0, samples, _stride(segment, options)):
        yield offset, min(segment, samples - offset)


def _stride(segment: int, options: SeparationOptions) -> int:
    return max(1, int((1 - options.overlap) * segment))


def _stretch(mixture: Float[Tensor, "channels samples"], start: int, samples: int) -> Float[Tensor, "channels stretch"]:
    """`samples` samples from `start` on, with silence before and after the song."""
    total = mixture.shape[-1]
    end = start + samples
    inside = mixture[:, max(0, start) : min(total, end)]
    return pad(inside, (max(0, -start), max(0, end - total)))
