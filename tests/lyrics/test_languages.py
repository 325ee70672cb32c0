# ruff: noqa: E501
import pytest

from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.lyrics.languages import base_code, guess_language, require_language, resolve_language
from tests.paths import JAMENDO


@pytest.mark.parametrize(
    ("given", "code"),
    [("en", "en"), ("eng", "en"), ("en-US", "en"), ("pt_BR", "pt"), ("azj-script_latin", "az"), ("French", "fr"), ("xyz", "xyz")],
)  # fmt: skip
def test_codes_and_names(given, code):
    assert base_code(given) == code


def test_unknown_languages_are_refused_with_a_list():
    with pytest.raises(ValueError, match=r"unknown language 'xx'; known are auto .*, de \(German\), .*, zu \(Zulu\)"):
        resolve_language("xx", "")
    require_language("xyz", or_of_model=True)
    with pytest.raises(ValueError, match="unknown language 'xyz'"):
        require_language("xyz")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Снег идёт, снег идёт, к белым звёздочкам в буране тянутся цветы герани", "ru"),
        ("Я кохаю тебе, моя мила, і ти мене", "uk"),
        ("Καλημέρα κόσμε", "el"),
        ("さくら さくら 君が代", "ja"),
        ("사랑해 너를", "ko"),
        ("月亮代表我的心", "zh"),
        ("حبيبي يا نور العين", "ar"),
        ("मेरे देश की धरती सोना उगले उगले हीरे मोती है", "hi"),
        ("Ich liebe dich und du bist mein", "de"),
        ("Te quiero mi amor la noche", "es"),
        ("On fait la fête toute la nuit", "fr"),
        ("Amo você meu amor", "pt"),
        ("ik hou van jou mijn lief", "nl"),
        ("Hello", "en"),
        ("", "en"),
    ],
)
def test_languages_are_guessed(text, code):
    assert guess_language(text) == resolve_language("auto", text) == code


@pytest.mark.slow
@pytest.mark.skipif(not (JAMENDO / "JamendoLyrics.csv").is_file(), reason=f"no JamendoLyrics in {JAMENDO}")
def test_languages_of_real_songs():
    songs = read_jamendo(JAMENDO)
    right = sum(guess_language(song.lyrics) == song.language for song in songs)
    assert right >= 0.98 * len(songs)
