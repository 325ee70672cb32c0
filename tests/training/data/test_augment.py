"""Augmentation by recording conditions: levels, alignment, what happens to stems, and reproducibility."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lyrics_asr.training.data.augment import CODECS, augment, coded, noise_for, reverberated
from lyrics_asr.training.data.cut_reader import Row
from lyrics_asr.training.data.options import AugmentationOptions

NOTHING = AugmentationOptions(speeds=[1.0], gain_db=0.0, remix_prob=0.0)
EVERYTHING = replace(NOTHING, equalizer_prob=1.0, reverberation_prob=1.0, noise_prob=1.0, codec_prob=1.0)


def music(channels: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Band-limited noise in bursts, which has one clear correlation peak."""
    noise = torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool1d(noise[None], 5, 1, 2)[0]
    return 0.2 * smooth * (torch.arange(samples) // 3000 % 2)


def row(rate: int, *, stems: bool = True, seed: int = 0) -> Row:
    vocals, accompaniment = music(2, 2 * rate), music(2, 2 * rate, seed=1)
    rng = np.random.default_rng(seed)
    if stems:
        return Row("a", "a", vocals, accompaniment, None, [], [], rng)
    return Row("a", "a", None, None, vocals + accompaniment, [], [], rng)


def lag(delayed: torch.Tensor, original: torch.Tensor) -> int:
    size = 2 * original.shape[1]
    spectra = torch.fft.rfft(delayed, size) * torch.fft.rfft(original, size).conj()
    best = int(torch.fft.irfft(spectra, size).sum(0).argmax())
    return best if best < original.shape[1] else best - size


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("codec", CODECS)
def test_what_a_codec_gives_back_is_aligned(codec, channels, rate):
    original = music(channels, rate + 123)
    output = coded(original, rate, codec, 64)
    assert output.shape == original.shape
    assert lag(output, original) == 0
    assert not torch.equal(output, original)
    assert torch.corrcoef(torch.stack([output.flatten(), original.flatten()]))[0, 1] > 0.8


def test_noise_has_the_ratio_that_is_asked_for():
    signal, rng = music(2, 16_000), np.random.default_rng(0)
    noise = noise_for(signal, 16_000, 12.0, rng)
    ratio = signal.square().mean() / noise.square().mean()
    assert 10 * float(ratio.log10()) == pytest.approx(12.0, abs=1e-3)
    assert not noise_for(torch.zeros(1, 100), 16_000, 12.0, rng).any()


def test_reverberation_keeps_the_direct_sound_in_place():
    click = torch.zeros(2, 16_000)
    click[:, 5_000] = 1.0
    output = reverberated(click, 16_000, 5, 0.2)
    assert output[:, 5_000].tolist() == pytest.approx([0.8, 0.8], abs=0.1)
    assert not output[:, :5_000].abs().gt(1e-4).any()
    assert output[:, 5_001:].square().sum() > 0.05


@pytest.mark.parametrize("effect", ["equalizer_prob", "reverberation_prob"])
def test_linear_effects_change_stems_alike(effect):
    """The sum of the stems is what the effect makes of their sum."""
    options = replace(NOTHING, **{effect: 1.0})
    stems, whole = (augment(row(16_000, stems=each), options, 16_000) for each in (True, False))
    torch.testing.assert_close(stems.mixture, whole.unseparated, rtol=0, atol=1e-5)
    assert not torch.allclose(stems.vocals, row(16_000).vocals, atol=1e-3)


@pytest.mark.parametrize("effect", ["noise_prob", "codec_prob"])
def test_noise_and_codecs_leave_the_vocals_alone(effect):
    options = replace(NOTHING, **{effect: 1.0})
    stems, whole = (augment(row(16_000, stems=each), options, 16_000) for each in (True, False))
    assert torch.equal(stems.vocals, row(16_000).vocals)
    torch.testing.assert_close(stems.mixture, whole.unseparated, rtol=0, atol=1e-5)
    assert not torch.allclose(stems.mixture, row(16_000).mixture, atol=1e-3)


def test_separated_vocals_are_changed():
    vocals = replace(row(16_000), accompaniment=None, vocals=music(1, 16_000))
    output = augment(vocals, EVERYTHING, 44_100)
    assert output.vocals.shape == vocals.vocals.shape
    assert not torch.allclose(output.vocals, vocals.vocals, atol=1e-3)


def test_the_same_generator_draws_the_same_effects():
    once, again, other = (augment(row(16_000, seed=seed), EVERYTHING, 16_000).mixture for seed in (3, 3, 4))
    assert torch.equal(once, again)
    assert once.shape == other.shape
    assert not torch.equal(once, other)
    unchanged = row(16_000)
    assert augment(unchanged, NOTHING, 16_000) is unchanged
