"""Words in other scripts are spelled by sound."""

import pytest

from lyrics_asr.lyrics.spelling import spell_by_sound
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.types import WILDCARD, Vocabulary

UPPER = Vocabulary(("<pad>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"), 0, 1)
CYRILLIC = Vocabulary(("<pad>", "|", *"абвгдежзийклмнопрстуфхцчшщъыьэюя"), 0, 1)


def written(word, language="en", vocabulary=UPPER):
    return "".join("*" if i == WILDCARD else vocabulary.tokens[i] for i in spell_by_sound(word, vocabulary, language))


def test_words_that_the_vocabulary_spells_are_left_alone():
    assert written("Снег", "ru", CYRILLIC) == "снег"
    assert written("Don't") == "DON'T"
    assert written("café") == "CAFE"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "language", "expected"),
    [
        ("Снег", "ru", "SNEG"),
        ("любовь,", "ru", "LYUBOV"),
        ("7", "ru", "SEM"),
        ("Καλημέρα!", "el", "KALEMERA"),
        ("さくら", "ja", "SAKURA"),
        ("ラーメン", "en", "RAAMEN"),
        ("사랑해", "ko", "SARANGHAE"),
        ("حبيبي", "ar", "HBYBY"),
        ("मेरे", "hi", "MERE"),
        ("月亮", "zh", "YUELIANG"),
        ("Ωmega", "en", "OMEGA"),
        ("Ленин-парк", "ru", "LENIN|PARK"),
        ("Hello", "ru", "HELLO"),
    ],
)
def test_spelling_by_sound(word, language, expected):
    assert written(word, language) == expected


@pytest.mark.slow
def test_kanji_are_read_in_japanese():
    pytest.importorskip("janome")
    assert written("心", "ja") == "KOKORO"
    assert written("君が代は", "en") == "KIMIGAYOWA"  # kana says that it is Japanese
    assert written("心", "zh") == "XIN"


def test_words_come_back_as_written():
    (line,) = parse_lyrics("Снег идёт").lines
    assert line.words == ("Снег", "идёт")
