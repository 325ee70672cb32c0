import string
from itertools import combinations, pairwise
from pathlib import Path

import jiwer
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.examples import AXIS_WIDTH, diff_lines, worst_lines, worst_words
from lyrics_asr.evaluation.predictions import Prediction
from lyrics_asr.evaluation.scores import SongScores, TimedPair, score_song
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_corpus_lyrics

PICTURE_WIDTH = AXIS_WIDTH + 60
"""Where the labels must end."""

words = st.sampled_from(["la", "Love", "night,", "don't", "2", "—", "'til", "rock-'n'-roll", "é", "!"])
texts = st.lists(st.lists(words, max_size=6).map(" ".join), max_size=5).map("\n".join)
onsets = st.floats(0, 40).map(lambda value: round(value, 2))
letters = st.text(string.ascii_letters + "éßñ'", min_size=1, max_size=14)


def song_scores(lyrics, text, name="song"):
    return score_song(Song(name, Path("none.wav"), lyrics, (), "en"), Prediction(None, text))


def marked(line):
    """A line as one string: -missing, +extra, reference>hypothesis."""
    signs = {
        "equal": "{0.reference}",
        "missing": "-{0.reference}",
        "extra": "+{0.hypothesis}",
        "substituted": "{0.reference}>{0.hypothesis}",
    }
    return " ".join(signs[word.kind].format(word) for word in line.words)


def diff(lyrics, text):
    return [(marked(line), line.errors) for line in diff_lines(song_scores(lyrics, text))]


def timed(*pairs, name="song"):
    return SongScores(name, "en", None, None, {}, "", None, tuple(TimedPair(*pair) for pair in pairs))


def rows(example):
    """Labels above and below the axis: (where it begins, text, whether it is the worst), without those not shown."""
    above = [(word.reference_label_x, word.text, word.worst) for word in example.words]
    below = [(word.estimated_label_x, word.text, word.worst) for word in example.words]
    return [[label for label in row if label[0] is not None] for row in (above, below)]


def ink_width(text, weight):
    return TextPath((0, 0), text, size=11, prop=FontProperties(family="DejaVu Sans", weight=weight)).get_extents().x1


def test_a_line_shows_the_hypothesis_in_its_place():
    assert diff("Sun and moon\nRain, rain!\n", "sun in moon\nrain rain") == [("sun and>in moon", 1), ("rain rain", 0)]
    assert diff("Sun and moon", "sun moon") == [("sun -and moon", 1)]
    assert diff("Sun and moon", "sun and the moon") == [("sun and +the moon", 1)]
    assert diff("Three blind mice\nSee how they run", "blind mice see they run away") == [
        ("-three blind mice", 1),
        ("see -how they run +away", 2),
    ]


def test_line_breaks_of_the_transcript_do_not_matter():
    assert diff("Sun\nmoon\nrain", "sun moon\nrain") == [("sun", 0), ("moon", 0), ("rain", 0)]


def test_words_before_the_first_line_belong_to_it():
    assert diff("Sun and moon\nrain", "oh yeah sun and moon rain") == [("+oh +yeah sun and moon", 2), ("rain", 0)]


def test_words_between_two_lines_belong_to_the_first_of_them():
    assert diff("Sun and moon\nrain falls", "sun and moon oh rain falls") == [
        ("sun and moon +oh", 1),
        ("rain falls", 0),
    ]


def test_an_empty_transcript_misses_every_word():
    assert diff("Sun and moon\nrain", "") == [("-sun -and -moon", 3), ("-rain", 1)]


def test_lines_of_punctuation_and_headings_are_not_shown():
    lyrics = "[Intro]\n...\nSun!\n— ? —\n\n[Verse]\nmoon\n***\n"
    assert diff(lyrics, "oh sun ah moon") == [("+oh sun +ah", 2), ("moon", 0)]


def test_spelled_out_numbers_stay_in_their_line():
    assert diff("99 red\nballoons", "ninety nine red balloons") == [("ninety nine red", 0), ("balloons", 0)]


@settings(max_examples=200, deadline=None)
@given(texts.filter(lambda text: normalize(text)), texts)
def test_the_marks_can_be_undone_and_are_as_many_as_the_errors_of_the_wer(lyrics, text):
    lines = diff_lines(song_scores(lyrics, text))
    spelled = [normalize(line.text) for line in parse_corpus_lyrics(lyrics).lines]
    assert [" ".join(word.reference for word in line.words if word.kind != "extra") for line in lines] == [
        line for line in spelled if line
    ]
    transcript = [word.hypothesis for line in lines for word in line.words if word.kind != "missing"]
    assert transcript == normalize(text).split()
    counts = jiwer.process_words(normalize(lyrics), normalize(text))
    assert sum(line.errors for line in lines) == counts.substitutions + counts.deletions + counts.insertions
    assert all(
        (word.kind == "equal") == (word.reference == word.hypothesis)
        and (word.kind == "extra") == (not word.reference)
        and (word.kind == "missing") == (not word.hypothesis)
        for line in lines
        for word in line.words
    )


def test_the_worst_lines_come_first_and_longer_ones_before_shorter_ones():
    songs = [
        song_scores("one two three four\nfive six\nseven eight nine", "one two three for\nsix", "a"),
        song_scores("red\ngreen blue", "read\ngreen blue", "b"),
    ]
    assert [(line.song, marked(line), line.errors) for line in worst_lines(songs)] == [
        ("a", "-seven -eight -nine", 3),
        ("b", "red>read", 1),
        ("a", "-five six", 1),
        ("a", "one two three four>for", 1),
    ]


def test_many_insertions_do_not_make_a_line_worse_than_wholly_wrong():
    songs = [song_scores("red\none two three", "red la la la\none too three")]
    assert [line.errors for line in worst_lines(songs)] == [3, 1]
    songs = [song_scores("red\ngreen blue", "red la la la\ngrin blew")]
    assert [marked(line) for line in worst_lines(songs)] == ["green>grin blue>blew", "red +la +la +la"]


def test_a_line_that_is_repeated_with_the_same_errors_stands_once_for_each_song():
    lyrics = "Let it be\nLet it be\nSpeaking words\nLet it be"
    text = "let it bee\nlet it bee\nspeaking words\nlet him be"
    songs = [song_scores(lyrics, text, "a"), song_scores(lyrics, text, "b")]
    assert sorted((line.song, marked(line)) for line in worst_lines(songs)) == [
        ("a", "let it be>bee"),
        ("a", "let it>him be"),
        ("b", "let it be>bee"),
        ("b", "let it>him be"),
    ]


def test_there_are_as_many_worst_lines_as_asked_for_and_none_without_errors_or_transcripts():
    lyrics = "\n".join(string.ascii_lowercase)
    assert [marked(line) for line in worst_lines([song_scores(lyrics, "")], count=3)] == ["-a", "-b", "-c"]
    assert worst_lines([song_scores(lyrics, lyrics), timed(("la", 1.0, 2.0))]) == ()
    assert worst_lines([]) == ()


def test_the_worst_word_of_each_song_is_the_furthest_one_early_or_late():
    songs = [
        timed(("a", 1.0, 1.1), ("b", 2.0, 2.5), name="late"),
        timed(("c", 5.0, 5.2), ("d", 9.0, 6.0), ("e", 9.5, 9.6), name="early"),
        timed(name="without times"),
        timed(("f", 3.0, 3.0), name="right"),
    ]
    found = worst_words(songs)
    assert [(each.song, each.pair.text) for each in found] == [("early", "d"), ("late", "b"), ("right", "f")]
    assert [[word.text for word in each.words if word.worst] for each in found] == [["d"], ["b"], ["f"]]
    assert [each.song for each in worst_words(songs, count=1)] == ["early"]


def test_a_word_stands_where_its_time_is_among_the_ticks():
    (example,) = worst_words([timed(("a", 10.0, 10.5), ("worst", 12.0, 16.0), ("b", 17.0, 17.5))])
    seconds = {float(label.removesuffix(" s")): x for x, label in example.ticks}
    assert list(seconds) == [
        10.0,
        11.0,
        12.0,
        13.0,
        14.0,
        15.0,
        16.0,
        17.0,
    ]  # two seconds around 12 to 16; 18 is the end
    assert seconds[10.0] == 0
    a, worst, b = example.words
    assert (a.reference_x, worst.reference_x, worst.estimated_x, b.reference_x) == pytest.approx(
        (seconds[10.0], seconds[12.0], seconds[16.0], seconds[17.0])
    )
    assert seconds[17.0] == pytest.approx(AXIS_WIDTH * 7 / 8)


def test_only_words_with_a_place_on_the_axis_are_near():
    (example,) = worst_words(
        [timed(("far", 1.0, 1.0), ("comes", 4.0, 9.0), ("worst", 10.0, 16.0), ("after", 19.0, 19.0))]
    )
    assert [word.text for word in example.words] == ["comes", "worst"]


def test_a_song_of_a_single_word_has_an_axis():
    (example,) = worst_words([timed(("la", 0.0, 0.0))])
    assert (example.ticks[0], example.words[0].reference_x) == ((0.0, "0 s"), 0.0)
    assert [[text for _, text, _ in row] for row in rows(example)] == [["la"], ["la"]]


@pytest.mark.parametrize("seconds", [100.0, 3600.0, 10 * 3600.0, 1000 * 3600.0])
def test_errors_of_hours_have_few_round_ticks_and_both_labels(seconds):
    (example,) = worst_words([timed(("Wiedergutmachung", 3.0, 3.0 + seconds), ("near", 3.2, 3.3))])
    numbers = [float(label.removesuffix(" s")) for _, label in example.ticks]
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    assert len(steps) == 1
    assert all(step % 10 == 0 for step in steps)
    assert all("e" not in label for _, label in example.ticks)
    assert [[text for _, text, worst in row if worst] for row in rows(example)] == [["Wiedergutmachung"]] * 2


def test_a_label_of_the_worst_word_that_has_no_room_at_its_place_ends_with_the_picture():
    (example,) = worst_words([timed(("Wiedergutmachung", 3.0, 1003.0))])
    (word,) = example.words
    assert word.reference_label_x == word.reference_x
    assert word.estimated_label_x < word.estimated_x
    assert word.estimated_label_x + ink_width(word.text, "bold") <= PICTURE_WIDTH


def test_a_word_longer_than_the_axis_has_no_label():
    (example,) = worst_words([timed(("A" * 300, 3.0, 4.0), ("b", 4.0, 4.1))])
    assert rows(example) == [[(example.words[1].reference_x, "b", False)], [(example.words[1].estimated_x, "b", False)]]


def test_scripts_of_full_width_characters_get_more_room():
    (example,) = worst_words([timed(("最悪の言葉", 10.0, 11.0), ("次", 10.3, 10.4))])  # 0.3 s are 41 pixels of 55
    assert [text for _, text, _ in rows(example)[0]] == ["最悪の言葉"]


@example([("AAAAAgnnnnuyy", 0.0, 30.0)])  # wide letters at the right end
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(letters, onsets, onsets), min_size=1, max_size=25))
def test_labels_never_overlap_and_the_worst_word_is_always_labelled(pairs):
    (worst_word,) = worst_words([timed(*pairs)])
    for row in rows(worst_word):
        assert [text for _, text, worst in row if worst] == [worst_word.pair.text]
        spans = sorted((x, x + ink_width(text, "bold" if worst else "normal")) for x, text, worst in row)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert all(start >= 0 and end <= PICTURE_WIDTH for start, end in spans)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(letters, onsets, st.floats(0, 1e6)), min_size=1, max_size=10))
def test_ticks_lie_on_the_axis_at_even_distances(pairs):
    (example,) = worst_words([timed(*pairs)])
    places = [x for x, _ in example.ticks]
    assert 2 <= len(places) <= 10
    assert all(0 <= x <= AXIS_WIDTH for x in places)
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert all(first == pytest.approx(second, abs=0.21) for first, second in combinations(gaps, 2))  # rounded to 0.1
    assert len({label for _, label in example.ticks}) == len(places)
