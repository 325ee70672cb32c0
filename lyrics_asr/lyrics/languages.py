"""The languages of lyrics: their codes, and a guess from the lyrics."""

import re
from functools import lru_cache
from typing import Any

AUTO = "auto"
"""In place of a language: guess it from the lyrics."""

NAMES = {
    "am": "Amharic", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali",
    "ca": "Catalan", "ce": "Chechen", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic",
    "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh", "kn": "Kannada", "ko": "Korean",
    "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam", "mr": "Marathi",
    "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "nb": "Norwegian", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian",
    "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tet": "Tetum", "tg": "Tajik",
    "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "yi": "Yiddish", "yo": "Yoruba", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
"""The names of the known languages, by ISO 639-1 code."""
_LONG_CODES = {
    "amh": "am", "ara": "ar", "arb": "ar", "aze": "az", "azj": "az", "bel": "be", "bul": "bg", "ben": "bn",
    "cat": "ca", "che": "ce", "ces": "cs", "cym": "cy", "dan": "da", "deu": "de", "ell": "el", "eng": "en",
    "epo": "eo", "spa": "es", "est": "et", "eus": "eu", "fas": "fa", "pes": "fa", "fin": "fi", "fra": "fr",
    "gle": "ga", "glg": "gl", "guj": "gu", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy",
    "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kat": "ka", "kaz": "kk", "kan": "kn", "kor": "ko",
    "lat": "la", "lit": "lt", "lav": "lv", "lvs": "lv", "mkd": "mk", "mal": "ml", "mar": "mr", "msa": "ms",
    "zlm": "ms", "nld": "nl", "nor": "no", "nob": "nb", "pan": "pa", "pol": "pl", "por": "pt", "ron": "ro",
    "rus": "ru", "slk": "sk", "slv": "sl", "sqi": "sq", "srp": "sr", "swe": "sv", "swa": "sw", "swh": "sw",
    "tam": "ta", "tel": "te", "tet": "tet", "tgk": "tg", "tha": "th", "tgl": "tl", "tur": "tr", "ukr": "uk",
    "urd": "ur", "vie": "vi", "yid": "yi", "yor": "yo", "zho": "zh", "cmn": "zh", "zul": "zu",
}  # fmt: skip
"""ISO 639-3 codes, the usual one of a language first."""

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
    named = (code for code, name in NAMES.items() if name.lower() == base)
    return _LONG_CODES.get(base) or next(named, base)


def long_code(language: str) -> str:
    """The ISO 639-3 code of a language: "eng" for "en" and "en-US"."""
    base = base_code(language)
    return next((long for long, code in _LONG_CODES.items() if code == base), base)


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
