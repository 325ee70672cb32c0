import math
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.config import load_config
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.segmentation import WAV2VEC2_GRID, chunk_song, silent_chunks
from lyrics_asr.types import FrameGrid, TimedWord

TEXTS = ("love", "llama", "I", "2", "été", "...", "-", "夜", "strengths")
SECONDS = 60.0
LETTERS = "|'abcdefghijklmnopqrstuvwxyz"


def word(text, start, end):
    return TimedWord(text, float(start), float(end), 1.0)


@st.composite
def songs(draw):
    """Words on a grid of 50 ms that may overlap, last for long, crowd together or lie past the end of the song."""
    words = []
    for _ in range(draw(st.integers(0, 25))):
        start = draw(st.integers(0, 1300))
        length = draw(st.one_of(st.integers(0, 20), st.integers(0, 400)))
        words.append(word(draw(st.sampled_from(TEXTS)), start / 20, (start + length) / 20))
    return words


@settings(max_examples=300, deadline=None)
@given(songs(), st.floats(5, 28), st.floats(0, 10))
@pytest.mark.slow
def test_chunks_hold_whole_words_and_every_word_is_accounted_for(words, chunk_seconds, pause_seconds):
    chunked = chunk_song(words, SECONDS, options=ChunkOptions(chunk_seconds, pause_seconds))
    placed = [number for chunk in chunked.chunks for number in chunk.words]
    assert len(placed) == len(set(placed))
    assert len(placed) + chunked.left_out.total() == len(words)
    end = 0.0
    for chunk in chunked.chunks:
        assert end <= chunk.start_seconds < chunk.end_seconds <= SECONDS
        assert chunk.end_seconds - chunk.start_seconds <= chunk_seconds + 1e-9
        end = chunk.end_seconds
        own = [words[number] for number in chunk.words]
        assert own == sorted(own, key=lambda each: each.start_seconds)
        assert all(chunk.start_seconds <= each.start_seconds for each in own)
        assert all(each.end_seconds <= chunk.end_seconds for each in own)
        sung_until = own[0].end_seconds
        for each in own[1:]:
            assert each.start_seconds - sung_until <= pause_seconds
            sung_until = max(sung_until, each.end_seconds)
    # No chunk contains the audio of a usable word that it lacks.
    for number in set(range(len(words))) - set(placed):
        each = words[number]
        if each.text in ("...", "-", "夜") or each.end_seconds - each.start_seconds > chunk_seconds - 0.5:
            continue
        audible_seconds = max(
            (
                min(each.end_seconds, chunk.end_seconds) - max(each.start_seconds, chunk.start_seconds)
                for chunk in chunked.chunks
            ),
            default=0.0,
        )
        assert audible_seconds <= 1e-9 or each.end_seconds > SECONDS


@settings(max_examples=200, deadline=None)
@given(songs())
def test_ctc_has_a_finite_loss_for_every_chunk(words):
    """The oracle is PyTorch's own loss on uniform emissions."""
    chunked = chunk_song(words, SECONDS)
    for chunk in chunked.chunks:
        spoken = {"2": "two", "été": "ete"}
        text = "|".join(spoken.get(words[i].text, words[i].text.lower()) for i in chunk.words)
        labels = torch.tensor([[LETTERS.index(letter) + 1 for letter in text]])
        frames = WAV2VEC2_GRID.count(int((chunk.end_seconds - chunk.start_seconds) * 16_000))
        emissions = torch.zeros(frames, 1, len(LETTERS) + 1).log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(
            emissions, labels, torch.tensor([frames]), torch.tensor([labels.shape[1]]), reduction="none"
        )
        assert math.isfinite(float(loss))


@pytest.mark.parametrize("text", ["abab", "aabb", "aaaa", "étét", "夜b夜b", "2"])
def test_a_chunk_needs_a_frame_for_each_token_and_each_repeat(text):
    grid = FrameGrid(1600, 1600, 16_000)  # frames of 0.1 s
    needed = {"abab": 4, "aabb": 6, "aaaa": 7, "étét": 4, "夜b夜b": 4, "2": 3}[text]
    for frames in (needed - 1, needed):
        end = 1.0 + (frames + 0.5) / 10
        # Words so near by leave no margins.
        words = [word("before", 0, 0.99), word(text, 1.0, end), word("after", end + 0.01, end + 3)]
        chunked = chunk_song(words, SECONDS, grid=grid, options=ChunkOptions(5.0, 0.0))
        fits = frames == needed
        assert [chunk.words for chunk in chunked.chunks] == ([(0,), (1,), (2,)] if fits else [(0,), (2,)])
        assert chunked.left_out == ({} if fits else {"in a chunk with more tokens than frames": 1})
        assert chunked.crowded_chunks == (not fits)


def chunks_of(words, **options):
    return [
        (chunk.start_seconds, chunk.end_seconds, "".join(words[i].text for i in chunk.words))
        for chunk in chunk_song(words, SECONDS, options=ChunkOptions(**options)).chunks
    ]


def test_a_word_over_the_edge_begins_the_next_chunk():
    words = [word(text, i, i + 1) for i, text in enumerate("abcdefg")]
    assert chunks_of(words, chunk_seconds=5.0) == [(0.0, 4.0, "abcd"), (4.0, 7.25, "efg")]


def test_long_pauses_are_skipped_and_short_ones_shared():
    words = [word("a", 1, 2), word("b", 4, 5), word("c", 7.5, 8), word("d", 8.25, 9)]
    assert chunks_of(words) == [(0.75, 5.25, "ab"), (7.25, 9.25, "cd")]
    words = [word("a", 1, 2), word("b", 2.25, 4)]
    assert chunks_of(words, pause_seconds=0.0) == [(0.75, 2.125, "a"), (2.125, 4.25, "b")]


def test_words_that_overlap_stay_together():
    words = [word("a", 0, 4), word("b", 3, 6), word("c", 6, 7)]
    assert chunks_of(words, chunk_seconds=7.0) == [(0.0, 6.0, "ab"), (6.0, 7.25, "c")]


def test_rounding_joins_no_words():
    words = [word("a", 0, 4.0000001), word("b", 4, 8.0000001), word("c", 8, 9)]
    assert [text for *_, text in chunks_of(words, chunk_seconds=5.0)] == ["a", "b", "c"]


def test_words_in_no_chunk_are_counted_by_reason():
    words = [
        *(word("a", i, i + 1) for i in range(3)),
        word("...", 1, 2),
        word("夜", 1, 2),
        word("long", 4, 40),
        word("late", 59.5, 60.5),
        *(word("b", 20 + 3 * i, 24 + 3 * i) for i in range(5)),
        word("x" * 50, 50, 50.1),
    ]
    chunked = chunk_song(words, SECONDS)
    assert [chunk.words for chunk in chunked.chunks] == [(0, 1, 2)]
    assert chunked.left_out == {
        "without a letter": 2,
        "longer than a chunk": 1,
        "past the end of the audio": 1,
        "overlapping for longer than a chunk": 5,
        "in a chunk with more tokens than frames": 1,
    }
    assert chunked.crowded_chunks == 1


@settings(max_examples=200, deadline=None)
@given(songs(), st.floats(2, 28))
def test_silent_chunks_cover_the_pauses_and_no_word(words, chunk_seconds):
    """The oracle is a raster of 10 ms."""
    chunks = silent_chunks(words, SECONDS, ChunkOptions(chunk_seconds))
    for chunk in chunks:
        assert chunk.words == ()
        assert 1 - 1e-9 <= chunk.end_seconds - chunk.start_seconds <= chunk_seconds + 1e-9
    times = np.arange(0, SECONDS, 0.01) + 0.005
    near = np.zeros(len(times), dtype=bool)  # within 0.25 s of a word
    for each in words:
        near |= (times > each.start_seconds - 0.25) & (times < each.end_seconds + 0.25)
    covered = np.zeros(len(times), dtype=bool)
    for chunk in chunks:
        covered |= (times >= chunk.start_seconds) & (times <= chunk.end_seconds)
    assert not (covered & near).any()
    for length, free in ((len([*group]), free) for free, group in groupby(~near & ~covered)):
        assert not free or length <= 101  # a pause of a second or more is covered


def test_the_order_of_the_words_does_not_matter():
    words = [word(text, i, i + 1) for i, text in enumerate("abcdefg")]
    backwards = [replace(each) for each in reversed(words)]
    assert chunks_of(backwards) == chunks_of(words)


@pytest.mark.parametrize(
    "override", ["chunk_seconds=1.9", "chunk_seconds=28.1", "pause_seconds=-1", "chunk_seconds=nan"]
)
def test_options_out_of_range_are_named(override):
    with pytest.raises(ValueError, match=override.split("=")[0]):
        load_config(ChunkOptions, overrides=[override])
