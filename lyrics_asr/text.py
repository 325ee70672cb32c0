"""Lyrics as they are written, how they are spelled for an acoustic model, and the form that words are counted in.

Conventions
- A word is what stands between white space, exactly as written: case, accents, digits and punctuation stay in it.
- A line that is all in square brackets, such as `[Chorus]`, is a heading: kept in the text but not sung, like
  blank lines.
- What is said differs from what is written for digits ("2nd") and symbols ("&"): both `spell` and `normalize` verbalise
  them, in the lyrics' language.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from pathlib import Path

from num2words import CONVERTER_CLASSES, num2words

from lyrics_asr.types import Vocabulary

WILDCARD = -1
"""Stands in a spelling for a letter that the vocabulary cannot write."""


@dataclass(frozen=True)
class LyricLine:
    """A sung line and its words, both as written."""

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Lyrics:
    """The lyrics of a song: the whole text as written, headings and blank lines included, and its sung lines."""

    text: str
    lines: tuple[LyricLine, ...]

    @property
    def sung_text(self) -> str:
        """The sung lines, with one blank line wherever blank lines or a heading part them."""
        lines = (line.strip() for line in self.text.splitlines())
        text = "\n".join("" if _is_heading(line) else line for line in lines)
        return re.sub(r"\n{3,}", "\n\n", text).strip()


def parse_lyrics(text: str) -> Lyrics:
    """Find the sung lines of a text.

    Raises:
        ValueError: no line is sung.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    stripped = (line.strip() for line in text.splitlines())
    lines = tuple(LyricLine(line, tuple(line.split())) for line in stripped if line and not _is_heading(line))
    if not lines:
        raise ValueError(_NOTHING_SUNG)
    return Lyrics(text, lines)


def read_lyrics(path: Path) -> Lyrics:
    """Read lyrics in UTF-8, in UTF-16 with its byte order mark, or else in Windows-1252 or Latin-1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a file that is not text, or one without a sung line; the message names it.
    """
    _require_file(path)
    text = _decode(path.read_bytes())
    if "\0" in text:
        raise _not_text(path)
    try:
        return parse_lyrics(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def stream_lyrics(path: Path) -> Iterator[str]:
    """The sung lines of lyrics one after the other, as `read_lyrics` finds them, of files too large for the memory.

    The file is read twice, the first time to find its encoding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a file that is not text, or one without a sung line; the message names it.
    """
    _require_file(path)
    empty = True
    with path.open(encoding=_encoding(path)) as file:
        for line in chain.from_iterable(map(str.splitlines, file)):
            if (stripped := line.removeprefix("\ufeff").strip()) and not _is_heading(stripped):
                empty = False
                yield stripped
    if empty:
        raise ValueError(f"{path}: {_NOTHING_SUNG}")


def spell(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """The columns that a written word is sung with.

    Letters come in the vocabulary's own case; a letter that it lacks is folded (é to e, ß to ss), and failing that is
    WILDCARD. Punctuation that it lacks and apostrophes around the word are dropped; a hyphen or dash inside the word,
    like the spaces of a verbalised number, becomes the word delimiter if there is one. A word of nothing but
    punctuation has no columns.
    """
    characters, delimiter_id = _characters(vocabulary), vocabulary.word_delimiter_id
    parts: list[list[int]] = [[]]
    for character in _without_outer_apostrophes(_verbalize(word, language)):
        ids = _fold(character, characters)
        if ids:
            parts[-1].extend(ids)
        elif character.isspace() or character in _SEPARATORS:
            parts.append([])
    spelled = [part for part in parts if part]
    columns: list[int] = []
    for part in spelled:
        if columns and delimiter_id is not None:
            columns.append(delimiter_id)
        columns.extend(part)
    return tuple(columns)


def normalize(text: str, language: str = "en") -> str:
    """The form that word errors are counted on and language models are trained on.

    Lower case, digits and symbols verbalised, headings and punctuation removed but for apostrophes inside words, single
    spaces. Accents stay. Hyphens and dashes part words.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    sung = " ".join(line for line in lines if not _is_heading(line.strip()))
    spoken = unicodedata.normalize("NFC", _verbalize(sung, language).lower())
    kept = unicodedata.normalize("NFC", "".join(_plain(character) for character in spoken))
    return " ".join(_without_outer_apostrophes(kept).split())


_NOTHING_SUNG = "the lyrics are empty: nothing but blank lines and [headings]; write the sung lines"
_CHUNK_CHARACTERS = 1 << 20

_SEPARATORS = frozenset("-‐‑‒–—―/,;:!?~_+=…")
_APOSTROPHES = frozenset("'’‘‛ʼ`´′＇")
_NOT_IN_A_WORD = re.compile(r"(?<![^\W_])'+|'+(?![^\W_])|''+")
# Letters that Unicode does not decompose into a base letter and a mark.
_FOLDED = {
    "ß": "ss", "ẞ": "ss", "ø": "o", "œ": "oe", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
} | dict.fromkeys(_APOSTROPHES, "'")  # fmt: skip


def _is_heading(line: str) -> bool:
    return re.fullmatch(r"\[[^\[\]]*\]", line) is not None


def _require_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such lyrics file; check the name")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a text file with the lyrics")


def _encodings(start: bytes) -> tuple[str, ...]:
    return ("utf-16",) if start.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")


def _encoding(path: Path) -> str:
    """The first encoding that the whole file can be read in, found without holding it in memory."""
    with path.open("rb") as start:
        candidates = _encodings(start.read(2))
    for encoding in candidates:
        try:
            with path.open(encoding=encoding) as file:
                while chunk := file.read(_CHUNK_CHARACTERS):
                    if "\0" in chunk:
                        raise _not_text(path)
            return encoding
        except UnicodeDecodeError:
            continue
    return "latin-1"


def _not_text(path: Path) -> ValueError:
    return ValueError(f"{path}: is not a text file; save the lyrics as plain text in UTF-8")


def _decode(data: bytes) -> str:
    for encoding in _encodings(data):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _without_outer_apostrophes(text: str) -> str:
    unified = "".join("'" if character in _APOSTROPHES else character for character in text)
    return _NOT_IN_A_WORD.sub("", unified)


@lru_cache(maxsize=8)
def _characters(vocabulary: Vocabulary) -> dict[str, int]:
    return dict(vocabulary.character_ids)


def _fold(character: str, characters: dict[str, int]) -> tuple[int, ...]:
    """Columns of one character: its own, in either case, else those of what it folds to, else WILDCARD for a letter."""
    for variant in (character, character.lower(), character.upper()):
        if variant in characters:
            return (characters[variant],)
    folded = _FOLDED.get(character.lower()) or "".join(
        part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
    )
    if folded != character:
        return tuple(column for part in folded for column in _fold(part, characters))
    return (WILDCARD,) if character.isalnum() else ()


def _plain(character: str) -> str:
    """What `normalize` makes of one character: itself, an apostrophe, a space or nothing."""
    if character in _APOSTROPHES:
        return "'"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return character
    return " " if character.isspace() or character in _SEPARATORS else ""


# ---- What is said for digits and symbols ----

# ISO 639-3, as multilingual acoustic models name languages, to num2words' names: ISO 639-1 for the most part.
_LANGUAGES = {
    "amh": "am", "ara": "ar", "arb": "ar", "aze": "az", "azj": "az", "bel": "be", "ben": "bn", "cat": "ca", "che": "ce",
    "ces": "cs", "cym": "cy", "dan": "da", "deu": "de", "eng": "en", "epo": "eo", "spa": "es", "fas": "fa", "pes": "fa",
    "fin": "fi", "fra": "fr", "heb": "he", "hun": "hu", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kan": "kn",
    "kor": "ko", "kaz": "kz", "kk": "kz", "lit": "lt", "lav": "lv", "lvs": "lv", "nld": "nl", "nor": "no", "nob": "no",
    "nb": "no", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk", "slv": "sl", "srp": "sr", "swe": "sv",
    "tel": "te", "tgk": "tg", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi",
}  # fmt: skip
_SYMBOLS = {
    "en": {"&": "and", "%": "percent", "+": "plus"},
    "es": {"&": "y", "%": "por ciento", "+": "más"},
    "fr": {"&": "et", "%": "pour cent", "+": "plus"},
    "de": {"&": "und", "%": "Prozent", "+": "plus"},
}
# Singular and plural.
_CURRENCIES = {
    "en": {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds")},
    "es": {"$": ("dólar", "dólares"), "€": ("euro", "euros"), "£": ("libra", "libras")},
    "fr": {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("livre", "livres")},
    "de": {"$": ("Dollar", "Dollar"), "€": ("Euro", "Euro"), "£": ("Pfund", "Pfund")},
}
_ORDINALS = {"en": "st|nd|rd|th", "es": r"\.?[ºª]", "fr": "ère|ème|er|re|nde|nd|e", "de": r"(?!)"}
_DECADE = r"'?s"
_UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError)


def _verbalize(text: str, language: str) -> str:
    """Replace digits and symbols by the words that are said for them; the rest stays as it is, in Unicode's NFC."""
    language = re.split("[-_]", language.lower())[0]
    language = _LANGUAGES.get(language, language)
    text = re.sub(r"\.{2,}|…", " ", unicodedata.normalize("NFC", text))
    if language in CONVERTER_CLASSES:
        text = _number_pattern(language).sub(lambda match: f" {_say_number(match, language)} ", text)
    for symbol, said in _SYMBOLS.get(language, {}).items():
        text = text.replace(symbol, f" {said} ")
    return text


@lru_cache(maxsize=16)
def _number_pattern(language: str) -> re.Pattern[str]:
    return re.compile(
        rf"""(?P<before>[$€£])?
        (?P<number>\d+(?:[.,]\d+)*)
        (?: (?P<after>[$€£])
          | (?P<ordinal>{_ORDINALS.get(language, "(?!)")})(?!\w)
          | (?P<decade>{_DECADE if language == "en" else "(?!)"})(?!\w) )?""",
        re.VERBOSE | re.IGNORECASE,
    )


def _say_number(match: re.Match[str], language: str) -> str:
    thousands, decimal = (",", ".") if language == "en" else (".", ",")
    number = match["number"]
    if re.fullmatch(rf"\d{{1,3}}(\{thousands}\d{{3}})+(\{decimal}\d+)?", number):
        number = number.replace(thousands, "")
    whole, mark, fraction = number.partition(decimal)
    if not (whole + fraction).isdigit() or len(whole) > _longest_cardinal_digits(language):
        return " ".join(_say_digits(digits, language) for digits in re.findall(r"\d+", number))

    currency = _CURRENCIES.get(language, {}).get(match["before"] or match["after"] or "")
    if currency:
        unit = currency[0] if int(whole) == 1 and not fraction else currency[1]
        if len(fraction) == 2:
            return f"{_say_digits(whole, language)} {unit} {_say_digits(fraction, language)}"
        return f"{_say_decimal(whole, fraction, language)} {unit}"
    if match["ordinal"] and not mark:
        return _say(int(whole), language, "ordinal")
    if match["decade"] and not mark:
        said = _say_digits(whole, language)
        return said[:-1] + "ies" if said.endswith("y") else said + "s"
    return _say_decimal(whole, fraction, language)


def _say_decimal(whole: str, fraction: str, language: str) -> str:
    if not fraction:
        return _say_digits(whole, language)
    return _say(Decimal(f"{int(whole)}.{fraction[: _longest_cardinal_digits(language)]}"), language)


def _say_digits(digits: str, language: str) -> str:
    """A whole number; a year where it can be one; digit by digit with a leading zero or when it is very long."""
    if len(digits) > _longest_cardinal_digits(language) or (len(digits) > 1 and int(digits[0]) == 0):
        return _say_each(digits, language)
    is_year = language in ("en", "de") and len(digits) == 4 and 1100 <= int(digits) < 2100
    return _say(int(digits), language, "year" if is_year else "cardinal")


def _say(number: int | Decimal, language: str, to: str = "cardinal") -> str:
    """A number, digit by digit where num2words fails: its languages differ in how far they count and in their gaps."""
    try:
        return str(num2words(number, lang=language, to=to))
    except _UNREADABLE:
        return _say_each(f"{Decimal(number):f}", language)


def _say_each(digits: str, language: str) -> str:
    return " ".join(str(num2words(int(digit), lang=language)) for digit in digits if digit.isdigit())


def _longest_cardinal_digits(language: str) -> int:
    return 6 if language == "am" else 12  # with longer Amharic numbers num2words does not come to an end
