from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.evaluation.aggregation import METRICS, aggregate, estimate
from lyrics_asr.evaluation.calibration import BINS, area_under_roc, reliability

pairs = st.lists(st.tuples(st.integers(0, 20).map(lambda twentieths: twentieths / 20), st.booleans()), min_size=1)
ECE, AUC = METRICS["word_confidence_ece"], METRICS["word_confidence_auc"]


def arrays(given_pairs):
    return np.array([pair[0] for pair in given_pairs]), np.array([pair[1] for pair in given_pairs])


def auc_by_brute_force(given_pairs):
    """The share of all couples of a right and a wrong one in which the right one has the higher confidence."""
    right, wrong = ([c for c, is_right in given_pairs if is_right == side] for side in (True, False))
    wins = [Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0) for a, b in product(right, wrong)]
    return float(sum(wins) / len(wins)) if wins else None


def ece_by_brute_force(given_pairs):
    """Guo et al. 2017, eq. 3, bin by bin; a bin is [k / 10, (k + 1) / 10), the last one with 1."""
    error = Fraction(0)
    for number in range(BINS):
        inside = [(Fraction(round(20 * c), 20), is_right) for c, is_right in given_pairs]
        inside = [pair for pair in inside if number == min(int(10 * pair[0]), BINS - 1)]
        error += abs(sum(is_right for _, is_right in inside) - sum(c for c, _ in inside))
    return float(error / len(given_pairs))


def statistics_of(given_pairs):
    bins = reliability(*arrays(given_pairs))
    return (*bins.counts.tolist(), *bins.confidences.tolist(), *bins.right.tolist()), tuple(
        number for confidence, is_right in given_pairs for number in (confidence, int(is_right))
    )


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_error_and_area_are_those_of_brute_force(given_pairs):
    assert reliability(*arrays(given_pairs)).expected_calibration_error == pytest.approx(
        ece_by_brute_force(given_pairs)
    )
    (area,) = area_under_roc(*arrays(given_pairs))
    expected = auc_by_brute_force(given_pairs)
    assert np.isnan(area) if expected is None else area == pytest.approx(expected)


@settings(max_examples=5, deadline=None)
@given(st.lists(pairs, min_size=2, max_size=4))
def test_songs_are_pooled_and_resampled_as_their_pairs_are(songs):
    """Estimates and intervals, each resample written out."""
    draws = np.random.default_rng(0).multinomial(len(songs), np.full(len(songs), 1 / len(songs)), size=2000)
    distinct, which = np.unique(draws, axis=0, return_inverse=True)
    for metric, of_song, by_brute_force in ((ECE, 0, ece_by_brute_force), (AUC, 1, auc_by_brute_force)):
        statistics = [statistics_of(song)[of_song] for song in songs]
        expected = by_brute_force([pair for song in songs for pair in song])
        assert aggregate(metric, statistics) == (None if expected is None else pytest.approx(expected))
        if expected is None:
            continue
        drawn = [
            by_brute_force([pair for song, times in zip(songs, row, strict=True) for pair in song * times])
            for row in distinct
        ]
        values = np.array([np.nan if value is None else value for value in drawn])[which.ravel()]
        found = estimate(metric, statistics)
        assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(values, [0.025, 0.975])))


def test_known_values():
    """Confidences that are right as often as they say have no error; a reversed order has no area."""
    confidences = np.repeat([0.05, 0.25, 0.95], 100)
    right = np.concatenate([np.arange(100) < percent for percent in (5, 25, 95)])
    assert reliability(confidences, right).expected_calibration_error == pytest.approx(0)
    assert reliability(np.ones(4), np.array([True, False, False, False])).expected_calibration_error == 0.75
    assert area_under_roc(np.array([0.1, 0.2, 0.3]), np.array([True, False, False])) == [0]
    # The example of Hanley and McNeil 1982, table 1: ratings of 58 normal and 51 abnormal images.
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = np.repeat(np.tile(np.arange(5.0), 2), [*normal, *abnormal])
    (area,) = area_under_roc(ratings, np.arange(109) >= 58)
    assert area == pytest.approx(0.893, abs=0.0005)
