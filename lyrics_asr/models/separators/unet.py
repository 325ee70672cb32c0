"""Vocal separation with two U-Nets on magnitude spectrograms, as in Spleeter.

Jansson et al. 2017, "Singing Voice Separation with Deep U-Net Convolutional Networks" (ISMIR), is the network: one for
the vocals, one for the accompaniment. Hennequin et al. 2020, "Spleeter: a fast and efficient music source separation
tool with pre-trained models" (JOSS), trained it and made a ratio mask of both estimates. With Spleeter's weights, the
output is Spleeter's.

Conventions
- The song is preceded by one window of silence, so that every sample is covered by four frames.
- The networks see patches of `patch_frames` frames and the lowest `bins` bins, one after the other, without overlap.
- Arrays of the network are shaped `batch channels frames bins`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, relu

from lyrics_asr.models.segments import padded_slice
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.options import SeparationOptions

SOURCES = ("vocals", "accompaniment")

_EPSILON = 1e-10
_OVERLAP = 4
"""Windows per sample: the hop is a quarter of the window."""
_WINDOW_GAIN = 2 / 3
"""At that hop, squared Hann windows sum to 3/2."""
_DROPOUT_LAYERS = 3


@dataclass(frozen=True)
class UNetConfig:
    """Spectrogram and networks; the defaults are Spleeter's.

    Args:
        sample_rate_hz: of the audio.
        audio_channels: input channels of the networks.
        n_fft: window of the spectrogram in samples; the hop is a quarter of it.
        bins: lowest frequency bins, which the networks see; the mask of the others is extended.
        patch_frames: frames that the networks see at a time.
        channels: output channels of the layers of the encoder, each of which halves frames and bins.

    Raises:
        ValueError: patches that the layers cannot halve, or more bins than the spectrogram has.
    """

    sample_rate_hz: int = 44_100
    audio_channels: int = 2
    n_fft: int = 4096
    bins: int = 1024
    patch_frames: int = 512
    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512)

    def __post_init__(self) -> None:
        divisor = self.frames_divisor
        for name, value in (("bins", self.bins), ("patch_frames", self.patch_frames)):
            if value < 1 or value % divisor:
                raise ValueError(
                    f"{name} of the U-Net is {value}; with {len(self.channels)} layers it must be a "
                    f"multiple of {divisor}"
                )
        if self.n_fft % _OVERLAP or self.bins > self.n_fft // 2 + 1:
            raise ValueError(
                f"n_fft of the U-Net is {self.n_fft}; it must be a multiple of {_OVERLAP} and have at "
                f"least {self.bins} bins"
            )

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.n_fft // _OVERLAP

    @property
    def frames_divisor(self) -> int:
        """Patches have a multiple of this number of frames."""
        return int(2 ** len(self.channels))


class UNet(nn.Module):
    """Estimates the magnitude spectrogram of one source in a mixture (Jansson et al. 2017, section 3.1).

    Padding is that of TensorFlow's "same", which adds one zero before and two after for these strides.

    Args:
        audio_channels: channels of the spectrogram.
        channels: output channels of the layers of the encoder.
    """

    def __init__(self, audio_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise((audio_channels, *channels))):
            self.encoder.append(_Down(inputs, outputs, normalized=index > 0))
        self.decoder = nn.ModuleList()
        for index, (inputs, outputs) in enumerate(pairwise((*reversed(channels), 1))):
            inputs_with_skip = 2 * inputs if index else inputs
            self.decoder.append(_Up(inputs_with_skip, outputs, dropout=0.5 if index < _DROPOUT_LAYERS else 0.0))
        self.decoder.append(nn.Conv2d(1, audio_channels, kernel_size=4, dilation=2, padding=3))
        # A quarter faster on CPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "UNet":
        """Training or evaluation mode.

        A frozen network, and frozen norms of one that is trained in part, stay in evaluation mode: nothing of them
        changes, and their output is that of inference.
        """
        super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def forward(
        self, magnitudes: Float[Tensor, "batch channels frames bins"]
    ) -> Float[Tensor, "batch channels frames bins"]:
        """The magnitudes of the source."""
        skips = [magnitudes]
        for down in self.encoder:
            skips.append(down(skips[-1]))
        hidden = skips.pop()
        *ups, mask = self.decoder
        for up in ups:
            hidden = up(hidden)
            if len(skips) > 1:
                hidden = torch.cat([skips.pop(), hidden], dim=1)
        estimate: Tensor = mask(hidden).sigmoid() * magnitudes
        return estimate


class _Down(nn.Module):
    """Halves frames and bins. Skip connections leave before the normalization, which is that of the next layer."""

    def __init__(self, inputs: int, outputs: int, *, normalized: bool) -> None:
        super().__init__()
        self.norm = _batch_norm(inputs) if normalized else None
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=5, stride=2)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.norm is not None:
            hidden = leaky_relu(self.norm(hidden), 0.2)
        convolved: Tensor = self.conv(pad(hidden, (1, 2, 1, 2)))
        return convolved


class _Up(nn.Module):
    """Doubles frames and bins."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, kernel_size=5, stride=2, padding=1)
        self.norm = _batch_norm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.dropout(self.norm(relu(self.conv(hidden)[..., :-1, :-1])))
        return doubled


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # the defaults of Keras


class UNetSeparator(Separator):
    """Estimates vocals by a ratio mask from two U-Nets. Mono mixtures are separated as stereo with equal channels.

    Args:
        name: the name that `load_separator` takes.
        config: spectrogram and networks.
    """

    def __init__(self, name: str, config: UNetConfig) -> None:
        networks = [UNet(config.audio_channels, config.channels) for _ in SOURCES]
        super().__init__(name, networks, config.sample_rate_hz, config.audio_channels)
        self.config = config
        self._window: Tensor
        self.register_buffer("_window", torch.hann_window(config.n_fft, device="cpu"), persistent=False)

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Separate songs of any length in one differentiable pass."""
        return self.stems(mixture)[0]

    def stems(
        self, mixture: Float[Tensor, "batch channels samples"], mask_extension: str = "zeros"
    ) -> Float[Tensor, "sources batch channels samples"]:
        """Vocals and accompaniment (`SOURCES`) of songs of any length, in one differentiable pass.

        Args:
            mixture: at the separator's rate.
            mask_extension: see `SeparationOptions`.
        """
        patch_frames, samples = self.config.patch_frames, mixture.shape[-1]
        patches = self._patches(samples, patch_frames)
        end = self._span_samples(patches * patch_frames) - self.config.n_fft - samples
        padded = pad(self._checked(mixture), (self.config.n_fft, end))
        stems = self._estimate(padded, patch_frames, mask_extension, len(SOURCES))
        return _as_channels(stems[..., self.config.n_fft : self.config.n_fft + samples], mixture.shape[-2])

    @torch.inference_mode()
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Separate whole songs, patch by patch.

        With `segment_seconds`, patches are shorter, which changes the result a little. Arguments, result and errors are
        those of `Separator.separate`.
        """
        config, device, was_training = self.config, self._window.device, self.training
        patch_frames = self._patch_frames(options)
        songs = [self._checked(mixture.to(device)) for mixture in mixtures]
        vocals = [torch.zeros_like(song) for song in songs]
        starts = [
            (index, patch * patch_frames * config.hop_samples - config.n_fft)
            for index, song in enumerate(songs)
            for patch in range(self._patches(song.shape[-1], patch_frames))
        ]
        batch_size = options.batch_size or 1
        self.eval()
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
                for first in range(0, len(starts), batch_size):
                    batch = starts[first : first + batch_size]
                    span = self._span_samples(patch_frames)
                    padded = torch.stack([padded_slice(songs[index], start, span) for index, start in batch])
                    (estimates,) = self._estimate(padded, patch_frames, options.mask_extension, 1)
                    for (index, start), estimate in zip(batch, estimates, strict=True):
                        end = min(start + span, songs[index].shape[-1])
                        inside = slice(max(0, start), end)
                        vocals[index][:, inside] += estimate[:, max(0, -start) : end - start]
                    if progress is not None:
                        progress(min(1.0, (first + batch_size) / len(starts)))
        finally:
            self.train(was_training)
        return [_as_channels(each, mixture.shape[0]) for each, mixture in zip(vocals, mixtures, strict=True)]

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """See `Separator.block_grid`."""
        patch_samples = self._patch_frames(options) * self.config.hop_samples
        return patch_samples, patch_samples + self.config.n_fft

    @property
    def settings(self) -> dict[str, object]:
        """See `Separator.settings`."""
        return {"spectrogram": self.config}

    def _estimate(
        self, padded: Float[Tensor, "batch channels samples"], patch_frames: int, mask_extension: str, sources: int
    ) -> Float[Tensor, "sources batch channels samples"]:
        """The first `sources` sources in whole patches."""
        config = self.config
        # Without autocast: bfloat16 has 8 bits of precision, too few for a waveform.
        with torch.autocast(padded.device.type, enabled=False):
            windows = padded.float().unfold(-1, config.n_fft, config.hop_samples) * self._window
            spectrum = torch.fft.rfft(windows)
            seen = spectrum[..., : config.bins].abs()
        batch, _, frames, _ = seen.shape
        patches = seen.unflatten(2, (frames // patch_frames, patch_frames)).transpose(1, 2).flatten(0, 1)
        magnitudes = [network(patches).float() for network in self.networks]
        with torch.autocast(padded.device.type, enabled=False):
            total = sum(each.square() for each in magnitudes) + _EPSILON
            waveforms = []
            for magnitude in magnitudes[:sources]:
                mask = (magnitude.square() + _EPSILON / len(magnitudes)) / total
                mask = mask.unflatten(0, (batch, frames // patch_frames)).transpose(1, 2).flatten(2, 3)
                waveforms.append(self._waveform(_masked(spectrum, mask, mask_extension)))
        return torch.stack(waveforms)

    def _waveform(
        self, spectrum: Complex[Tensor, "batch channels frames bins"]
    ) -> Float[Tensor, "batch channels samples"]:
        """Inverse STFT by overlap-add."""
        windows = torch.fft.irfft(spectrum, n=self.config.n_fft) * self._window * _WINDOW_GAIN
        hops = windows.unflatten(-1, (_OVERLAP, self.config.hop_samples))
        total = sum(pad(hops[..., index, :], (0, 0, index, _OVERLAP - 1 - index)) for index in range(_OVERLAP))
        assert isinstance(total, Tensor)
        return total.flatten(-2)

    def _patch_frames(self, options: SeparationOptions) -> int:
        if options.segment_seconds is None:
            return self.config.patch_frames
        divisor = self.config.frames_divisor
        frames = int(options.segment_seconds * self.sample_rate_hz / self.config.hop_samples)
        return min(self.config.patch_frames, max(1, frames // divisor) * divisor)

    def _patches(self, samples: int, patch_frames: int) -> int:
        """Number of patches of a song that is preceded by a window of silence."""
        return math.ceil((samples + self.config.n_fft) / self.config.hop_samples / patch_frames)

    def _span_samples(self, frames: int) -> int:
        return (frames - 1) * self.config.hop_samples + self.config.n_fft

    def _checked(self, mixture: Float[Tensor, "*batch channels samples"]) -> Float[Tensor, "*batch other samples"]:
        if mixture.shape[-2] == 1:
            return mixture.expand(*mixture.shape[:-2], self.audio_channels, -1)
        self._check_channels(mixture.shape[-2])
        return mixture


def _masked(
    spectrum: Complex[Tensor, "batch channels frames all"],
    mask: Float[Tensor, "batch channels frames bins"],
    extension: str,
) -> Complex[Tensor, "batch channels frames _"]:
    """The masked spectrum, without the bins above the mask if they are zero."""
    bins = mask.shape[-1]
    if extension == "zeros":
        return spectrum[..., :bins] * mask
    return torch.cat([spectrum[..., :bins] * mask, spectrum[..., bins:] * mask.mean(-1, keepdim=True)], dim=-1)


def _as_channels(
    estimate: Float[Tensor, "*batch channels samples"], channels: int
) -> Float[Tensor, "*batch other samples"]:
    return estimate.mean(-2, keepdim=True) if channels == 1 else estimate
