from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lyrics_asr.synthesis import arrangement
from lyrics_asr.synthesis.score import Lyric

CENTER_MIDI = 62.0


def lyrics(stanzas):
    return [[Lyric(f"line {i} of {s}", (0.1,) * (5 + (i + s) % 4)) for i in range(4)] for s in range(stanzas)]


def scores(stanzas, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        yield arrangement.arrange(arrangement.compose(rng), lyrics(stanzas), CENTER_MIDI, rng)


def test_a_degree_of_the_scale_has_its_pitch():
    music = replace(arrangement.compose(np.random.default_rng(0)), tonic_midi=48, scale=arrangement.MAJOR)
    assert [music.degree_midi(d) for d in (0, 2, 7, 8, -1)] == [48, 52, 60, 62, 47]


def test_off_beats_swing_and_beats_do_not():
    music = replace(arrangement.compose(np.random.default_rng(0)), beats_per_bar=4, beat_seconds=0.6, swing=1 / 3)
    assert [music.step_seconds(s) for s in (0, 2, 4, 6)] == pytest.approx([0, 0.4, 0.6, 1.0])
    compound = replace(music, beats_per_bar=2)
    assert [compound.step_seconds(s) for s in (0, 2, 4, 6)] == pytest.approx([0, 0.2, 0.4, 0.6])


def test_sections_tile_the_song_from_its_first_bar_to_its_end():
    for score in scores(4, range(20)):
        assert score.sections[0].first_bar == 0
        assert all(a.first_bar + a.bars == b.first_bar for a, b in pairwise(score.sections))
        last = score.sections[-1]
        end = (last.first_bar + last.bars) * score.music.bar_seconds
        assert end < score.duration_seconds < end + 3


def test_no_two_lines_are_sung_at_once_and_each_is_in_its_section():
    for score in scores(4, range(20)):
        for a, b in pairwise(score.lines):
            assert a.start_seconds + sum(a.durations_seconds) < b.start_seconds
        bar_seconds = score.music.bar_seconds
        for line in score.lines:
            assert any(
                section.kind == line.section
                and line.start_seconds >= section.first_bar * bar_seconds - score.music.beat_seconds
                and line.start_seconds + sum(line.durations_seconds) < (section.first_bar + section.bars) * bar_seconds
                for section in score.sections
            )


def test_every_stanza_is_sung_in_order_and_the_chorus_returns_with_its_words():
    returned = 0
    for score in scores(4, range(20)):
        texts = [line.text for line in score.lines]
        assert set(texts) == {line.text for stanza in lyrics(4) for line in stanza}
        firsts = list(dict.fromkeys(texts))
        assert firsts == [line.text for stanza in lyrics(4) for line in stanza]
        choruses = [line.text for line in score.lines if line.section == "chorus"]
        assert choruses == [f"line {i} of 1" for i in range(4)] * (len(choruses) // 4)
        returned += len(choruses) > 4
    assert returned > 10


def test_each_syllable_has_a_note_in_the_singers_range_and_time_enough():
    for score in scores(3, range(20)):
        for line in score.lines:
            least = next(each for stanza in lyrics(3) for each in stanza if each.text == line.text).least_seconds
            assert len(line.notes_midi) == len(line.durations_seconds) == len(least)
            assert all(duration >= 0.1 for duration in line.durations_seconds)
            assert all(abs(note - CENTER_MIDI) <= 9 for note in line.notes_midi)
            degrees = {(note - score.music.tonic_midi) % 12 for note in line.notes_midi}
            assert degrees <= set(score.music.scale)


def test_songs_rest_as_real_songs_do():
    """Against the line times of the 71 songs of JamendoLyrics.

    Their longest rest between two lines lasts 0.4 to 66.8 s, half of them 5.7 to 23.1 s; nobody sings for 13 to 60 % of
    the time up to the last word (5th and 95th percentile).
    """
    longest, shares = [], []
    for score in scores(5, range(30)):
        ends = [0.0, *(line.start_seconds + sum(line.durations_seconds) for line in score.lines)]
        rests = [line.start_seconds - end for line, end in zip(score.lines, ends, strict=False)]
        longest.append(max(rests[1:]))
        shares.append(sum(rests) / ends[-1])
    assert min(longest) > 0.4
    assert max(longest) < 66.8
    assert 5.7 < np.median(longest) < 23.1
    assert 0.13 < np.median(shares) < 0.60
