"""Words in syllables, by the hyphenation patterns of pyphen.

Hyphenation for print leaves out some breaks between syllables, such as after a single letter, so that a few words have
fewer syllables here than they are sung with. Words of languages without patterns are one syllable.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

import pyphen

_VOWELS = frozenset("aeiouyæœøаеёиоуыэюяіїєαεηιουω")


def syllables(word: str, language: str = "en") -> tuple[str, ...]:
    """Split a word as written; the parts joined are the word.

    Args:
        word: as written, with its punctuation.
        language: code such as "en" or "pt-BR".
    """
    patterns = _patterns(language)
    if patterns is None:
        return (word,)
    parts: list[str] = []
    for piece in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|(?:[\W\d_])+", word):
        if piece[0].isalpha():
            cuts = [0, *patterns.positions(piece.lower()), len(piece)]
            parts += [piece[start:end] for start, end in pairwise(cuts)]
        elif parts:
            parts[-1] += piece
        else:
            parts.append(piece)
    joined: list[str] = []
    for part in parts:  # each syllable has a vowel
        if joined and not (_has_vowel(part) and _has_vowel(joined[-1])):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined) or (word,)


@lru_cache(maxsize=16)
def _patterns(language: str) -> pyphen.Pyphen | None:
    # The patterns of British English leave out many more breaks.
    name = "en_US" if language == "en" else pyphen.language_fallback(language.replace("-", "_"))
    return pyphen.Pyphen(lang=name, left=1, right=2) if name else None


def _has_vowel(text: str) -> bool:
    plain = unicodedata.normalize("NFKD", text.lower())
    return any(letter in _VOWELS for letter in plain)
