"""The form in which word errors are counted and language models are trained."""

import re
import unicodedata

from lyrics_asr.lyrics.text import is_heading
from lyrics_asr.lyrics.verbalization import verbalize


def normalize(text: str, language: str = "en") -> str:
    """The form that word errors are counted on and language models are trained on.

    Lower case, digits and symbols verbalised, headings and punctuation removed but for apostrophes inside words, single
    spaces. Accents stay. Hyphens and dashes part words.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    sung = " ".join(line for line in lines if not is_heading(line.strip()))
    spoken = unicodedata.normalize("NFC", verbalize(sung, language).lower())
    kept = unicodedata.normalize("NFC", "".join(_plain(character) for character in spoken))
    return " ".join(without_outer_apostrophes(kept).split())


SEPARATORS = frozenset("-‐‑‒–—―/,;:!?~_+=…")


APOSTROPHES = frozenset("'’‘‛ʼ`´′＇")


_NOT_IN_A_WORD = re.compile(r"(?<![^\W_])'+|'+(?![^\W_])|''+")


def without_outer_apostrophes(text: str) -> str:
    """Text with plain apostrophes, inside words alone."""
    unified = "".join("'" if character in APOSTROPHES else character for character in text)
    return _NOT_IN_A_WORD.sub("", unified)


def _plain(character: str) -> str:
    """What `normalize` makes of one character: itself, an apostrophe, a space or nothing."""
    if character in APOSTROPHES:
        return "'"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return character
    return " " if character.isspace() or character in SEPARATORS else ""
