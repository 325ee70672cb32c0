import math

import numpy as np
import pytest
import torch

from lyrics_asr.alignment.backing import windows_beside
from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.alignment.found import Visit
from lyrics_asr.lyrics.text import parse_lyrics
from tests.alignment.test_forced_alignment import LINES, VERSE, frames_of, statuses, times_of
from tests.emissions import ENGLISH, emissions, path_emissions

LEAD = "_" * 20 + "".join(line + "_" * 20 for line in VERSE)


def with_backing(phrase, first):
    """The lead, and a phrase from frame `first` on that shares the probability of the frames in which both sing."""
    other = list("_" * len(LEAD))
    other[first : first + len(phrase)] = phrase
    lead, backing = (path_emissions(path).log_probs for path in (LEAD, other))
    return emissions(torch.logaddexp(lead, backing) - math.log(2), ENGLISH)


def lyrics(phrase, line=1):
    """The verse with a phrase in parentheses after a line."""
    return parse_lyrics("\n".join(text + phrase * (number == line) for number, text in enumerate(LINES)))


@pytest.mark.parametrize("keep_all", [False, True])
@pytest.mark.parametrize("offset", [0, 9, 40])  # in and after the line
def test_backing_vocals_are_found_over_the_lead(offset, keep_all):
    first = LEAD.index("SILVER") + offset
    given = with_backing("CAN_|_DO_", first)
    found = align_lyrics(given, lyrics(" (can do)"), keep_all=keep_all)
    (backing,) = [line for line in found.lines if line.voice == "backing"]
    assert (backing.text, backing.number, backing.status) == ("(can do)", 2, "sung")
    assert [frames_of(word)[0] for word in backing.words] == [first, first + 6]
    assert frames_of(backing.words[0])[1] >= first + 3
    assert frames_of(backing.words[1])[1] >= first + 8
    alone = align_lyrics(given, parse_lyrics("\n".join(LINES)), keep_all=keep_all)
    onsets = [(text, start) for line in alone.lines for text, start, _ in times_of([line])]
    lead = [line for line in found.lines if line.voice == "lead"]
    assert [(text, start) for line in lead for text, start, _ in times_of([line])] == onsets
    assert [line.start_seconds for line in found.lines] == sorted(line.start_seconds for line in found.lines)


def test_a_phrase_before_its_line_is_found_between_the_lines():
    first = LEAD.index("SILVER") - 10
    text = "\n".join(("(can do) " * (number == 1)) + line for number, line in enumerate(LINES))
    found = align_lyrics(with_backing("CAN_|_DO_", first), parse_lyrics(text))
    assert [(line.number, line.voice) for line in found.lines][:3] == [(0, "lead"), (1, "backing"), (2, "lead")]
    assert frames_of(found.lines[1].words[0])[0] == first


@pytest.mark.parametrize("phrase", ["(quick brown dog)", "(silver fishes)", "(fishes jump)"])
def test_phrases_that_only_the_lead_sings_are_not_found(phrase):
    found = align_lyrics(path_emissions(LEAD), lyrics(f" {phrase}"))
    assert statuses(found) == ([(0, "sung"), (1, "sung"), (3, "sung"), (4, "sung")], [2])
    assert (found.not_found[0].text, found.not_found[0].voice) == (phrase, "backing")


def test_an_echo_is_found_after_the_words_that_it_repeats():
    first = LEAD.index("SILVER") + len(VERSE[1]) + 4
    found = align_lyrics(with_backing("JUMP_|HIGH_", first), lyrics(" (jump high)"))
    (backing,) = [line for line in found.lines if line.voice == "backing"]
    assert [frames_of(word)[0] for word in backing.words] == [first, first + 6]
    assert found.uncovered == ()


def test_lyrics_that_are_all_in_parentheses_are_sung_in_order():
    found = align_lyrics(path_emissions(LEAD), parse_lyrics("\n".join(f"({text})" for text in LINES)))
    assert [(line.number, line.voice) for line in found.lines] == [(number, "backing") for number in range(4)]
    plain = align_lyrics(path_emissions(LEAD), parse_lyrics("\n".join(LINES)))
    assert [line.start_seconds for line in found.lines] == [line.start_seconds for line in plain.lines]


def test_windows_reach_from_the_line_before_to_the_line_after():
    visits = [Visit(4, 10, 20), Visit(1, 30, 40), Visit(2, 50, 60)]  # line 4 is sung first
    windows = windows_beside([0, 3, 5], visits, 100)
    assert np.array_equal(windows, [(0, 20), (50, 100), (10, 40)])
