"""Verbalize digits and symbols: write them as the words that are spoken for them, in the language of the lyrics.

Conventions
- Languages are ISO 639-1 or ISO 639-3 codes; a region or script after "-" or "_" is ignored.
- Numbers are verbalized in all languages of num2words. Symbols, currencies, ordinals, fractions and decades are only
  verbalized in the languages of the tables below.
- Roman numerals from II to XXXIX are cardinal numbers, except XX and XXX. Single letters are letters.
"""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

from num2words import CONVERTER_CLASSES, num2words

from lyrics_asr.lyrics.languages import base_code

_NUM2WORDS_CODES = {"kk": "kz", "nb": "no"}

_SYMBOLS = {
    "en": {"&": "and", "%": "percent", "+": "plus", "@": "at", "°": "degrees"},
    "es": {"&": "y", "%": "por ciento", "+": "más", "@": "arroba", "°": "grados"},
    "fr": {"&": "et", "%": "pour cent", "+": "plus", "@": "arobase", "°": "degrés"},
    "de": {"&": "und", "%": "Prozent", "+": "plus", "@": "at", "°": "Grad"},
}
_ABBREVIATIONS = {"en": {r"\bw/o\b": "without", r"\bw/": "with", r"\bb/c\b": "because"}}
_NUMBER_SIGNS = {"en": "number", "es": "número", "fr": "numéro", "de": "Nummer"}
_AND = {"en": "and", "es": "y", "fr": "et", "de": "und"}
_FULL_HOURS = {"en": "{} o'clock", "es": "{} en punto", "fr": "{} heures", "de": "{} Uhr"}
_HOURS_AND_MINUTES = {"en": "{} {}", "es": "{} y {}", "fr": "{} heures {}", "de": "{} Uhr {}"}
_HALVES = {"en": "half", "es": "medio", "fr": "demi", "de": "ein halb"}
_AND_A_HALF = {"en": " and a half", "es": " y medio", "fr": " et demi", "de": "einhalb"}
_QUARTERS = {
    "en": ("quarter", "quarters"),
    "es": ("cuarto", "cuartos"),
    "fr": ("quart", "quarts"),
    "de": ("Viertel", "Viertel"),
}
_THIRDS = {
    "en": ("third", "thirds"),
    "es": ("tercio", "tercios"),
    "fr": ("tiers", "tiers"),
    "de": ("Drittel", "Drittel"),
}

# Singular and plural.
_CURRENCIES = {
    "en": {
        "$": ("dollar", "dollars"),
        "€": ("euro", "euros"),
        "£": ("pound", "pounds"),
        "¥": ("yen", "yen"),
        "¢": ("cent", "cents"),
    },
    "es": {
        "$": ("dólar", "dólares"),
        "€": ("euro", "euros"),
        "£": ("libra", "libras"),
        "¥": ("yen", "yenes"),
        "¢": ("centavo", "centavos"),
    },
    "fr": {
        "$": ("dollar", "dollars"),
        "€": ("euro", "euros"),
        "£": ("livre", "livres"),
        "¥": ("yen", "yens"),
        "¢": ("cent", "cents"),
    },
    "de": {
        "$": ("Dollar", "Dollar"),
        "€": ("Euro", "Euro"),
        "£": ("Pfund", "Pfund"),
        "¥": ("Yen", "Yen"),
        "¢": ("Cent", "Cent"),
    },
}
_MULTIPLES = {"k": 1_000, "m": 1_000_000}

_ORDINALS = {"en": "st|nd|rd|th", "es": r"\.?[ºª]|er|ro|ra|do|da|to|ta", "fr": "ère|ème|er|re|nde|nd|e", "de": r"(?!)"}
_TIME = re.compile(r"(?<![\d:.,])(\d|1\d|2[0-4])[:h]([0-5]\d)(?![\d:])(?P<half> ?[ap]\.?m\b)?", re.IGNORECASE)
_FRACTION = re.compile(r"(?:(?<![\d/])([1-3])/([2345])(?![\d/])|(\d*) ?([½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]))")
_FRACTION_SIGN = re.compile("[½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
_VI_IS_A_WORD = frozenset({"es", "it", "pt", "ca"})
_PHONE = re.compile(r"(?<![\d-])(?:\d{3}-)?\d{3}-\d{4}(?![\d-])")
_ROMAN = re.compile(r"(?<![\w'’])(?!(?:XX|XXX)\b)(?=[IVX]{2})(X{0,3})(IX|IV|V?I{0,3})(?=(?:e|ème)?\b(?!['’]))")
_DECADE = r"'?s"

# What num2words raises for numbers that a language does not support.
_NUM2WORDS_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError)


NOT_LETTERS = re.compile(r"\d|\.\.|[…&%+@#°$€£¥¢½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]|[IVX]{2}|\b[wb]/", re.IGNORECASE)
"""Found in every text that `verbalize` changes by more than Unicode's NFC."""


def verbalize(text: str, language: str) -> str:
    """Replace digits and symbols by words; the rest of the text is only normalized to Unicode NFC."""
    language = base_code(language)
    language = _NUM2WORDS_CODES.get(language, language)
    text = re.sub(r"\.{2,}|…", " ", unicodedata.normalize("NFC", text))
    for pattern, words in _ABBREVIATIONS.get(language, {}).items():
        text = re.sub(pattern, f"{words} ", text, flags=re.IGNORECASE)
    if language in CONVERTER_CLASSES:
        text = _ROMAN.sub(lambda match: _roman(match, language), text)
        text = _PHONE.sub(lambda match: f" {_say_each(match[0], language)} ", text)
        if language in _SYMBOLS:
            text = _FRACTION.sub(lambda match: f" {_say_fraction(match, language)} ", text)
            text = re.sub(r"#(?=\d)", f" {_NUMBER_SIGNS[language]} ", text)
        text = _TIME.sub(lambda match: f" {_say_time(match, language)} ", text)
        text = _FRACTION_SIGN.sub(lambda match: f" {unicodedata.normalize('NFKC', match[0])} ", text)
        text = _number_pattern(language).sub(lambda match: f" {_say_number(match, language)} ", text)
    for symbol, words in _SYMBOLS.get(language, {}).items():
        text = text.replace(symbol, f" {words} ")
    return text


@lru_cache(maxsize=16)
def _number_pattern(language: str) -> re.Pattern[str]:
    return re.compile(
        rf"""(?P<before>[$€£¥])?
        (?P<number>\d+(?:[.,]\d+)*)
        (?(before)(?P<multiple>(?-i:[kKM])(?![^\W_]))?)
        (?: (?P<after>[$€£¥¢])
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
    currency = _CURRENCIES.get(language, {}).get(match["before"] or match["after"] or "")
    if match["multiple"] and currency and (whole + fraction).isdigit():
        number = str(Decimal(f"{whole}.{fraction or 0}") * _MULTIPLES[match["multiple"].lower()])
        whole, mark, fraction = number.partition(".")
        fraction = fraction.rstrip("0")
    if not (whole + fraction).isdigit() or len(whole) > _max_digits(language):
        return " ".join(_say_digits(digits, language) for digits in re.findall(r"\d+", number))
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


def _say_fraction(match: re.Match[str], language: str) -> str:
    if match[1]:
        whole, numerator, denominator = "", int(match[1]), int(match[2])
    else:
        whole = match[3]
        numerator, denominator = map(int, unicodedata.normalize("NFKC", match[4]).split("⁄"))
    if denominator == 2 and numerator == 1:
        return f"{_say_digits(whole, language)}{_AND_A_HALF[language]}" if whole else _HALVES[language]
    singular, plural = {3: _THIRDS, 4: _QUARTERS}.get(denominator, {}).get(language) or _parts(denominator, language)
    count = "" if numerator == 1 and denominator == 4 else _say(numerator, language)
    fraction = f"{count} {singular if numerator == 1 else plural}"
    return f"{_say_digits(whole, language)} {_AND[language]} {fraction}" if whole else fraction


def _parts(denominator: int, language: str) -> tuple[str, str]:
    """A part of so many, and several: "fifth", "fifths"."""
    if language == "de":
        return f"{_say(denominator, language)}tel", f"{_say(denominator, language)}tel"
    ordinal = _say(denominator, language, "ordinal")
    return ordinal, f"{ordinal}s"


def _say_time(match: re.Match[str], language: str) -> str:
    hours, minutes = _say(int(match[1]), language), int(match[2])
    if minutes == 0:
        said = hours if match["half"] else _FULL_HOURS.get(language, "{}").format(hours)
    else:
        said_minutes = f"oh {_say(minutes, language)}" if minutes < 10 and language == "en" else _say(minutes, language)
        said = _HOURS_AND_MINUTES.get(language, "{} {}").format(hours, said_minutes)
    return said + (match["half"] or "")


def _roman(match: re.Match[str], language: str) -> str:
    if match[0] == "VI" and language in _VI_IS_A_WORD:
        return match[0]
    ones = {"IX": 9, "IV": 4}.get(match[2], 5 * match[2].count("V") + match[2].count("I"))
    return str(10 * len(match[1]) + ones)


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
