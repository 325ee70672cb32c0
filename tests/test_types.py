import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lyrics_asr.emissions import Emissions
from lyrics_asr.types import FrameGrid, TimedLine, TimedWord, Vocabulary

WAV2VEC2 = FrameGrid(320, 400, 16_000)
WAV2VEC2_CONVOLUTIONS = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
LETTERS = Vocabulary(("<pad>", "|", "A", "B", "<unk>"), 0, 1)


def test_frames_are_placed_at_the_centre_of_what_they_see():
    assert WAV2VEC2.frame_seconds == 0.02
    assert WAV2VEC2.seconds(0) == 200 / 16_000
    assert WAV2VEC2.seconds(50) == pytest.approx(1 + 200 / 16_000)


@given(st.integers(0, 200_000), st.floats(-0.009, 0.009))
def test_the_frame_of_a_time_is_the_nearest(frame, offset_seconds):
    assert WAV2VEC2.frame(max(0.0, WAV2VEC2.seconds(frame) + offset_seconds)) == frame


def test_times_before_the_first_centre_belong_to_the_first_frame():
    assert WAV2VEC2.frame(0.0) == 0


@given(st.integers(0, 2_000_000))
def test_frame_count_is_that_of_the_convolutions(samples):
    expected = samples
    for kernel, stride in WAV2VEC2_CONVOLUTIONS:
        expected = max(0, (expected - kernel) // stride + 1)
    assert WAV2VEC2.count(samples) == expected


def test_characters_are_the_single_ones_without_blank_and_delimiter():
    assert LETTERS.text_ids == {"A": 2, "B": 3}
    assert Vocabulary(("_", "a", "|"), 0, None).text_ids == {"a": 1, "|": 2}


@pytest.mark.parametrize("blank_id", [-1, 5])
def test_a_blank_outside_the_vocabulary_is_refused(blank_id):
    with pytest.raises(ValueError, match=f"blank_id {blank_id} is outside a vocabulary of 5 tokens"):
        Vocabulary(LETTERS.tokens, blank_id, None)


def test_emissions_belong_to_their_vocabulary_and_end_with_the_song():
    given_emissions = Emissions(torch.zeros(10, 5), LETTERS, WAV2VEC2, 0.2)
    assert given_emissions.seconds(3) == WAV2VEC2.seconds(3)
    assert given_emissions.seconds(10) == 0.2
    with pytest.raises(ValueError, match="emissions have 4 columns, the vocabulary 5 tokens"):
        Emissions(torch.zeros(10, 4), LETTERS, WAV2VEC2, 0.2)


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_spans_that_are_no_time_are_refused(start, end):
    with pytest.raises(ValueError, match="'oh' has no valid time"):
        TimedWord("oh", start, end, 0.5)
    with pytest.raises(ValueError, match="'oh oh' has no valid time"):
        TimedLine("oh oh", start, end, 0.5, ())


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan])
def test_confidences_outside_0_to_1_are_refused(confidence):
    with pytest.raises(ValueError, match=r"'oh' has confidence .*, outside 0\.\.1"):
        TimedWord("oh", 0.0, 1.0, confidence)
