"""Adversarial losses, against closed forms and NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from lyrics_asr.training.adversarial.discriminators import Discriminator, log_magnitudes
from lyrics_asr.training.adversarial.objectives import Sources, Wasserstein, gradient_penalty
from lyrics_asr.training.adversarial.options import AdversarialOptions

SIZES = AdversarialOptions("wasserstein", ["vocals"], ["rest"], n_fft=32, patch_frames=8, filters=2)


class Linear(nn.Module):
    """A critic whose gradient is its weights everywhere."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights))

    def forward(self, sources):
        return (sources * self.weights).flatten(1).sum(1)


def spectrograms(rows, seed):
    return torch.randn(rows, 1, 8, 16, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_the_gradient_penalty_of_a_linear_critic_is_that_of_the_norm_of_its_weights(norm):
    weights = spectrograms(1, 0)
    critic = Linear(norm * weights / weights.norm())
    penalty = gradient_penalty(critic, spectrograms(3, 1), spectrograms(5, 2))
    assert float(penalty) == pytest.approx((norm - 1) ** 2, abs=1e-12)
    penalty.backward()  # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    torch.testing.assert_close(critic.weights.grad, 2 * (norm - 1) * critic.weights.detach() / norm)


def test_the_losses_of_critics_and_separator_are_those_of_numpy():
    objective = Wasserstein(SIZES).double()
    objective.vocals, objective.accompaniment = Linear(spectrograms(1, 3)), Linear(spectrograms(1, 4))
    solo, separated = (Sources(spectrograms(3, 5), spectrograms(4, 6)), Sources(spectrograms(2, 7), spectrograms(2, 8)))
    losses = objective.discriminator_losses(solo, separated, None)

    def score(weights, sound):
        return np.tensordot(sound.numpy(), weights.detach().numpy()[0], 3)

    distances, penalties, separator_loss = 0.0, 0.0, 0.0
    for name in ("vocals", "accompaniment"):
        weights = getattr(objective, name).weights
        fake = score(weights, getattr(separated, name))
        distances += score(weights, getattr(solo, name)).mean() - fake.mean()
        penalties += (np.linalg.norm(weights.detach().numpy()) - 1) ** 2
        separator_loss -= fake.mean()
    assert float(losses.total) == pytest.approx(10 * penalties - distances)
    assert float(losses.terms["vocals distance"] + losses.terms["accompaniment distance"]) == pytest.approx(distances)
    assert float(objective.separator_loss(separated)) == pytest.approx(separator_loss)


def test_spectrograms_are_those_of_numpy():
    options = AdversarialOptions("wasserstein", ["vocals"], ["rest"], n_fft=16, patch_frames=8)
    sound = torch.randn(2, 2, options.patch_samples, generator=torch.Generator().manual_seed(0))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16) / 16)
    expected = [
        [np.log1p(np.abs(np.fft.rfft(window * row[8 * frame : 8 * frame + 16])[:-1])) for frame in range(8)]
        for row in sound.mean(1).numpy()
    ]
    assert log_magnitudes(sound, options).numpy()[:, 0] == pytest.approx(np.array(expected), abs=1e-5)


def test_spectral_normalization_bounds_the_slope_of_a_discriminator():
    torch.manual_seed(0)
    bounded, free = (Discriminator(2, SIZES, spectral=spectral) for spectral in (True, False))
    with torch.no_grad():
        for layer in [*bounded.modules(), *free.modules()]:
            for parameter in layer.parameters(recurse=False):
                parameter.mul_(20)
    sources = torch.randn(4, 2, 8, 16).requires_grad_()
    for _ in range(30):  # power iterations
        bounded(sources)
    scores = [network(sources).sum() for network in (bounded, free)]
    slopes = [torch.autograd.grad(score, sources)[0].flatten(1).norm(dim=1) for score in scores]
    # PyTorch normalizes the kernel as a matrix: a convolution with 4 x 4 taps and stride 2 has a slope of at most 2.
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in bounded.modules())
    assert float(slopes[0].max()) <= 2**convolutions
    assert float(slopes[1].min()) > 2**convolutions
