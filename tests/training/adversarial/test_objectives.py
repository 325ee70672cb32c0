"""Adversarial losses, against closed forms and NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from lyrics_asr.training.adversarial.discriminators import Discriminator, log_magnitudes
from lyrics_asr.training.adversarial.objectives import (
    FactorGAN,
    Sources,
    Wasserstein,
    gradient_penalty,
    logistic_loss,
    shuffled,
)
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


class Table(nn.Module):
    """A discriminator of one-hot spectrograms: a logit for each value, or for each pair of values."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits))

    def forward(self, sources):
        hot = sources[:, :, 0]
        if self.logits.dim() == 1:
            return hot[:, 0] @ self.logits
        return torch.einsum("bi,ij,bj->b", hot[:, 0], self.logits, hot[:, 1])


REAL = np.array([[8, 1, 1], [2, 6, 4], [0.5, 0.5, 9]]) * 2
SEPARATED = np.array([[3, 5, 2], [4, 4, 2], [1, 2, 7]])
"""Counts of pairs of values of vocals and accompaniment."""


def rows_of(counts):
    """Each pair as often as it counts."""
    vocals, accompaniment = (np.repeat(values.ravel(), counts.astype(int).ravel()) for values in np.indices((3, 3)))
    return Sources(*(torch.eye(3, dtype=torch.float64)[values][:, None, None] for values in (vocals, accompaniment)))


def all_pairs(sources):
    """The vocals of every row with the accompaniment of every row."""
    rows = len(sources.vocals)
    return Sources(sources.vocals.repeat_interleave(rows, 0), sources.accompaniment.repeat(rows, 1, 1, 1))


def optimal_factor_gan():
    """The discriminators that give the exact logarithms of their density ratios."""
    p, q = REAL / REAL.sum(), SEPARATED / SEPARATED.sum()
    objective = FactorGAN(SIZES)
    objective.vocals = Table(np.log(p.sum(1) / q.sum(1)))
    objective.accompaniment = Table(np.log(p.sum(0) / q.sum(0)))
    objective.real_dependency = Table(np.log(p / np.outer(p.sum(1), p.sum(0))))
    objective.separated_dependency = Table(np.log(q / np.outer(q.sum(1), q.sum(0))))
    return objective, np.log(p / q)


def test_the_exact_log_ratios_minimize_the_losses_of_all_four_discriminators():
    objective, _ = optimal_factor_gan()
    real, separated = rows_of(REAL), rows_of(SEPARATED)
    losses = [
        logistic_loss(objective.vocals, real.vocals, separated.vocals),
        logistic_loss(objective.accompaniment, real.accompaniment, separated.accompaniment),
        logistic_loss(objective.real_dependency, real.joint(), all_pairs(real).joint()),
        logistic_loss(objective.separated_dependency, separated.joint(), all_pairs(separated).joint()),
    ]
    torch.stack(losses).sum().backward()  # convex in the logits: where the gradient is 0, there is the minimum
    for name, parameter in objective.named_parameters():
        assert float(parameter.grad.abs().max()) < 1e-12, name
    objective.vocals.logits.grad = None
    solo = Sources(real.vocals, real.accompaniment)
    objective.discriminator_losses(solo, separated, real).total.backward()
    assert float(objective.vocals.logits.grad.abs().max()) < 1e-12


def test_the_sum_of_the_factors_is_the_log_ratio_of_the_joint_distributions():
    objective, expected = optimal_factor_gan()
    cells = rows_of(np.ones((3, 3)))
    assert objective.log_ratio(cells).detach().numpy() == pytest.approx(expected.ravel(), abs=1e-12)
    # -log of the probability that a pair is real: p / (p + q)
    p, q = REAL.ravel() / REAL.sum(), SEPARATED.ravel() / SEPARATED.sum()
    assert float(objective.separator_loss(cells)) == pytest.approx(float(-np.log(p / (p + q)).mean()))


def test_shuffling_pairs_every_row_with_another_and_keeps_the_sources():
    numbers = torch.arange(5.0).reshape(5, 1, 1, 1)
    for seed in range(10):
        torch.manual_seed(seed)
        both = shuffled(Sources(numbers, numbers))
        assert (both.vocals != both.accompaniment).all()
        assert sorted(both.accompaniment.flatten().tolist()) == [0, 1, 2, 3, 4]
