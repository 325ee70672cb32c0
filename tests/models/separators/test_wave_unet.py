"""The Wave-U-Net against a forward pass in NumPy with the paper's convolutions, which are not padded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator
from lyrics_asr.models.separators.wave_unet import WaveUNet, WaveUNetConfig, WaveUNetSeparator
from lyrics_asr.options import SeparationOptions

CONFIG = WaveUNetConfig(sample_rate_hz=1000, audio_channels=2, levels=3, filters=3, encoder_kernel=5, decoder_kernel=3)
WITHOUT_SKIPS = replace(CONFIG, skip_connections=False)


def built(config):
    torch.manual_seed(1)
    return WaveUNetSeparator("tiny", config).eval()


@pytest.fixture
def separator():
    return built(CONFIG)


def song(samples, channels=2, seed=0):
    return 0.5 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


class Signal:
    """Values at every step of its level, from step `first` on; convolutions shorten it, as in the paper."""

    def __init__(self, values, first):
        self.values, self.first = values, first

    def convolved(self, layer):
        weight, bias = (each.detach().double().numpy() for each in (layer.weight, layer.bias))
        kernel = weight.shape[2]
        count = self.values.shape[1] - kernel + 1
        windows = np.stack([self.values[:, tap : tap + count] for tap in range(kernel)])
        return Signal(np.einsum("oik,kit->ot", weight, windows) + bias[:, None], self.first + kernel // 2)

    def rectified(self):
        return Signal(np.where(self.values > 0, self.values, 0.2 * self.values), self.first)

    def decimated(self):
        odd = self.first % 2
        return Signal(self.values[:, odd::2], (self.first + odd) // 2)

    def interpolated(self):
        doubled = np.zeros((self.values.shape[0], 2 * self.values.shape[1] - 1))
        doubled[:, ::2] = self.values
        doubled[:, 1::2] = (self.values[:, 1:] + self.values[:, :-1]) / 2
        return Signal(doubled, 2 * self.first)

    def cropped(self, first, last):
        return self.values[:, first - self.first : last - self.first]

    def beside(self, other):
        first = max(self.first, other.first)
        last = min(each.first + each.values.shape[1] for each in (self, other))
        return Signal(np.concatenate([self.cropped(first, last), other.cropped(first, last)]), first)


def reference(network, mixture):
    """Vocals of a song, computed from the song in silence."""
    config, samples = network.config, mixture.shape[1]
    silence = 2 * config.context_samples
    padded = np.pad(mixture.double().numpy(), ((0, 0), (silence, silence + -samples % config.stride_samples)))
    whole = hidden = Signal(padded, -silence)
    skips = []
    for layer in network.encoder[:-1]:
        skips.append(hidden.convolved(layer).rectified())
        hidden = skips[-1].decimated()
    hidden = hidden.convolved(network.encoder[-1]).rectified()
    for layer in network.decoder[:-1]:
        hidden, skip = hidden.interpolated(), skips.pop()
        hidden = (skip.beside(hidden) if config.skip_connections else hidden).convolved(layer).rectified()
    hidden = (whole.beside(hidden) if config.skip_connections else hidden).convolved(network.decoder[-1])
    return torch.from_numpy(np.tanh(hidden.cropped(0, samples))).float()


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_SKIPS])
@pytest.mark.parametrize("samples", [1, 8, 100])
def test_vocals_are_those_of_convolutions_without_padding(config, samples):
    separator, mixture = built(config), song(samples)
    with torch.no_grad():
        vocals = separator(mixture[None])[0]
    torch.testing.assert_close(vocals, reference(separator.networks[0], mixture), atol=1e-6, rtol=0)
    assert vocals.std() > 1e-3


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, levels=1, decoder_kernel=1)])
def test_outputs_depend_on_no_more_than_the_context(config):
    network, context = WaveUNet(config), config.context_samples
    mixture = torch.randn(1, 2, 4 * context + 1, requires_grad=True)
    for sample in range(2 * context, 2 * context + config.stride_samples):
        (gradient,) = torch.autograd.grad(network(mixture)[..., sample].sum(), mixture)
        seen = gradient.abs().sum((0, 1)).nonzero()[:, 0]
        assert sample - context < seen[0] < sample < seen[-1] < sample + context


def test_features_of_a_level_stand_at_its_steps(separator):
    """Features move by 2^(levels - l) steps of level l when the song moves by one stride, of 2^levels samples."""
    network, stride = separator.networks[0], CONFIG.stride_samples
    mixture = torch.randn(1, 2, 60 * stride + 1)
    with torch.no_grad():
        for level, per_stride in ((0, 8), (1, 4), (2, 2), (3, 1)):
            features = network.features(mixture, level)[..., 20 * per_stride : 40 * per_stride]
            moved = network.features(mixture[..., stride:], level)[..., 19 * per_stride : 39 * per_stride]
            assert features.shape == (1, CONFIG.channels(level), 20 * per_stride)
            torch.testing.assert_close(features, moved, atol=1e-6, rtol=0)


@pytest.mark.parametrize("samples", [1, 7, 200, 777])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_segments_give_what_the_whole_song_gives(separator, samples, batch_size):
    mixture, shares = song(samples), []
    with torch.no_grad():
        whole = separator(mixture[None])[0]
    options = SeparationOptions(batch_size=batch_size, segment_seconds=0.1)
    (vocals,) = separator.separate([mixture], options, shares.append)
    torch.testing.assert_close(vocals, whole, atol=1e-6, rtol=0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_stems_are_the_vocals_and_what_they_leave(separator):
    stems = separator.stems(song(3000)[None])
    assert torch.equal(stems[0], separator(song(3000)[None]))
    torch.testing.assert_close(stems.sum(0), song(3000)[None])


def test_songs_that_share_batches_are_as_each_alone(separator):
    songs = [song(500), song(30, seed=1), song(900, seed=2)]
    together = separator.separate(songs, SeparationOptions(batch_size=4, segment_seconds=0.2))
    for mixture, vocals in zip(songs, together, strict=True):
        (alone,) = separator.separate([mixture], SeparationOptions())
        torch.testing.assert_close(vocals, alone, atol=1e-6, rtol=0)
    assert separator.separate([], SeparationOptions()) == []
    with pytest.raises(ValueError, match="'tiny' takes 2 channels, the mixture has 1"):
        separator.separate([song(50, channels=1)], SeparationOptions())


def test_blocks_on_the_grid_give_what_the_whole_song_gives(separator):
    mixture, options = song(1200), SeparationOptions()
    (whole,) = separator.separate([mixture], options)
    grid, context = separator.block_grid(options)
    for start, end in ((0, 500), (30 * grid, 30 * grid + 477)):
        (block,) = separator.separate([mixture[:, start:end]], options)
        kept = slice(context if start else 0, end - start - context)
        torch.testing.assert_close(block[:, kept], whole[:, start:end][:, kept], atol=1e-6, rtol=0)


def test_gradients_reach_the_mixture_and_all_weights(separator):
    mixture = song(300)[None].requires_grad_()
    separator.train()(mixture).square().sum().backward()
    assert mixture.grad.abs().sum() > 0
    for name, parameter in separator.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_saved_and_loaded(separator, tmp_path):
    save_separator(separator, tmp_path, half=False)
    again = load_separator(str(tmp_path))
    assert again.config == CONFIG
    assert not again.training
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, separator.state_dict()[name], rtol=0, atol=0)
    (tmp_path / "wave_unet.yaml").write_text(
        (tmp_path / "wave_unet.yaml").read_text().replace("levels: 3", "levels: 2")
    )
    with pytest.raises(ValueError, match=r"wave_unet\.safetensors: damaged, or not the weights of wave_unet\.yaml"):
        load_separator(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels of the Wave-U-Net 0 is out of range; it must be at least 1"),
        ({"decoder_kernel": 4}, "decoder_kernel of the Wave-U-Net 4 is out of range; it must be odd"),
        ({"layers": 4}, "WaveUNet: .*layers"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_separator({"network": "WaveUNet", **arguments})


def test_built_by_name():
    built = build_separator({"network": "WaveUNet", "levels": 2, "filters": 4, "sample_rate_hz": 16_000})
    assert built.config == WaveUNetConfig(sample_rate_hz=16_000, levels=2, filters=4)
