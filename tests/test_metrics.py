import itertools
import math

import jiwer
import mir_eval.alignment
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.metrics import (
    TOLERANCES_SECONDS,
    ErrorCounts,
    alignment_errors,
    alignment_summary,
    character_errors,
    error_summary,
    si_sdr,
    word_errors,
)


def edit_distance(reference, hypothesis):
    """Levenshtein distance, from its recursive definition."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    return min(
        edit_distance(reference[1:], hypothesis) + 1,
        edit_distance(reference, hypothesis[1:]) + 1,
        edit_distance(reference[1:], hypothesis[1:]) + (reference[0] != hypothesis[0]),
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["la", "di", "da"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["la", "di", "da"]), max_size=5),
)
def test_word_errors_are_the_edit_distance_of_brute_force(reference, hypothesis):
    counts = word_errors([" ".join(reference)], [" ".join(hypothesis)])
    edits = counts.substitutions + counts.deletions + counts.insertions
    assert edits == edit_distance(reference, hypothesis)
    assert counts.reference_length == len(reference)
    assert counts.rate == pytest.approx(edits / len(reference))


def test_kinds_of_word_errors_on_a_hand_made_example():
    counts = word_errors(["the sun is up today"], ["the son up today baby"])
    assert counts == ErrorCounts(hits=3, substitutions=1, deletions=1, insertions=1)
    assert counts.rate == 3 / 5


def test_character_errors_count_the_spaces():
    counts = character_errors(["ab c"], ["abc"])
    assert counts == ErrorCounts(hits=3, substitutions=0, deletions=1, insertions=0)


def test_pooled_rate_weighs_words_and_mean_weighs_songs():
    references, hypotheses = ["a", "a b c d e f g h i"], ["x", "a b c d e f g h i"]
    songs = [word_errors([r], [h]) for r, h in zip(references, hypotheses, strict=True)]
    summary = error_summary(songs)
    assert summary.pooled.rate == 1 / 10 == jiwer.wer(references, hypotheses)
    assert summary.pooled == word_errors(references, hypotheses)
    assert summary.mean_of_song_rates == 1 / 2


def test_error_rate_exceeds_one_when_too_much_is_heard():
    assert word_errors(["oh"], ["oh oh oh"]).rate == 2


@pytest.mark.parametrize("count", [word_errors, character_errors])
def test_texts_without_a_rate_are_refused(count):
    with pytest.raises(ValueError, match="hold no word"):
        count([" "], ["la"])
    with pytest.raises(ValueError, match="1 references but 2 hypotheses"):
        count(["la"], ["la", "la"])


def test_alignment_errors_on_a_hand_made_example():
    errors = alignment_errors([1.0, 2.0, 3.0, 4.0], [1.25, 2.0, 2.5, 6.0])
    assert errors.absolute_errors_seconds == (0.25, 0.0, 0.5, 2.0)
    assert errors.mean_seconds == 2.75 / 4
    assert errors.median_seconds == 0.375
    assert errors.shares == (0.25, 0.25, 0.5, 0.75, 0.75)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 1000))
def test_alignment_errors_are_those_of_mir_eval(count, seed):
    generator = np.random.default_rng(seed)
    reference, estimated = np.sort(generator.uniform(0, 5, (2, count)), axis=1)
    errors = alignment_errors(reference.tolist(), estimated.tolist())
    assert (errors.median_seconds, errors.mean_seconds) == mir_eval.alignment.absolute_error(reference, estimated)
    for tolerance, share in zip(TOLERANCES_SECONDS, errors.shares, strict=True):
        assert share == mir_eval.alignment.percentage_correct(reference, estimated, window=tolerance)


def test_alignment_summary_of_a_short_and_a_long_song():
    short = alignment_errors([0.0], [1.0])
    long = alignment_errors([1.0, 2.0, 3.0], [1.0, 2.0, 3.25])
    summary = alignment_summary([short, long])
    assert summary.words == 4
    assert summary.mean_of_song_means_seconds == pytest.approx((1 + 0.25 / 3) / 2)
    assert summary.mean_of_song_medians_seconds == 0.5
    assert summary.pooled_mean_seconds == pytest.approx(1.25 / 4)
    assert summary.pooled_median_seconds == 0.125
    assert summary.mean_of_song_shares == pytest.approx((1 / 3, 1 / 3, 1 / 2, 1 / 2, 1))
    assert summary.pooled_shares == (0.5, 0.5, 0.75, 0.75, 1)


@pytest.mark.parametrize(
    ("reference", "estimated", "message"),
    [
        ([], [], "empty"),
        ([1.0, 2.0], [1.0], "must be the same"),
        ([2.0, 1.0], [1.0, 2.0], "Reference timestamps are not monotonically"),
        ([1.0, 2.0], [2.0, 1.0], "Estimated timestamps are not monotonically"),
        ([1.0], [math.nan], "estimated_onsets hold nan"),
        ([-1.0], [1.0], "below 0"),
    ],
)
def test_onsets_that_cannot_be_compared_are_refused(reference, estimated, message):
    with pytest.raises(ValueError, match=message):
        alignment_errors(reference, estimated)


def test_summaries_need_a_song():
    for summary in (error_summary, alignment_summary):
        with pytest.raises(ValueError, match="no songs"):
            summary([])


def sine(cycles, samples=1000):
    return torch.sin(2 * torch.pi * cycles * torch.arange(samples) / samples)


def test_si_sdr_of_a_signal_with_orthogonal_noise_is_their_energy_ratio():
    voice, noise = sine(10), sine(23)
    for amplitude in (0.01, 0.1, 1.0, 10.0):
        assert si_sdr(voice + amplitude * noise, voice) == pytest.approx(-20 * math.log10(amplitude), abs=1e-3)


def test_si_sdr_knows_no_scale_and_no_offset():
    generator = torch.Generator().manual_seed(0)
    voice, estimate = torch.randn(2, 4000, generator=generator)
    expected = si_sdr(estimate, voice)
    for scale, offset in itertools.product((0.01, 3.0, -2.0), (0.0, 0.5)):
        assert si_sdr(scale * estimate + offset, voice) == pytest.approx(expected, abs=1e-3)
        assert si_sdr(estimate, scale * voice - offset) == pytest.approx(expected, abs=1e-3)


def test_si_sdr_is_that_of_the_best_scale_found_by_search():
    generator = torch.Generator().manual_seed(1)
    voice = torch.randn(500, generator=generator)
    estimate = 0.4 * voice + 0.3 * torch.randn(500, generator=generator)
    voice, estimate = voice - voice.mean(), estimate - estimate.mean()
    # The projection makes the residual smallest; over all scales, so does the search.
    scales = torch.linspace(0.2, 0.6, 40_001)[:, None]
    residuals = ((scales * voice - estimate) ** 2).sum(dim=1)
    best = scales[residuals.argmin()]
    expected = 10 * math.log10(float(((best * voice) ** 2).sum() / residuals.min()))
    assert si_sdr(estimate, voice) == pytest.approx(expected, abs=1e-2)


def test_si_sdr_at_its_limits():
    assert si_sdr(torch.tensor([2.0, -2.0, 0.0]), torch.tensor([1.0, -1.0, 0.0])) == math.inf
    assert si_sdr(torch.zeros(100), sine(3, 100)) == -math.inf
    with pytest.raises(ValueError, match="silent"):
        si_sdr(sine(3, 100), torch.full((100,), 0.5))
    with pytest.raises(ValueError, match="99 samples, the reference 100"):
        si_sdr(torch.zeros(99), sine(3, 100))
