"""Written words as the letters of an acoustic model's vocabulary."""

import unicodedata
from functools import lru_cache

from lyrics_asr.lyrics.normalization import APOSTROPHES, SEPARATORS, without_outer_apostrophes
from lyrics_asr.lyrics.verbalization import verbalize
from lyrics_asr.types import Vocabulary

WILDCARD = -1
"""Stands in a spelling for a letter that the vocabulary cannot write."""


def spell(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """The columns that a written word is sung with.

    Letters come in the vocabulary's own case; a letter that it lacks is folded (é to e, ß to ss), and failing that is
    WILDCARD. Punctuation that it lacks and apostrophes around the word are dropped; a hyphen or dash inside the word,
    like the spaces of a verbalised number, becomes the word delimiter if there is one. A word of nothing but
    punctuation has no columns.
    """
    characters, delimiter_id = _characters(vocabulary), vocabulary.word_delimiter_id
    parts: list[list[int]] = [[]]
    for character in without_outer_apostrophes(verbalize(word, language)):
        ids = _fold(character, characters)
        if ids:
            parts[-1].extend(ids)
        elif character.isspace() or character in SEPARATORS:
            parts.append([])
    spelled = [part for part in parts if part]
    columns: list[int] = []
    for part in spelled:
        if columns and delimiter_id is not None:
            columns.append(delimiter_id)
        columns.extend(part)
    return tuple(columns)


# Letters that Unicode does not decompose into a base letter and a mark.
_FOLDED = {
    "ß": "ss", "ẞ": "ss", "ø": "o", "œ": "oe", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
} | dict.fromkeys(APOSTROPHES, "'")  # fmt: skip


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
