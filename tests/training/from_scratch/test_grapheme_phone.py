import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.training.from_scratch.grapheme_phone import learn_g2p_log_probs, letter_spans, pair

WORDS = {  # as espeak-ng says them; and what a reader would pair
    ("made", ("m", "eI", "d")): "m:m a:eI d:d e:d",
    ("night", ("n", "aI", "t")): "n:n i:aI g:aI h:aI t:t",
    ("ship", ("S", "I", "p")): "s:S h:S i:I p:p",
    ("box", ("b", "0", "k", "s")): "b:b o:0 x:k x:s",
}
MORE = [
    ("mad", ("m", "a", "d")), ("side", ("s", "aI", "d")), ("tight", ("t", "aI", "t")), ("pin", ("p", "I", "n")),
    ("mint", ("m", "I", "n", "t")), ("shop", ("S", "0", "p")), ("hop", ("h", "0", "p")), ("six", ("s", "I", "k", "s")),
    ("sit", ("s", "I", "t")), ("bone", ("b", "oU", "n")), ("tab", ("t", "a", "b")), ("fade", ("f", "eI", "d")),
    ("ode", ("oU", "d")), ("fight", ("f", "aI", "t")), ("hid", ("h", "I", "d")), ("big", ("b", "I", "g")),
    ("ash", ("a", "S")), ("dish", ("d", "I", "S")), ("sigh", ("s", "aI")), ("thigh", ("T", "aI")),
    ("bath", ("b", "a", "T")), ("tot", ("t", "0", "t")),
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_letters_find_their_sounds(word):
    letters, phones = word
    cells = pair(letters, phones, learn_g2p_log_probs([*WORDS, *MORE]))
    assert " ".join(f"{letters[i]}:{phones[j]}" for i, j in cells) == WORDS[word]


def all_paths(letters, phones):
    """Every way from the first cell to the last."""
    if (letters, phones) == (1, 1):
        return [[(0, 0)]]
    before = [(letters - 1, phones - 1), (letters - 1, phones), (letters, phones - 1)]
    return [[*path, (letters - 1, phones - 1)] for a, b in before if a and b for path in all_paths(a, b)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_path_is_the_best_of_all(data):
    letters = data.draw(st.text("ab", min_size=1, max_size=4))
    phones = data.draw(st.text("XYZ", min_size=1, max_size=4))
    g2p_log_probs = {cell: data.draw(st.floats(-5, 0)) for cell in itertools.product("ab", "XYZ")}

    def score(path):
        return sum(g2p_log_probs[letters[i], phones[j]] for i, j in path)

    best = max(score(path) for path in all_paths(len(letters), len(phones)))
    assert score(pair(letters, phones, g2p_log_probs)) == pytest.approx(best)


def test_letters_that_share_a_sound_share_its_time_and_one_of_two_sounds_has_both():
    g2p_log_probs = learn_g2p_log_probs([*WORDS, *MORE])
    night = [TimedPhone("n", 1.0, 1.1), TimedPhone("aI", 1.1, 1.7), TimedPhone("t", 1.7, 1.8)]
    expected = [(1.0, 1.1), (1.1, 1.3), (1.3, 1.5), (1.5, 1.7), (1.7, 1.8)]
    assert letter_spans("night", night, g2p_log_probs) == [pytest.approx(span) for span in expected]
    box = [TimedPhone("b", 0.0, 0.1), TimedPhone("0", 0.1, 0.5), TimedPhone("k", 0.5, 0.6), TimedPhone("s", 0.6, 0.8)]
    assert letter_spans("box", box, g2p_log_probs)[2] == (0.5, 0.8)
