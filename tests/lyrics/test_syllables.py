import pytest

from lyrics_asr.lyrics.syllables import syllables


@pytest.mark.parametrize(
    ("word", "language", "parts"),
    [
        ("nothing", "en", ["noth", "ing"]),
        ("Yesterday,", "en", ["Yes", "ter", "day,"]),
        ("don't", "en", ["don't"]),
        ("(hello)", "en", ["(hel", "lo)"]),
        ("night-watch", "en", ["night-", "watch"]),
        ("corazón", "es", ["co", "ra", "zón"]),
        ("Sonnenschein", "de", ["Son", "nen", "schein"]),
        ("rhythm", "en", ["rhythm"]),
        ("1999", "en", ["1999"]),
        ("さくら", "ja", ["さくら"]),
    ],
)
def test_words_are_split_into_syllables(word, language, parts):
    assert list(syllables(word, language)) == parts


@pytest.mark.parametrize("word", ["—", "a", "(x)", "rock'n'roll!", "Ångström's", "e\u0301te\u0301"])
def test_the_parts_joined_are_the_word(word):
    assert "".join(syllables(word, "en")) == word
