import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.evaluation.aggregation import METRICS, RESAMPLES, aggregate, difference, estimate

WER, MEDIAN, F1 = METRICS["wer"], METRICS["words_median_pooled"], METRICS["jam_alt_f1_lines"]
numbers = st.floats(0, 100).map(lambda value: round(value, 3))


def resamples(count):
    """How often each song is in each resample of the module."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)


def by_brute_force(statistics, value):
    """95 % percentile interval, each draw written out as a list of songs."""
    values = [
        value([each for each, times in zip(statistics, row, strict=True) for _ in range(times)])
        for row in resamples(len(statistics))
    ]
    return np.quantile(values, [0.025, 0.975])


def test_a_pooled_rate_weighs_by_length():
    assert aggregate(WER, [(1, 1), (0, 9)]) == 0.1
    assert aggregate(METRICS["wer_mean_over_songs"], [(1, 1), (0, 1)]) == 0.5


def test_a_pooled_median_is_that_of_all_values():
    assert aggregate(MEDIAN, [(1.0,), (0.0, 0.0, 0.25)]) == 0.125


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    hits, substitutions, deletions, insertions = 6, 1, 2, 3
    precision, recall = hits / (hits + substitutions + insertions), hits / (hits + substitutions + deletions)
    assert aggregate(F1, [(4, 1, 0, 3), (2, 0, 2, 0)]) == pytest.approx(2 * precision * recall / (precision + recall))
    # Like alt-eval: without a token on one side precision or recall is not defined, and neither is F1.
    assert aggregate(F1, [(0, 0, 3, 0)]) is None
    assert aggregate(F1, [(0, 0, 0, 3)]) is None
    assert aggregate(F1, [(0, 1, 0, 0)]) == 0


def test_nothing_has_no_value():
    assert aggregate(WER, []) is None
    assert estimate(WER, []).songs == 0


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=6))
def test_the_interval_of_a_rate_is_that_of_brute_force(statistics):
    found = estimate(WER, statistics)
    low, high = by_brute_force(statistics, lambda songs: sum(s[0] for s in songs) / sum(s[1] for s in songs))
    assert (found.low, found.high) == pytest.approx((low, high))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.lists(numbers, min_size=1, max_size=5).map(tuple), min_size=2, max_size=5))
def test_the_interval_of_a_median_is_that_of_brute_force(statistics):
    found = estimate(MEDIAN, statistics)
    low, high = by_brute_force(statistics, lambda songs: np.median(np.concatenate(songs)))
    assert found.value == pytest.approx(np.median(np.concatenate(statistics)))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_song_has_no_interval():
    assert estimate(WER, [(1, 4)]).value == 0.25
    assert estimate(WER, [(1, 4)]).low is None


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        found = estimate(METRICS["words_mean_over_songs"], [(value, 1) for value in rng.exponential(1.0, 40)])
        held += found.low <= 1.0 <= found.high
    assert 0.88 <= held / 200 <= 0.99  # a percentile bootstrap of 40 skewed values falls a little short of 95 %


def test_a_model_does_not_differ_from_itself():
    statistics = [(1, 10), (3, 10), (2, 10)]
    found = difference(WER, statistics, statistics)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_small_difference_that_is_in_every_song_is_sure_though_songs_vary_much():
    rng = np.random.default_rng(2)
    errors = rng.integers(0, 80, 30)
    first, second = [(int(e) + 2, 100) for e in errors], [(int(e), 100) for e in errors]
    found = difference(WER, first, second)
    assert found.difference == pytest.approx(0.02)
    assert found.low > 0
    assert found.p == 1 / RESAMPLES
    # Unpaired, the intervals of the two lie over each other.
    assert estimate(WER, first).low < estimate(WER, second).value


def test_p_is_even_where_nothing_differs():
    rng = np.random.default_rng(3)
    ps = []
    for _ in range(100):
        first, second = rng.integers(0, 30, (2, 25))
        ps.append(difference(WER, [(int(e), 50) for e in first], [(int(e), 50) for e in second]).p)
    assert 0 <= np.mean(np.asarray(ps) < 0.05) <= 0.15
    assert 0.35 <= np.mean(ps) <= 0.65


def test_a_difference_needs_both_and_two_songs():
    assert difference(WER, [(1, 2)], [(0, 2)]) is None
    assert difference(F1, [(0, 0, 1, 0)] * 2, [(1, 0, 0, 0)] * 2) is None


def test_keys_name_their_metric():
    assert all(metric.key == key for key, metric in METRICS.items())
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert not any(
        math.isnan(
            aggregate(metric, [(1.0,) * {"ratio": 2, "f1": 4, "median": 3, "ece": 30, "auc": 2}[metric.aggregation]])
            or 0
        )
        for metric in METRICS.values()
    )
