"""Vocal separation with two U-Nets on magnitude spectrograms, as in Spleeter.

One network estimates the vocals and one the accompaniment, see `unet_network`. Hennequin et al. 2020, "Spleeter: a fast
and efficient music source separation tool with pre-trained models" (JOSS), trained them and made a ratio mask of both
estimates. With Spleeter's weights, the output is Spleeter's.

Conventions
- The song is preceded by one window of silence, so that every sample is covered by four frames.
- The networks see patches of `patch_frames` frames and the lowest `bins` bins, one after the other, without overlap.
- Arrays of the network are shaped `batch channels frames bins`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from lyrics_asr.models.precision import computing_in
from lyrics_asr.models.segments import padded_slice
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.pitch_salience import PitchSalience
from lyrics_asr.models.separators.unet_network import UNet
from lyrics_asr.options import SeparationOptions, check_range

SOURCES = ("vocals", "accompaniment")

_EPSILON = 1e-10
_OVERLAP = 4
"""Windows per sample: the hop is a quarter of the window."""
_WINDOW_GAIN = 2 / 3
"""At that hop, squared Hann windows sum to 3/2."""


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
        skip_connections: whether layers of the decoder see the output of the encoder's layer of their size.
        pitch_channels: channels of the network that estimates the F0 of the vocals, see `pitch_salience`; 0 for none.

    Raises:
        ValueError: patches that the layers cannot halve, more bins than the spectrogram has, or negative channels.
    """

    sample_rate_hz: int = 44_100
    audio_channels: int = 2
    n_fft: int = 4096
    bins: int = 1024
    patch_frames: int = 512
    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    skip_connections: bool = True
    pitch_channels: int = 0

    def __post_init__(self) -> None:
        divisor = self.frames_divisor
        for name, value in (("bins", self.bins), ("patch_frames", self.patch_frames)):
            if value < 1 or value % divisor:
                raise ValueError(
                    f"{name} of the U-Net is {value}; with {len(self.channels)} layers it must be a "
                    f"multiple of {divisor}"
                )
        check_range("pitch_channels of the U-Net", self.pitch_channels, self.pitch_channels >= 0, "at least 0")
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


class UNetSeparator(Separator):
    """Estimates vocals by a ratio mask from two U-Nets. Mono mixtures are separated as stereo with equal channels.

    Args:
        name: the name that `load_separator` takes.
        config: spectrogram and networks.
    """

    runs_in_openvino = True

    def __init__(self, name: str, config: UNetConfig) -> None:
        networks = []
        for _ in SOURCES:
            networks.append(UNet(config.audio_channels, config.channels, skip_connections=config.skip_connections))
        super().__init__(name, networks, config.sample_rate_hz, config.audio_channels)
        self.config = config
        if config.pitch_channels:
            self.pitch = PitchSalience(config.pitch_channels)
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
        stems = self._estimate(self.networks, padded, patch_frames, mask_extension, len(SOURCES))
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
        networks: Iterable[Callable[[Tensor], Tensor]] = self.networks
        if options.runtime == "openvino":
            from lyrics_asr.models.openvino_network import OpenVINONetwork

            networks = [OpenVINONetwork(network, options.precision) for network in self.networks]
        try:
            with computing_in(options.precision, device):
                for first in range(0, len(starts), batch_size):
                    batch = starts[first : first + batch_size]
                    span = self._span_samples(patch_frames)
                    padded = torch.stack([padded_slice(songs[index], start, span) for index, start in batch])
                    (estimates,) = self._estimate(networks, padded, patch_frames, options.mask_extension, 1)
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
        self,
        networks: Iterable[Callable[[Tensor], Tensor]],
        padded: Float[Tensor, "batch channels samples"],
        patch_frames: int,
        mask_extension: str,
        sources: int,
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
        magnitudes = [network(patches).float() for network in networks]
        with torch.autocast(padded.device.type, enabled=False):
            total = sum(each.square() for each in magnitudes) + _EPSILON
            waveforms = []
            for magnitude in magnitudes[:sources]:
                mask = (magnitude.square() + _EPSILON / len(magnitudes)) / total
                mask = mask.reshape(batch, frames // patch_frames, *mask.shape[1:]).transpose(1, 2).flatten(2, 3)
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
