"""Text normalization for word error rates and for language model training.

Conventions
- Digits and symbols are verbalized in the language of the lyrics.
- Accents and apostrophes inside words are kept; all other punctuation is removed.
"""

import re
import unicodedata

from lyrics_asr.lyrics.headings import is_heading
from lyrics_asr.lyrics.verbalization import verbalize

SEPARATORS = frozenset("-‐‑‒–—―/,;:!?~_+=…")
"""Punctuation that separates words."""
APOSTROPHES = frozenset("'’‘‛ʼ`´′＇")
_PLAIN_APOSTROPHES = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))
_NOT_IN_A_WORD = re.compile(r"(?<![^\W_])'+|'+(?![^\W_])|''+")


def normalize(text: str, language: str = "en") -> str:
    """Normalize a text to lower-case words with single spaces between them.

    Headings and punctuation are removed, except apostrophes inside words. Hyphens and dashes separate words.

    Args:
        text: with or without headings and line breaks.
        language: language of the text, to verbalize digits and symbols.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    sung = " ".join(line for line in lines if not is_heading(line.strip()))
    spoken = unicodedata.normalize("NFC", verbalize(sung, language).lower())
    kept = unicodedata.normalize("NFC", "".join(_plain(character) for character in spoken))
    return " ".join(without_outer_apostrophes(kept).split())


def without_outer_apostrophes(text: str) -> str:
    """Replace typographic apostrophes by "'", and remove those that are not inside a word."""
    return _NOT_IN_A_WORD.sub("", text.translate(_PLAIN_APOSTROPHES))


def _plain(character: str) -> str:
    """Normalize one character: to itself, an apostrophe, a space or nothing."""
    if character in APOSTROPHES:
        return "'"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return character
    return " " if character.isspace() or character in SEPARATORS else ""
