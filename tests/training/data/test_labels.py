import numpy as np

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.training.data.labels import Label, Labeller, learn_g2p, letters_of, with_word_delimiters
from lyrics_asr.training.from_scratch.frame_targets import IGNORED
from lyrics_asr.types import TimedWord, Vocabulary

LETTERS = Vocabulary(("<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"), 0, 1)


def letters(text, start, phones=(), g2p_log_probs=None):
    return letters_of(TimedWord(text, start, start + 1.0, 1.0), phones, g2p_log_probs or {}, LETTERS, "en")


def spans(labels):
    return [(label.start_seconds, label.end_seconds) for label in labels]


def test_letters_share_the_time_of_a_word_and_what_cannot_be_spelled_is_left_out():
    words = [letters(text, float(i)) for i, text in enumerate(["It's", "-", "café", "日a"])]
    assert ["".join(LETTERS.tokens[label.token_id] for label in word) for word in words] == ["it's", "", "cafe", "a"]
    np.testing.assert_allclose(spans(words[0]), [(0, 0.5), (0.5, 2 / 3), (2 / 3, 5 / 6), (5 / 6, 1)])  # i is held


def test_letters_are_sung_with_their_sounds():
    phones = [TimedPhone("S", 0.0, 0.2), TimedPhone("aI", 0.2, 1.0)]
    g2p_log_probs = {("s", "S"): -0.1, ("h", "S"): -0.1, ("y", "aI"): -0.1}
    np.testing.assert_allclose(spans(letters("Shy", 0.0, phones, g2p_log_probs)), [(0, 0.1), (0.1, 0.2), (0.2, 1)])


def test_a_border_is_the_last_moment_before_the_next_word():
    labels = with_word_delimiters([letters("ab", 0.0), [], letters("c", 1.0), letters("d", 3.0)], LETTERS)
    assert "".join(LETTERS.tokens[label.token_id] for label in labels) == "ab|c|d"
    expected = [(0, 0.75), (0.75, 0.96), (0.96, 1), (1, 2), (2.96, 3), (3, 4)]  # b gives way, c has a pause behind it
    np.testing.assert_allclose(spans(labels), expected)
    assert with_word_delimiters([], LETTERS) == []


def test_a_border_takes_at_most_half_of_the_letter_before_it():
    short = Label(3, 0.0, 0.02)
    np.testing.assert_allclose(
        spans(with_word_delimiters([[short], [Label(4, 0.02, 0.5)]], LETTERS)), [(0, 0.01), (0.01, 0.02), (0.02, 0.5)]
    )


def test_letters_stand_for_other_phones_in_another_language():
    """Z is written a in one language and b in the other, which decides the middle of "ab"."""
    both = [("ab", ("A", "Z", "B")), ("m", ("M",)), ("n", ("N",)), ("t", ("T",))]
    english = [*both, ("a", ("Z",)), ("ma", ("M", "Z")), ("na", ("N", "Z")), ("ta", ("T", "Z"))]
    spanish = [*both, ("b", ("Z",)), ("mb", ("M", "Z")), ("nb", ("N", "Z")), ("tb", ("T", "Z"))]
    words = [(language, *word) for language, own in (("en", english), ("es", spanish)) for word in own]
    labeller = Labeller(LETTERS, (), learn_g2p(words, LETTERS))
    word = TimedWord("ab", 0.0, 1.0, 1.0)
    phones = [TimedPhone(name, i / 3, (i + 1) / 3) for i, name in enumerate(("A", "Z", "B"))]
    for language, expected in (("en", [(0, 2 / 3), (2 / 3, 1)]), ("es", [(0, 1 / 3), (1 / 3, 1)])):
        (labels,) = labeller.letter_labels([word], [phones], language)
        np.testing.assert_allclose(spans(labels), expected)


def test_phones_are_numbered_by_the_inventory():
    phones = [TimedPhone(name, 0.0, 1.0) for name in ("B", "x", "A")]
    labels = Labeller(LETTERS, ("A", "B")).phone_labels(phones)
    assert [label.token_id for label in labels] == [2, IGNORED, 1]
