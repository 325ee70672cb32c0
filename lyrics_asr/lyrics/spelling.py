"""Spell written words with the letters, word pieces or phonemes of an acoustic model's vocabulary.

Conventions
- Digits ("2nd") and symbols ("&") are verbalized in the language of the lyrics, as in `normalization`.
- A spelling is a sequence of vocabulary columns, without blanks.
"""

import re
import unicodedata
from collections.abc import Mapping

from lyrics_asr.lyrics.normalization import APOSTROPHES, SEPARATORS, normalize, without_outer_apostrophes
from lyrics_asr.lyrics.subwords import spell_in_phonemes, spell_in_pieces
from lyrics_asr.lyrics.verbalization import NOT_LETTERS, verbalize
from lyrics_asr.types import WILDCARD, Vocabulary

_OTHER_SCRIPT = re.compile(r"[^\W\d_a-zA-Z\u00aa-\u024f\u1e00-\u1eff]")

# Letters that Unicode does not decompose into a base letter and a mark.
_FOLDED = {
    "ß": "ss", "ẞ": "ss", "ø": "o", "œ": "oe", "æ": "ae", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
} | dict.fromkeys(APOSTROPHES, "'")  # fmt: skip


def spell(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """Spell a written word with the columns of a vocabulary; for word pieces and phonemes see `subwords`.

    Letters take the case of the vocabulary. A letter that it lacks is folded (é to e, ß to ss), or else is WILDCARD.
    Apostrophes around the word and punctuation that the vocabulary lacks are dropped. Hyphens and dashes inside the
    word and the spaces of a verbalized number become the word delimiter, if there is one.

    Args:
        word: as written.
        vocabulary: of the acoustic model.
        language: language of the lyrics, to verbalize digits and symbols.

    Returns:
        The columns; none for a word of punctuation only.
    """
    if vocabulary.unit != "letters":
        return (spell_in_pieces if vocabulary.unit == "pieces" else spell_in_phonemes)(word, vocabulary, language)
    characters, delimiter_id = vocabulary.text_ids, vocabulary.word_delimiter_id
    parts: list[list[int]] = [[]]
    spoken = verbalize(word, language) if NOT_LETTERS.search(word) else unicodedata.normalize("NFC", word)
    for character in without_outer_apostrophes(spoken):
        ids = _fold(character, characters)
        if ids:
            parts[-1].extend(ids)
        elif character.isspace() or character in SEPARATORS:
            parts.append([])
    columns: list[int] = []
    for part in filter(None, parts):
        if columns and delimiter_id is not None:
            columns.append(delimiter_id)
        columns.extend(part)
    return tuple(columns)


def spell_by_sound(word: str, vocabulary: Vocabulary, language: str = "en") -> tuple[int, ...]:
    """Spell a word as `spell` does, and by its sound in Latin letters if the vocabulary lacks its script.

    See `spell` for arguments. A letter that the vocabulary lacks even then is WILDCARD.
    """
    spelling = spell(word, vocabulary, language)
    if WILDCARD not in spelling:
        return spelling
    spoken = verbalize(word, language)
    if not _OTHER_SCRIPT.search(spoken):
        return spelling
    from lyrics_asr.lyrics.romanization import romanize

    return spell(romanize(spoken, language), vocabulary, language)


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


def _fold(character: str, characters: Mapping[str, int]) -> tuple[int, ...]:
    """Columns of a character: its own in either case, else those of its folded form, else WILDCARD for a letter."""
    for variant in (character, character.lower(), character.upper()):
        if variant in characters:
            return (characters[variant],)
    folded = _FOLDED.get(character.lower()) or "".join(
        part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)
    )
    if folded != character:
        return tuple(column for part in folded for column in _fold(part, characters))
    return (WILDCARD,) if character.isalnum() else ()
