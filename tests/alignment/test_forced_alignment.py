import itertools
import math

import pytest
import torch

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.alignment.found import Visit, written_lines
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.options import AlignmentOptions
from lyrics_asr.types import AlignmentError, Vocabulary
from tests.emissions import ENGLISH, GRID, PHONEMES, PIECES, emissions, path_emissions, random_emissions, voice_falls
from tests.paths import LYRICS

TINY = Vocabulary(("|", "h", "e", "<pad>", "l", "o"), 3, 0)
NO_DELIMITER = Vocabulary(("h", "e", "l", "<pad>", "o"), 3, None)


def align_all(given, lyrics):
    """The lines of the forced alignment."""
    return align_lyrics(given, lyrics, keep_all=True).lines


def words_of(lines):
    return [word for line in lines for word in line.words]


def frames_of(word):
    return GRID.frame(word.start_seconds), GRID.frame(word.end_seconds)


def best_states(given, lines):
    """For each frame the letter that is sung, or None, on the best of all paths, gone through one by one.

    A state is (word, letter), "inside" a word, "between" words of a line, or "out"; the rules are those of the module.
    Where a line repeats few letters, a pause between words may begin with a "long" one, whose price is 2.
    """
    vocabulary, frame_seconds = given.vocabulary, given.grid.frame_seconds
    anything = 0.01 / len(vocabulary.tokens)
    probs = 0.99 * given.log_probs.double().exp() + anything
    chain = [("out", None)]
    for line in lines:
        letters = sum(line, ())
        repeats = len(letters) >= 2 * len(set(letters)) and len(set(letters)) <= 4
        for number, word in enumerate(line):
            if number and repeats:
                chain += [("long", None), ("after long", None)]
            elif len(chain) > 1:
                chain.append(("between" if number else "out", None))
            for place, column in enumerate(word):
                if place:
                    chain.append(("inside", None))
                chain.append(("letter", column))
    chain.append(("out", None))

    def score(frame, kind, column):
        blank = probs[frame, vocabulary.blank_id]
        pause = blank if vocabulary.word_delimiter_id is None else blank + probs[frame, vocabulary.word_delimiter_id]
        if kind == "letter":
            return probs[frame, column].log()
        if kind == "inside":
            return blank.log() - frame_seconds / 0.1
        return pause.log() - (frame_seconds / 0.2 if kind in ("between", "after long") else 0.0)

    def may_be_left_out(state):
        if state in (0, len(chain) - 1):
            return True
        if chain[state][0] == "long":
            return True
        may_be = ("inside", "between") if vocabulary.word_delimiter_id is None else ("inside",)
        return chain[state][0] in may_be and chain[state - 1][1] != chain[state + 1][1]

    best = (-math.inf, ())
    for path in itertools.combinations_with_replacement(range(len(chain)), len(given.log_probs)):
        if all(state in path or may_be_left_out(state) for state in range(len(chain))):
            prices = sum(2.0 for state in set(path) if chain[state][0] == "long")
            best = max(best, (float(sum(score(i, *chain[state]) for i, state in enumerate(path))) - prices, path))
    return [(state if chain[state][0] == "letter" else None, chain[state][1]) for state in best[1]]


@pytest.mark.parametrize(
    ("lyrics", "vocabulary", "frames"),
    [
        ("hello", TINY, 6),
        ("hello", TINY, 7),
        ("ll oh", TINY, 7),
        ("ho ho", TINY, 7),
        ("oh\nho", TINY, 9),
        ("oh ho oh", TINY, 9),
        ("lo\nhe he", TINY, 8),
        ("he he", NO_DELIMITER, 7),
        ("el lo", NO_DELIMITER, 7),
        ("eel\nle", NO_DELIMITER, 8),
        ("he lo", NO_DELIMITER, 5),
        ("ab ba", PIECES, 6),
        ("bb aa b", PIECES, 6),
        ("Sea, see", PHONEMES, 5),
        ("eat tea", PHONEMES, 6),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_path_is_the_best_of_all_that_spell_the_lyrics(lyrics, vocabulary, frames, seed):
    given = random_emissions(frames, seed, vocabulary)
    spelled = [[spell(word, vocabulary) for word in line.split()] for line in lyrics.split("\n")]
    states = best_states(given, spelled)
    letters = sorted({state for state, _ in states if state is not None})

    words = words_of(align_all(given, parse_lyrics(lyrics)))
    for word, spelling in zip(words, itertools.chain(*spelled), strict=True):
        own, letters = letters[: len(spelling)], letters[len(spelling) :]
        at = [i for i, (state, _) in enumerate(states) if state in own]
        following = next((i for i, (state, _) in enumerate(states) if letters and state == letters[0]), frames)
        assert frames_of(word) == (at[0], voice_falls(given, at[-1], following))


def test_vocables_are_found_where_they_are_hardly_heard_in_long_pauses():
    path = ("_" * 50 + "O_OH" + "_" * 350) * 3
    heard, silent = (path_emissions(each).log_probs for each in (path, "_" * len(path)))
    given = emissions(torch.logaddexp(heard + math.log(0.4), silent + math.log(0.6)), ENGLISH)
    words = words_of(align_all(given, parse_lyrics("ooh ooh ooh")))
    assert [frames_of(word)[0] for word in words] == [50, 454, 858]


def test_words_come_back_as_written_at_the_frames_of_a_known_path():
    path = "__HH_EL_LLO_|__" + "TW_OO_|_" + "CA_FFE_|" + "_____" + "OH_|_NO_OH|___"
    lyrics = "[Intro]\n“Hello”, 2 Café…\n\n[Chorus]\nOh — No-oh!\n"
    lines = align_all(path_emissions(path), parse_lyrics(lyrics))
    assert [line.text for line in lines] == ["“Hello”, 2 Café…", "Oh — No-oh!"]
    assert [word.text for word in words_of(lines)] == ["“Hello”,", "2", "Café…", "Oh", "—", "No-oh!"]
    # A delimiter parts "No-oh!", and the known path has a blank there: the word still ends where it was sung.
    assert [frames_of(word) for word in words_of(lines)][:5] == [(2, 11), (15, 20), (23, 29), (36, 38), (38, 38)]
    assert frames_of(words_of(lines)[5])[0] == 41
    assert (lines[0].start_seconds, lines[0].end_seconds) == pytest.approx((GRID.seconds(2), GRID.seconds(29)))


def test_repeated_lines_are_each_found_in_their_place():
    verse = "LA_|LA_|OH_|"
    path = "_" * 30 + verse + "_" * 40 + verse + "_" * 10 + verse + "_" * 50
    lines = align_all(path_emissions(path), parse_lyrics("La la oh\n" * 3))
    assert [frames_of(line.words[0])[0] for line in lines] == [30, 30 + 12 + 40, 30 + 24 + 50]
    assert [frames_of(line.words[2]) for line in lines] == [(38, 40), (90, 92), (112, 114)]


@pytest.mark.slow
def test_a_known_path_is_recovered_from_a_long_noisy_song():
    generator = torch.Generator().manual_seed(0)
    lyrics = "\n".join(path.read_text("utf-8") for path in sorted((LYRICS / "en").glob("*.txt"))[:3])
    parsed = parse_lyrics(lyrics)
    path, expected = ["_"] * 500, []
    for line in parsed.lines:
        for word in line.words:
            start = len(path)
            for column in spell(word, ENGLISH):
                path += ["_"] * int(torch.randint(1, 4, (1,), generator=generator)) + [ENGLISH.tokens[column]]
            expected.append(next(i for i in range(start, len(path)) if path[i] != "_"))
            path += ["|"]
        path += ["_"] * 60
    path += ["_"] * (15_000 - len(path))
    assert len(path) == 15_000
    clean = path_emissions(path, probability=0.5)
    noise = 0.7 * torch.randn(clean.log_probs.shape, generator=generator)
    words = words_of(align_all(emissions((clean.log_probs + noise).log_softmax(-1), ENGLISH), parsed))
    starts = [frames_of(word)[0] for word in words]
    assert sum(abs(a - b) <= 1 for a, b in zip(starts, expected, strict=True)) >= 0.99 * len(expected)
    assert sum(len(spell(word.text, ENGLISH)) for word in words) > 2400


def test_letters_without_a_sound_in_the_vocabulary_match_any_letter(monkeypatch):
    monkeypatch.setattr("lyrics_asr.lyrics.romanization.romanize", lambda word, language: word)
    path = "__ON_|_SA_RAN_|_TI_ME__"
    lines = align_all(path_emissions(path), parse_lyrics("on 日本語日 time 😀"))
    assert [word.text for word in lines[0].words] == ["on", "日本語日", "time", "😀"]
    assert frames_of(lines[0].words[0]) == (2, 4)
    assert frames_of(lines[0].words[1]) == (7, 13)
    assert frames_of(lines[0].words[2]) == (16, 21)
    assert lines[0].words[1].confidence < lines[0].words[2].confidence  # it matches anything
    assert (frames_of(lines[0].words[3]), lines[0].words[3].confidence) == ((21, 21), 0.0)


def test_words_that_cannot_be_spelled_stand_between_their_neighbours():
    lines = align_all(path_emissions("__OH_|__NO___"), parse_lyrics("… oh …\n***\n— no"))
    assert [[frames_of(word) for word in line.words] for line in lines] == [
        [(2, 2), (2, 4), (4, 4)],
        [(4, 4)],
        [(8, 8), (8, 10)],
    ]
    assert lines[1].confidence == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_every_word_is_timed_in_order_inside_the_song_for_any_emissions(seed):
    lyrics = parse_lyrics("— One & 2\n\n[Chorus]\n日本 naïve – hello,\n\U0001f600\nooh-ooh aaah!")
    given = random_emissions(70, seed, ENGLISH)
    lines = align_all(given, lyrics)
    assert [(line.text, tuple(word.text for word in line.words)) for line in lines] == [
        (line.text, line.words) for line in lyrics.lines
    ]
    times = [time for word in words_of(lines) for time in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert times[-1] <= given.duration_seconds


def test_impossible_symbols_leave_a_finite_answer():
    log_probs = torch.full((12, len(ENGLISH.tokens)), -math.inf)
    log_probs[:, 0] = 0.0
    (line,) = align_all(emissions(log_probs, ENGLISH), parse_lyrics("hello"))
    assert 0 <= line.confidence <= 1


def test_lyrics_that_just_fit_and_lyrics_that_do_not():
    lyrics = parse_lyrics("hello all")
    (line,) = align_all(random_emissions(11, 0, ENGLISH), lyrics)
    assert [frames_of(word) for word in line.words] == [(0, 7), (7, 11)]  # noise never falls silent
    with pytest.raises(
        AlignmentError, match=r"2 words need at least 11 frames \(8 letters\), but the song has 10 frames in 0\.2 s"
    ):
        align_all(random_emissions(10, 0, ENGLISH), lyrics)


@pytest.mark.slow
def test_ten_thousand_words_do_not_fit_ten_seconds():
    with pytest.raises(AlignmentError, match=r"10000 words need at least 49999 frames .* has 500 frames in 10\.0 s"):
        align_all(random_emissions(500, 0, ENGLISH), parse_lyrics("word " * 10_000))


def test_lyrics_without_any_letter_are_refused():
    with pytest.raises(AlignmentError, match="none of the 2 words can be spelled"):
        align_all(random_emissions(50, 0, ENGLISH), parse_lyrics("😀 ***"))


VERSE = (
    "WALKING_|ALONG_|THE_|RIVER_|",
    "SILVER_|FISHES_|JUMP_|HIGH_|",
    "NOBODY_|KNOWS_|MY_|NAME_|",
    "EVENING_|FALLS_|ON_|US_|",
)
LINES = ("Walking along the river", "Silver fishes jump high", "Nobody knows my name", "Evening falls on us")


def sing(*numbers):
    return path_emissions("_" * 20 + "".join(VERSE[number] + "_" * 20 for number in numbers))


def times_of(lines):
    return [(word.text, word.start_seconds, word.end_seconds) for word in words_of(lines)]


def statuses(alignment):
    return [(line.number, line.status) for line in alignment.lines], [line.number for line in alignment.not_found]


def test_right_lyrics_give_the_forced_alignment():
    given, lyrics = sing(0, 1, 2, 3), parse_lyrics("\n".join(LINES))
    found = align_lyrics(given, lyrics)
    assert found == align_lyrics(given, lyrics, keep_all=True)
    assert statuses(found) == ([(0, "sung"), (1, "sung"), (2, "sung"), (3, "sung")], [])
    assert found.uncovered == ()


def test_lines_that_are_not_sung_have_no_times():
    lyrics = parse_lyrics(
        "\n".join((LINES[0], "Quiet moths were dozing", *LINES[1:3], "Brown dogs bark back", LINES[3]))
    )
    found = align_lyrics(sing(0, 1, 2, 3), lyrics)
    assert statuses(found) == ([(0, "sung"), (2, "sung"), (3, "sung"), (5, "sung")], [1, 4])
    assert found.not_found[0].words == ("Quiet", "moths", "were", "dozing")
    alone = align_lyrics(sing(0, 1, 2, 3), parse_lyrics("\n".join(LINES)))
    assert times_of(found.lines) == times_of(alone.lines)


def test_singing_that_no_line_covers_is_passed_over():
    given = sing(0, 1, 2, 3)
    found = align_lyrics(given, parse_lyrics("\n".join((LINES[0], LINES[3]))))
    whole = align_lyrics(given, parse_lyrics("\n".join(LINES)))
    assert times_of(found.lines) == times_of((whole.lines[0], whole.lines[3]))


def test_lines_that_are_sung_again_are_repeated():
    found = align_lyrics(sing(0, 1, 0, 1, 2, 3), parse_lyrics("\n".join(LINES)))
    again = "repeated"
    expected = [(0, "sung"), (1, "sung"), (0, again), (1, again), (2, "sung"), (3, "sung")]
    assert statuses(found) == (expected, [])
    times = [line.start_seconds for line in found.lines]
    assert times == sorted(times)


def test_a_copy_of_a_line_is_taken_before_a_line_is_sung_again():
    """The path goes back to lines 0 and 1, because line 1 is not written a second time."""
    lyrics = parse_lyrics("\n".join((*LINES[:3], LINES[0], LINES[3])))
    found = align_lyrics(sing(0, 1, 2, 0, 1, 3), lyrics)
    expected = [(0, "sung"), (1, "sung"), (2, "sung"), (3, "sung"), (1, "repeated"), (4, "sung")]
    assert statuses(found) == (expected, [])


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 4, 2, 3], [0, 1, 4, 2, 3]),
        ([0, 1, 0, 4], [0, 1, 2, 4]),  # line 2 is a copy of line 0, and 5 another
        ([0, 1, 0, 1, 0], [0, 1, 2, 1, 5]),
        ([2, 1, 3, 0], [0, 1, 3, 2]),
        ([0, 2, 5, 2], [0, 2, 5, 2]),
        ([3, 4, 0, 0], [3, 4, 0, 2]),
        ([], []),
    ],
)
def test_equal_lines_are_sung_in_order_and_all_before_one_is_sung_again(path, lines):
    a, b, c, d = ([(1, 2)], [(2, 3)], [(3,)], [(4,)])
    assert written_lines([Visit(line, 0, 1) for line in path], [a, b, a, c, d, a]) == tuple(lines)


def test_lines_in_another_order_are_found():
    found = align_lyrics(sing(2, 3, 0, 1), parse_lyrics("\n".join(LINES)))
    assert statuses(found) == ([(2, "sung"), (3, "sung"), (0, "sung"), (1, "sung")], [])


def test_given_times_guide_lines_that_are_alike():
    path = "__ON_|_ON__" + "_" * 300 + "__ON_|_ON__"
    given = path_emissions(path)
    second = GRID.seconds(315)
    lyrics = parse_lyrics(f"[00:{second:05.2f}]on on\n")
    assert frames_of(align_lyrics(given, lyrics, keep_all=True).lines[0].words[0]) == (2, 4)
    guided = align_lyrics(given, lyrics, keep_all=True, use_times=True).lines[0]
    assert [frames_of(word) for word in guided.words] == [(313, 315), (318, 320)]
    wide = AlignmentOptions(margin_seconds=100.0)
    assert frames_of(align_lyrics(given, lyrics, keep_all=True, use_times=True, options=wide).lines[0].words[0]) == (
        2,
        4,
    )


def test_lines_without_times_are_free():
    given = path_emissions("__ON_|_NO__")
    lyrics = parse_lyrics("on\nno")
    assert align_lyrics(given, lyrics, use_times=True) == align_lyrics(given, lyrics)


def test_confidence_tells_right_lyrics_from_those_of_another_song():
    given = sing(0, 1, 2, 3)
    right = align_lyrics(given, parse_lyrics("\n".join(LINES)))
    lyrics = parse_lyrics(
        "Copper kettles whistle\nQuick brown foxes dozing\nBig jugs of plum wine\nWarm bread with butter"
    )
    wrong = align_lyrics(given, lyrics)
    assert right.confidence > 0.9
    assert wrong.confidence < 0.5
    assert (len(wrong.lines), len(wrong.not_found)) == (0, 4)
    assert min(word.confidence for word in words_of(right.lines)) > 0.5
    forced = align_lyrics(given, lyrics, keep_all=True)
    assert len(forced.lines) == 4
    assert max(word.confidence for word in words_of(forced.lines)) < 0.5
