"""Vocal separation on the waveform with a Wave-U-Net.

Stoller, Ewert and Dixon 2018, "Wave-U-Net: A Multi-Scale Neural Network for End-to-End Audio Source Separation"
(ISMIR). This is its model M4 for singing voices: linear interpolation in the decoder, input context, and the
accompaniment as the difference between mixture and vocals.

Conventions
- A song is surrounded by silence of `context_samples`, so that no output depends on how convolutions are padded. This
  replaces the convolutions without padding of the paper, and has the same output.
- Inputs of the network have a multiple of `stride_samples` samples, plus one. Then every level begins and ends with a
  sample that decimation keeps, and features at level l stand at multiples of 2^l samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad

from lyrics_asr.models.precision import computing_in
from lyrics_asr.models.segments import equal_length_batches, padded_slice
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.options import SeparationOptions, check_range

_SEGMENT_SECONDS = 20.0


@dataclass(frozen=True)
class WaveUNetConfig:
    """Sizes of a Wave-U-Net; the defaults are those of the paper's M4.

    Args:
        sample_rate_hz: of the audio.
        audio_channels: of the audio.
        levels: of the encoder, each of which halves the sample rate.
        filters: output channels of the first level; each level has as many more.
        encoder_kernel: samples that convolutions of the encoder span; odd.
        decoder_kernel: samples that convolutions of the decoder span; odd.
        skip_connections: whether the decoder sees the features of the encoder at its level.

    Raises:
        ValueError: sizes below 1, or a kernel of even size.
    """

    sample_rate_hz: int = 22_050
    audio_channels: int = 1
    levels: int = 12
    filters: int = 24
    encoder_kernel: int = 15
    decoder_kernel: int = 5
    skip_connections: bool = True

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "audio_channels", "levels", "filters"):
            check_range(f"{name} of the Wave-U-Net", getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("encoder_kernel", "decoder_kernel"):
            check_range(f"{name} of the Wave-U-Net", getattr(self, name), getattr(self, name) % 2 == 1, "odd")

    @property
    def stride_samples(self) -> int:
        """Samples from one step of the lowest level to the next."""
        return int(2**self.levels)

    @property
    def context_samples(self) -> int:
        """Samples on either side that an output depends on at most, as a multiple of the stride.

        A convolution of the encoder at level l reaches (kernel - 1) / 2 steps of 2^l samples. So the encoder with its
        lowest convolution reaches less than (kernel - 1) strides in all, and the decoder, whose interpolation reaches
        one more step, less than (kernel + 1) / 2.
        """
        return (self.encoder_kernel - 1 + (self.decoder_kernel + 1) // 2) * self.stride_samples

    def channels(self, level: int) -> int:
        """Output channels of a level, counted from 0; `levels` is the lowest one, between encoder and decoder."""
        return self.filters * (level + 1)


class WaveUNet(nn.Module):
    """Convolutions over ever lower sample rates and back, on the waveform (section 3 of the paper).

    Args:
        config: sizes.
    """

    def __init__(self, config: WaveUNetConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [config.channels(level) for level in range(config.levels + 1)]
        self.encoder = nn.ModuleList(
            _convolution(inputs, outputs, config.encoder_kernel)
            for inputs, outputs in pairwise((config.audio_channels, *sizes))
        )
        self.decoder = nn.ModuleList(
            _convolution(below + own * config.skip_connections, own, config.decoder_kernel)
            for below, own in pairwise(reversed(sizes))
        )
        with_mixture = sizes[0] + config.audio_channels * config.skip_connections
        self.decoder.append(_convolution(with_mixture, config.audio_channels, 1))

    def features(
        self, mixture: Float[Tensor, "batch channels samples"], level: int
    ) -> Float[Tensor, "batch features steps"]:
        """The decoder's features at a level; its steps are 2^level samples apart, and the first is the first sample.

        Args:
            mixture: a multiple of the stride, plus one.
            level: 0 is that of the waveform; the lowest one, `levels`, is that below the decoder.
        """
        hidden, skips = mixture, []
        *downs, bottom = self.encoder
        for down in downs:
            skips.append(leaky_relu(down(hidden), 0.2))
            hidden = skips[-1][..., ::2]
        hidden = leaky_relu(bottom(hidden), 0.2)
        for up in self.decoder[: self.config.levels - level]:
            hidden = interpolate(hidden, size=2 * hidden.shape[-1] - 1, mode="linear", align_corners=True)
            skip = skips.pop()
            if self.config.skip_connections:
                hidden = torch.cat([skip, hidden], dim=1)
            hidden = leaky_relu(up(hidden), 0.2)
        return hidden

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """The vocals, of a multiple of the stride, plus one."""
        hidden = self.features(mixture, 0)
        if self.config.skip_connections:
            hidden = torch.cat([mixture, hidden], dim=1)
        vocals: Tensor = self.decoder[-1](hidden).tanh()
        return vocals

    def padded(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels more"]:
        """Audio of any length, surrounded by context, as the network takes it."""
        context, stride = self.config.context_samples, self.config.stride_samples
        return pad(mixture, (context, context + -mixture.shape[-1] % stride + 1))


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)


class WaveUNetSeparator(Separator):
    """Estimates vocals by a Wave-U-Net.

    Args:
        name: the name that `load_separator` takes.
        config: sizes.
    """

    def __init__(self, name: str, config: WaveUNetConfig) -> None:
        super().__init__(name, [WaveUNet(config)], config.sample_rate_hz, config.audio_channels)
        self.config = config

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Separate songs of any length in one differentiable pass."""
        self._check_channels(mixture.shape[-2])
        context, (network,) = self.config.context_samples, self.networks
        assert isinstance(network, WaveUNet)
        vocals: Tensor = network(network.padded(mixture))[..., context : context + mixture.shape[-1]]
        return vocals

    @torch.inference_mode()
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Separate whole songs, segment by segment with context on both sides; the result is that of `forward`.

        Arguments, result and errors are those of `Separator.separate`.
        """
        for mixture in mixtures:
            self._check_channels(mixture.shape[0])
        device, was_training = next(self.parameters()).device, self.training
        songs = [mixture.to(device) for mixture in mixtures]
        vocals = [torch.zeros_like(song) for song in songs]
        stride, context = self.config.stride_samples, self.config.context_samples
        seconds = options.segment_seconds or _SEGMENT_SECONDS
        longest = max(1, int(seconds * self.sample_rate_hz) // stride) * stride
        segments = []
        for index, song in enumerate(songs):
            for start in range(0, song.shape[-1], longest):
                samples = min(longest, -(-(song.shape[-1] - start) // stride) * stride)
                segments.append(_Segment(index, start, samples))
        done = 0
        self.eval()
        try:
            with computing_in(options.precision, device):
                for batch in equal_length_batches(segments, attrgetter("samples"), options.batch_size or 1):
                    inputs = [
                        padded_slice(songs[each.song], each.start - context, each.samples + 2 * context + 1)
                        for each in batch
                    ]
                    outputs = self.networks[0](torch.stack(inputs)).float()
                    for each, output in zip(batch, outputs, strict=True):
                        own = vocals[each.song][:, each.start : each.start + each.samples]
                        own.copy_(output[:, context : context + own.shape[-1]])
                    done += len(batch)
                    if progress is not None:
                        progress(done / len(segments))
        finally:
            self.train(was_training)
        return vocals

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """See `Separator.block_grid`."""
        return self.config.stride_samples, self.config.context_samples

    @property
    def settings(self) -> dict[str, object]:
        """See `Separator.settings`."""
        return {"network": self.config}


@dataclass(frozen=True)
class _Segment:
    """Samples of one of several songs, a multiple of the stride, perhaps past its end."""

    song: int
    start: int
    samples: int
