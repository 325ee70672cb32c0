"""The languages of lyrics: their codes, and a guess from the lyrics."""

import re
from functools import lru_cache
from typing import Any

AUTO = "auto"
"""In place of a language: guess it from the lyrics."""

# ISO 639-1 code, ISO 639-3 codes, name.
_TABLE = """
am amh Amharic; ar ara,arb Arabic; az aze,azj Azerbaijani; be bel Belarusian; bg bul Bulgarian; bn ben Bengali; ca cat
Catalan; ce che Chechen; cs ces Czech; cy cym Welsh; da dan Danish; de deu German; el ell Greek; en eng English; eo
epo Esperanto; es spa Spanish; et est Estonian; eu eus Basque; fa fas,pes Persian; fi fin Finnish; fr fra French; ga
gle Irish; gl glg Galician; gu guj Gujarati; he heb Hebrew; hi hin Hindi; hr hrv Croatian; hu hun Hungarian; hy hye
Armenian; id ind Indonesian; is isl Icelandic; it ita Italian; ja jpn Japanese; ka kat Georgian; kk kaz Kazakh; kn kan
Kannada; ko kor Korean; la lat Latin; lt lit Lithuanian; lv lav,lvs Latvian; mk mkd Macedonian; ml mal Malayalam; mr
mar Marathi; ms msa,zlm Malay; nl nld Dutch; no nor Norwegian; nb nob Norwegian; pa pan Punjabi; pl pol Polish; pt por
Portuguese; ro ron Romanian; ru rus Russian; sk slk Slovak; sl slv Slovenian; sq sqi Albanian; sr srp Serbian; sv swe
Swedish; sw swa,swh Swahili; ta tam Tamil; te tel Telugu; tet tet Tetum; tg tgk Tajik; th tha Thai; tl tgl Tagalog; tr
tur Turkish; uk ukr Ukrainian; ur urd Urdu; vi vie Vietnamese; yi yid Yiddish; yo yor Yoruba; zh zho,cmn Chinese; zu
zul Zulu
"""
_ROWS = [row.split(maxsplit=2) for row in _TABLE.strip().split(";")]
NAMES = {code: name for code, _, name in _ROWS}
"""The names of the known languages, by ISO 639-1 code."""
_CODES = {long: code for code, longs, _ in _ROWS for long in longs.split(",")}
_LONG_CODES = {code: longs.split(",")[0] for code, longs, _ in _ROWS}
_CODES |= {code: code for code in NAMES} | {name.lower(): code for code, name in NAMES.items() if code != "nb"}

_SCRIPTS = {
    "ja": r"[\u3040-\u30ff]", "ko": r"[\uac00-\ud7a3]", "zh": r"[\u4e00-\u9fff]", "th": r"[\u0e00-\u0e7f]",
    "el": r"[\u0370-\u03ff]", "he": r"[\u0590-\u05ff]", "hy": r"[\u0530-\u058f]", "ka": r"[\u10a0-\u10ff]",
    "bn": r"[\u0980-\u09ff]", "pa": r"[\u0a00-\u0a7f]", "gu": r"[\u0a80-\u0aff]", "ta": r"[\u0b80-\u0bff]",
    "te": r"[\u0c00-\u0c7f]", "kn": r"[\u0c80-\u0cff]", "ml": r"[\u0d00-\u0d7f]", "am": r"[\u1200-\u137f]",
}  # fmt: skip
_MIN_SCRIPT_SHARE = 0.3
_MIN_PROBABILITY = 0.8


def base_code(language: str) -> str:
    """The ISO 639-1 code of a language where it has one: "en" for "eng", "en-US" and "English".

    Unknown codes are returned in lower case, without region and script.
    """
    base = re.split("[-_]", language.strip().lower())[0]
    return _CODES.get(base, base)


def long_code(language: str) -> str:
    """The ISO 639-3 code of a language: "eng" for "en" and "en-US"."""
    base = base_code(language)
    return _LONG_CODES.get(base, base)


def require_language(language: str, *, or_of_model: bool = False) -> None:
    """Make sure that a language is known.

    Args:
        language: code or English name.
        or_of_model: whether any other code of three letters may be known to a multilingual model.

    Raises:
        ValueError: it is not; the message lists those that are.
    """
    base = base_code(language)
    if base not in NAMES and not (or_of_model and re.fullmatch("[a-z]{3}", base)):
        known = ", ".join(f"{code} ({name})" for code, name in NAMES.items())
        raise ValueError(f"unknown language {language!r}; known are {AUTO} (guessed from the lyrics), {known}")


def resolve_language(language: str, text: str) -> str:
    """The language of a text: the given one, or a guess for "auto".

    Raises:
        ValueError: unknown language.
    """
    if language == AUTO:
        return guess_language(text)
    require_language(language, or_of_model=True)
    return language


def guess_language(text: str) -> str:
    """Guess the language of lyrics: by script, or else by the frequencies of letter sequences.

    Returns:
        An ISO 639-1 code; "en" where the text is too short for a guess.
    """
    letters = sum(character.isalpha() for character in text)
    for code, script in _SCRIPTS.items():
        if len(re.findall(script, text)) > _MIN_SCRIPT_SHARE * letters:
            return code
    code, probability = _identifier().classify(text)
    is_latin = len(re.findall(r"[A-Za-z\u00c0-\u024f]", text)) >= letters / 2
    return base_code(code) if probability >= _MIN_PROBABILITY or not is_latin else "en"


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.nb_classes if code in NAMES])
    return identifier
