import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import CONVERTER_CLASSES, num2words

from lyrics_asr.lyrics.languages import NAMES
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.lyrics.text import LyricLine, parse_corpus_lyrics, parse_lyrics, read_lyrics
from lyrics_asr.lyrics.verbalization import _NUM2WORDS_CODES
from lyrics_asr.types import WILDCARD, Vocabulary
from tests.paths import LYRICS

UPPER = Vocabulary(("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"), 0, 4)
LOWER = Vocabulary((*"abcdefghijklmnopqrstuvwxyz'", "<pad>"), 27, None)
ACCENTED = Vocabulary(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyzéñß-"), 0, 1)


def written(word, vocabulary=UPPER, language="en"):
    return "".join("*" if i == WILDCARD else vocabulary.tokens[i] for i in spell(word, vocabulary, language))


def test_lines_words_and_headings():
    text = "[Verse 1]\n  Don't  stop — now! \n\n\n[Chorus: all]\nLa-la\n"
    lyrics = parse_lyrics(text)
    assert lyrics.text == text
    assert lyrics.lines == (
        LyricLine("Don't  stop — now!", ("Don't", "stop", "—", "now!")),
        LyricLine("La-la", ("La-la",)),
    )


def test_corpora_are_read_literally():
    text = "[Verse 1]\nChorus\nLa la (x2)\n[Chorus]\n"
    assert [line.text for line in parse_corpus_lyrics(text).lines] == ["Chorus", "La la (x2)"]


@pytest.mark.parametrize("text", ["", "  \n\n\t", "\ufeff", "[Chorus]\n\n[Verse]"])
def test_empty_lyrics_are_refused(text, tmp_path):
    with pytest.raises(ValueError, match="the lyrics are empty: nothing but blank lines and"):
        parse_lyrics(text)
    path = tmp_path / "song.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"song\.txt: the lyrics are empty"):
        read_lyrics(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding, newline, tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes(newline.join(["Où est la clé ?", "", "Ça va, señor"]).encode(encoding))
    lyrics = read_lyrics(path)
    assert lyrics.text == "Où est la clé ?\n\nÇa va, señor"
    assert [line.text for line in lyrics.lines] == ["Où est la clé ?", "Ça va, señor"]


def test_windows_quotes_are_not_read_as_control_characters(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes(b"Don\x92t")
    assert read_lyrics(path).lines[0].words == ("Don’t",)


def test_files_that_are_no_lyrics_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt: no such lyrics file"):
        read_lyrics(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="is a folder"):
        read_lyrics(tmp_path)
    (tmp_path / "song.rtf").write_text("{\\rtf1 Hello}")
    with pytest.raises(ValueError, match=r"song\.rtf: is a document in RTF"):
        read_lyrics(tmp_path / "song.rtf")
    (tmp_path / "binary.txt").write_bytes(b"RIFF\x00\x00\x01\xff")
    with pytest.raises(ValueError, match=r"binary\.txt: is not a text file"):
        read_lyrics(tmp_path / "binary.txt")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Hello,", "HELLO"),
        ("don’t", "DON'T"),
        ("'cause", "CAUSE"),
        ("“rockin'”", "ROCKIN"),
        ("café", "CAFE"),
        ("Straße", "STRASSE"),
        ("œuvre", "OEUVRE"),
        ("Smørrebrød", "SMORREBROD"),
        ("la-la—la", "LA|LA|LA"),
        ("so...long", "SO|LONG"),
        ("U.S.A.", "USA"),
        ("2nd", "SECOND"),
        ("21", "TWENTY|ONE"),
        ("1990", "NINETEEN|NINETY"),
        ("1,000", "ONE|THOUSAND"),
        ("3.5", "THREE|POINT|FIVE"),
        ("10:30", "TEN|THIRTY"),
        ("3:00", "THREE|O'CLOCK"),
        ("3:05", "THREE|OH|FIVE"),
        ("½", "HALF"),
        ("2½", "TWO|AND|A|HALF"),
        ("¾", "THREE|QUARTERS"),
        ("2/3", "TWO|THIRDS"),
        ("24/7", "TWENTY|FOUR|SEVEN"),
        ("2000s", "TWO|THOUSANDS"),
        ("XIV", "FOURTEEN"),
        ("II,", "TWO"),
        ("I", "I"),
        ("MIX", "MIX"),
        ("XX", "XX"),
        ("w/", "WITH"),
        ("w/o", "WITHOUT"),
        ("#1", "NUMBER|ONE"),
        ("@", "AT"),
        ("50¢", "FIFTY|CENTS"),
        ("$5k", "FIVE|THOUSAND|DOLLARS"),
        ("5k", "FIVE|K"),
        ("867-5309", "EIGHT|SIX|SEVEN|FIVE|THREE|ZERO|NINE"),
        ("9-1-1", "NINE|ONE|ONE"),
        ("20°", "TWENTY|DEGREES"),
        ("007", "ZERO|ZERO|SEVEN"),
        ("'80s", "EIGHTIES"),
        ("$5", "FIVE|DOLLARS"),
        ("$1", "ONE|DOLLAR"),
        ("$3.50", "THREE|DOLLARS|FIFTY"),
        ("50%", "FIFTY|PERCENT"),
        ("R&B", "R|AND|B"),
        ("&", "AND"),
        ("2Pac", "TWO|PAC"),
        ("9" * 5000, "|".join(["NINE"] * 5000)),
        ("日本", "**"),
        ("Ωmega", "*MEGA"),
        ("-", ""),
        ("😀", ""),
        ("👩\u200d🎤", ""),
        ("...", ""),
    ],
)
def test_spelling_in_english(word, expected):
    assert written(word) == expected


@pytest.mark.parametrize(
    ("word", "language", "expected"),
    [
        ("2ème", "fr", "DEUXIEME"),
        ("3,5", "fr", "TROIS|VIRGULE|CINQ"),
        ("5€", "fr", "CINQ|EUROS"),
        ("&", "fr", "ET"),
        ("1990", "es", "MIL|NOVECIENTOS|NOVENTA"),
        ("2º", "es", "SEGUNDO"),
        ("3:30", "es", "TRES|Y|TREINTA"),
        ("½", "es", "MEDIO"),
        ("VI", "es", "VI"),
        ("VII", "es", "SIETE"),
        ("#1", "es", "NUMERO|UNO"),
        ("3:00", "fr", "TROIS|HEURES"),
        ("3h30", "fr", "TROIS|HEURES|TRENTE"),
        ("2½", "fr", "DEUX|ET|DEMI"),
        ("XXe", "fr", "VINGTIEME"),
        ("3:00", "de", "DREI|UHR"),
        ("¾", "de", "DREI|VIERTEL"),
        ("½", "it", "UNO|DUE"),
        ("3:00", "it", "TRE"),
        ("1990", "de", "NEUNZEHNHUNDERTNEUNZIG"),
        ("1.000", "de-AT", "EINTAUSEND"),
        ("7", "deu", "SIEBEN"),
        ("7", "it", "SETTE"),
        ("&", "it", ""),
        ("7", "unheard-of", "*"),
    ],
)
def test_spelling_in_other_languages(word, language, expected):
    assert written(word, language=language) == expected


@pytest.mark.parametrize(
    ("code", "seven"),
    [
        ("ita", "sette"),
        ("por", "sete"),
        ("nld", "zeven"),
        ("pol", "siedem"),
        ("ces", "sedm"),
        ("swe", "sju"),
        ("dan", "syv"),
        ("nob", "syv"),
        ("fin", "seitsemän"),
        ("rus", "семь"),
        ("ukr", "сім"),
        ("tur", "yedi"),
        ("jpn", "七"),
        ("kor", "칠"),
        ("ron", "șapte"),
        ("hun", "hét"),
        ("azj-script_latin", "yeddi"),
    ],
)
def test_three_letter_languages(code, seven):
    assert normalize("7", code) == seven


def test_every_language_of_num2words_is_known():
    codes = {_NUM2WORDS_CODES.get(code, code) for code in NAMES}
    assert {code for code in CONVERTER_CLASSES if "_" not in code} <= codes
    assert set(_NUM2WORDS_CODES.values()) <= set(CONVERTER_CLASSES)


@pytest.mark.parametrize("language", sorted(code for code in CONVERTER_CLASSES if "_" not in code))
def test_every_number_is_read_in_every_language(language):
    numbers = "0 7 21 1990 2nd 3.5 3,5 0,0000001 1,000 123456 1234567 12345678901 999999999999 9999999999999"
    said = normalize(numbers, language)
    assert not any(character.isdigit() for character in said)
    assert said.startswith(normalize(num2words(0, lang=language), language))


@pytest.mark.parametrize(
    ("language", "digits"),
    [
        ("kn", "12345678901"),  # OverflowError
        ("am", "1990"),  # TypeError
        ("am", "1234567"),  # never comes to an end
        ("en", "1234567890123"),
    ],
)
def test_what_num2words_cannot_count_is_read_digit_by_digit(language, digits):
    expected = " ".join(num2words(int(digit), lang=language) for digit in digits)
    assert normalize(digits, language) == normalize(expected, language)


def test_spelling_keeps_to_the_vocabulary():
    assert written("Été", ACCENTED) == "éte".replace("e", "é")
    assert written("Où-ça", ACCENTED) == "ou-ca"
    assert written("weiß", ACCENTED) == "weiß"
    assert written("La-21", LOWER) == "latwentyone"
    assert written("a|b", UPPER) == "AB"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Chorus]\nDon’t STOP, 'cause I'm in!\n\n“Well-known” — yes", "don't stop cause i'm in well known yes"),
        ("Café Straße", "café straße"),
        ("The 2nd of 21 & $5", "the second of twenty one and five dollars"),
        ("1,000 miles...and more", "one thousand miles and more"),
        ("日本 😀", "日本"),
        ("e\u0301te\u0301", "été"),
        ("", ""),
    ],
)  # fmt: skip
def test_normalized_form(text, expected):
    assert normalize(text) == expected


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.text("0123456789.,$€%' -'sthe&ndrº[]\n")), st.sampled_from(["en", "fr", "de", "es", "ja"])
)
def test_normalizing_twice_changes_nothing(text, language):
    once = normalize(text, language)
    assert normalize(once, language) == once
    assert once == once.lower()
    assert once == " ".join(once.split())


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1), st.sampled_from([UPPER, LOWER, ACCENTED]))
def test_any_word_is_spelled_with_letters_between_single_delimiters(word, vocabulary):
    columns = spell(word, vocabulary)
    delimiter = vocabulary.word_delimiter_id
    assert set(columns) <= {WILDCARD, delimiter, *vocabulary.text_ids.values()} - {None}
    if delimiter is not None and columns:
        parts = " ".join(map(str, columns)).split(str(delimiter) if delimiter > 9 else f" {delimiter} ")
        assert all(part.strip() for part in parts)
        assert columns[0] != delimiter != columns[-1]


@pytest.mark.slow
def test_spelling_and_normal_form_agree_on_real_lyrics():
    words = [
        word
        for path in (LYRICS / "en").glob("*.txt")
        for line in parse_corpus_lyrics(path.read_text("utf-8")).lines
        for word in line.words
    ]
    assert len(words) > 10_000
    for word in set(words):
        assert written(word).replace("|", " ").lower() == normalize(word)


def test_sung_text_has_one_blank_line_where_stanzas_part():
    text = "[Intro]\n Oh,  my \n\n\n[Verse 1]\nLa\n[Chorus]\nDi da\n\n"
    assert parse_lyrics(text).sung_text == "Oh,  my\n\nLa\n\nDi da"
