import pytest
import torch

from lyrics_asr.alignment.word_ends import sung_ends
from tests.emissions import ENGLISH, emissions, random_emissions, voice_falls

BLANK = ENGLISH.blank_id
A = ENGLISH.tokens.index("A")


def held(*parts):
    """Emissions with `frames` frames of the letter at each `probability`, and the blank for the rest."""
    probs = torch.full((sum(frames for frames, _ in parts), len(ENGLISH.tokens)), 1e-9)
    probs[:, A] = torch.cat([torch.full((frames,), probability) for frames, probability in parts])
    probs[:, BLANK] = 1 - probs[:, A]
    return emissions(probs.log(), ENGLISH)


def test_a_word_ends_where_its_letters_vanish():
    given = held((10, 1e-4), (3, 0.9), (20, 0.01), (30, 1e-4), (2, 0.9), (5, 0.02))
    assert sung_ends(given, [(10, 13), (63, 65)]) == [33, 70]  # the second one is held to the end of the song


def test_a_word_ends_before_the_next_one():
    given = held((3, 0.9), (20, 0.01), (3, 0.9), (20, 1e-4))
    assert sung_ends(given, [(0, 3), (23, 26)]) == [23, 26]


def test_a_word_is_held_for_a_second_and_a_half_at_most():
    given = held((3, 0.9), (500, 0.01))
    assert sung_ends(given, [(0, 3)]) == [3 + 75]  # frames of 20 ms


@pytest.mark.parametrize("seed", range(3))
def test_ends_are_those_found_frame_by_frame(seed):
    generator = torch.Generator().manual_seed(seed)
    given = random_emissions(400, seed, ENGLISH)
    silent = torch.rand(400, generator=generator) < 0.1
    given.log_probs[silent] = held((1, 1e-4)).log_probs[0]
    edges = sorted(torch.randperm(400, generator=generator)[:20].tolist())
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    starts = [start for start, _ in spans[1:]] + [400]
    expected = [
        voice_falls(given, end - 1, min(start, end + 75)) for (_, end), start in zip(spans, starts, strict=True)
    ]
    assert sung_ends(given, spans) == expected


def test_no_words_have_no_ends():
    assert sung_ends(held((3, 0.9)), []) == []
