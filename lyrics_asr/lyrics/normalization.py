"""Text normalization for word error rates and for language model training.

Conventions
- Digits and symbols are verbalized in the language of the lyrics, as in `spelling`.
- Accents and apostrophes inside words are kept; all other punctuation is removed.
"""

import unicodedata

from lyrics_asr.lyrics.headings import is_heading
from lyrics_asr.lyrics.spelling import APOSTROPHES, SEPARATORS, WILDCARD, spell, without_outer_apostrophes
from lyrics_asr.lyrics.verbalization import verbalize
from lyrics_asr.types import Vocabulary


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


def spellable_words(text: str, vocabulary: Vocabulary, language: str = "en") -> list[str]:
    """The normalized words of a text without those that a vocabulary cannot spell.

    Words of letters are as the vocabulary spells them, for instance without accents.
    """
    words = []
    for word in normalize(text, language).split():
        spelling = spell(word, vocabulary, language)
        if spelling and WILDCARD not in spelling:
            words.append(vocabulary.text(spelling) if vocabulary.unit == "letters" else word)
    return words


def _plain(character: str) -> str:
    """Normalize one character: to itself, an apostrophe, a space or nothing."""
    if character in APOSTROPHES:
        return "'"
    if character.isalnum() or unicodedata.category(character).startswith("M"):
        return character
    return " " if character.isspace() or character in SEPARATORS else ""
