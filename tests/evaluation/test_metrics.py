import dataclasses
import itertools
import math

import alt_eval
import mir_eval.alignment
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.evaluation.aggregation import METRICS, aggregate
from lyrics_asr.evaluation.metrics import (
    TOLERANCES_SECONDS,
    ErrorCounts,
    alignment_errors,
    character_errors,
    jam_alt_counts,
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


def test_error_rate_exceeds_one_with_many_insertions():
    assert word_errors(["oh"], ["oh oh oh"]).rate == 2


@pytest.mark.parametrize("count", [word_errors, character_errors])
def test_texts_without_a_rate_are_refused(count):
    with pytest.raises(ValueError, match="have no words"):
        count([" "], ["la"])
    with pytest.raises(ValueError, match="1 references but 2 hypotheses"):
        count(["la"], ["la", "la"])


def test_alignment_errors_on_a_hand_made_example():
    errors = alignment_errors([1.0, 2.0, 3.0, 4.0], [1.25, 2.0, 2.5, 6.0], 10.0)
    assert errors.errors_seconds == (0.25, 0.0, -0.5, 2.0)
    assert errors.mean_seconds == 2.75 / 4
    assert errors.median_seconds == 0.375
    assert errors.shares == (0.25, 0.25, 0.5, 0.75, 0.75)
    # 0.5 s is within 0.5 s, and not below it.
    assert errors.shares_below == (0.25, 0.25, 0.5, 0.5, 0.75)
    # Segments 0-1, 1.25-2, 2-2.5, 3-4, 6-10 are right.
    assert errors.correct_segments == pytest.approx((1 + 0.75 + 0.5 + 1 + 4) / 10)
    assert errors.correct_segments_mirex == pytest.approx((0.75 + 0.5 + 1) / 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 20), st.integers(0, 1000))
def test_alignment_errors_are_those_of_mir_eval(count, seed):
    generator = np.random.default_rng(seed)
    reference, estimated = np.sort(generator.uniform(0, 5, (2, count)), axis=1)
    errors = alignment_errors(reference.tolist(), estimated.tolist(), 6.0)
    over_song = mir_eval.alignment.evaluate(reference, estimated, duration=6.0)
    mirex = mir_eval.alignment.evaluate(reference, estimated)
    assert errors.median_seconds == pytest.approx(over_song["mae"], abs=1e-9)
    assert errors.mean_seconds == pytest.approx(over_song["aae"], abs=1e-9)
    assert errors.correct_segments == pytest.approx(over_song["pcs"], abs=1e-9)
    assert errors.correct_segments_mirex == pytest.approx(mirex["pcs"], abs=1e-9)
    assert errors.perceptual == pytest.approx(over_song["perceptual"], abs=1e-9)
    for tolerance, share in zip(TOLERANCES_SECONDS, errors.shares, strict=True):
        assert share == mir_eval.alignment.percentage_correct(reference, estimated, window=tolerance)


def test_an_alignment_that_is_right_is_perfect_and_one_that_is_late_is_late():
    onsets = [1.0, 1.5, 4.0, 7.0]
    right = alignment_errors(onsets, onsets, 8.0)
    assert (right.mean_seconds, right.correct_segments, right.correct_segments_mirex) == (0, 1, 1)
    assert set(right.shares) == {1}
    late = alignment_errors(onsets, [onset + 0.25 for onset in onsets], 8.0)
    assert late.errors_seconds == (0.25,) * 4
    assert (late.mean_seconds, late.median_seconds) == (0.25, 0.25)
    assert late.shares == (0, 0, 1, 1, 1)
    # Every boundary costs a quarter of a second of the eight.
    assert late.correct_segments == pytest.approx(1 - 4 * 0.25 / 8)


def test_an_annotation_past_the_end_makes_the_song_longer():
    errors = alignment_errors([1.0, 12.0], [1.0, 12.0], 10.0)
    assert errors.correct_segments == 1


def test_one_word_has_no_mirex_segments():
    assert alignment_errors([2.0], [3.0], 10.0).correct_segments_mirex is None


@pytest.mark.parametrize(
    ("reference", "estimated", "message"),
    [
        ([], [], "empty"),
        ([1.0, 2.0], [1.0], "must be the same"),
        ([2.0, 1.0], [1.0, 2.0], "Reference timestamps are not monotonically"),
        ([1.0, 2.0], [2.0, 1.0], "Estimated timestamps are not monotonically"),
        ([1.0], [math.nan], "estimated_onsets has nan"),
        ([-1.0], [1.0], "below 0"),
    ],
)
def test_onsets_that_cannot_be_compared_are_refused(reference, estimated, message):
    with pytest.raises(ValueError, match=message):
        alignment_errors(reference, estimated, 10.0)


def lyrics(seed):
    """Random lyrics with case, punctuation, parentheses, line and section breaks."""
    generator = np.random.default_rng(seed)
    words = generator.choice(["Oh", "oh", "love", "Love", "(yeah)", "rain,", "don't", "you!", "NASA", "go"], size=30)
    breaks = generator.choice([" ", " ", " ", "\n", "\n\n"], size=30)
    return "".join(word + after for word, after in zip(words, breaks, strict=True)).strip()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_jam_alt_measures_are_those_of_alt_eval(seed):
    references = [lyrics(seed), lyrics(seed + 1), "Hello (hello)\nthere,\n\nyou"]
    hypotheses = [lyrics(seed + 2), lyrics(seed + 1).lower(), "hello\nThere you?"]
    languages = ["en", "fr", "en"]
    theirs = alt_eval.compute_metrics(references, hypotheses, languages)
    counts = [jam_alt_counts(*each) for each in zip(references, hypotheses, languages, strict=True)]
    length = sum(each.words.reference_length for each in counts)
    errors = sum(each.words.substitutions + each.words.deletions + each.words.insertions for each in counts)
    assert errors / length == pytest.approx(theirs["WER"], abs=1e-9)
    with_case = errors + sum(each.case_errors for each in counts)
    assert with_case / length == pytest.approx(theirs["WER_case"], abs=1e-9)
    kinds = (("punctuation", "punc"), ("parentheses", "pare"), ("lines", "line"), ("sections", "sect"))
    for kind, name in kinds:
        statistics = [dataclasses.astuple(getattr(each, kind)) for each in counts]
        ours = aggregate(METRICS[f"jam_alt_f1_{kind}"], statistics)
        assert (math.nan if ours is None else ours) == pytest.approx(theirs[f"F1_{name}"], abs=1e-9, nan_ok=True)


def test_jam_alt_counts_of_an_empty_transcript():
    counts = jam_alt_counts("Sing it\nloud", "", "en")
    assert counts.words == ErrorCounts(0, 0, 3, 0)
    assert counts.lines.deletions == 1


@pytest.mark.parametrize(
    ("reference", "language", "message"), [("la", "xx", "not a language code"), ("!?", "en", "no words")]
)
def test_jam_alt_refuses_what_has_no_measure(reference, language, message):
    with pytest.raises(ValueError, match=message):
        jam_alt_counts(reference, "la", language)


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
