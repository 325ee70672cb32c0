import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from scripts.fit_confidence import area_under_roc, fit, report


def made(count):
    """Features, and truth drawn from a logistic function of them with weights 2, -1 and 0.5."""
    generator = np.random.default_rng(0)
    features = np.column_stack([generator.normal(size=(count, 2)), np.ones(count)])
    right = generator.random(count) < 1 / (1 + np.exp(-features @ [2.0, -1.0, 0.5]))
    return features, right


def test_known_weights_are_found():
    assert fit(*made(20_000)) == pytest.approx([2.0, -1.0, 0.5], abs=0.1)


def test_probabilities_of_held_out_songs_are_calibrated(capsys):
    features, right = made(5_000)
    weights = report("word", features, right, np.arange(5_000) % 12)
    assert weights == pytest.approx([2.0, -1.0, 0.5], abs=0.2)
    printed = capsys.readouterr().out
    assert float(printed.split("ECE ")[1].split()[0]) < 0.03


def test_area_under_roc_is_that_of_scipy():
    generator = np.random.default_rng(1)
    probabilities, right = generator.integers(0, 10, 200) / 10, generator.random(200) < 0.3
    expected = mannwhitneyu(probabilities[right], probabilities[~right]).statistic / (right.sum() * (~right).sum())
    assert area_under_roc(probabilities, right) == pytest.approx(expected)
