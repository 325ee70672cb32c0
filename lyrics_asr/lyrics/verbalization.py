"""Verbalize digits and symbols: write them as the words that are spoken for them, in the language of the lyrics.

Conventions
- Languages are ISO 639-1 or ISO 639-3 codes; a region or script after "-" or "_" is ignored.
- Numbers are verbalized in all languages of num2words. Symbols, currencies, ordinals and decades are only verbalized in
  the languages of the tables below.
"""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

from num2words import CONVERTER_CLASSES, num2words

# ISO 639-3 codes, which multilingual acoustic models use, to the codes of num2words, which are mostly ISO 639-1.
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

# What num2words raises for numbers that a language does not support.
_NUM2WORDS_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError)


NOT_LETTERS = re.compile(r"\d|\.\.|[…&%+]")
"""Found in every text that `verbalize` changes by more than Unicode's NFC."""


def verbalize(text: str, language: str) -> str:
    """Replace digits and symbols by words; the rest of the text is only normalized to Unicode NFC."""
    language = re.split("[-_]", language.lower())[0]
    language = _LANGUAGES.get(language, language)
    text = re.sub(r"\.{2,}|…", " ", unicodedata.normalize("NFC", text))
    if language in CONVERTER_CLASSES:
        text = _number_pattern(language).sub(lambda match: f" {_say_number(match, language)} ", text)
    for symbol, words in _SYMBOLS.get(language, {}).items():
        text = text.replace(symbol, f" {words} ")
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
    if not (whole + fraction).isdigit() or len(whole) > _max_digits(language):
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
        year = _say_digits(whole, language)
        return year[:-1] + "ies" if year.endswith("y") else year + "s"
    return _say_decimal(whole, fraction, language)


def _say_decimal(whole: str, fraction: str, language: str) -> str:
    if not fraction:
        return _say_digits(whole, language)
    return _say(Decimal(f"{int(whole)}.{fraction[: _max_digits(language)]}"), language)


def _say_digits(digits: str, language: str) -> str:
    """Verbalize a whole number: as a year if it looks like one; digit by digit if very long or with a leading zero."""
    if len(digits) > _max_digits(language) or (len(digits) > 1 and int(digits[0]) == 0):
        return _say_each(digits, language)
    is_year = language in ("en", "de") and len(digits) == 4 and 1100 <= int(digits) < 2100
    return _say(int(digits), language, "year" if is_year else "cardinal")


def _say(number: int | Decimal, language: str, to: str = "cardinal") -> str:
    """Verbalize a number with num2words, or digit by digit if it is not supported in this language."""
    try:
        return str(num2words(number, lang=language, to=to))
    except _NUM2WORDS_ERRORS:
        return _say_each(f"{Decimal(number):f}", language)


def _say_each(digits: str, language: str) -> str:
    return " ".join(str(num2words(int(digit), lang=language)) for digit in digits if digit.isdigit())


def _max_digits(language: str) -> int:
    return 6 if language == "am" else 12  # num2words does not terminate for longer Amharic numbers
