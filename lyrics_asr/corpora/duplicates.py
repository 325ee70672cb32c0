"""Find duplicates by their lyrics: a song under two ids, a cover, or a recording annotated twice."""

from collections import Counter, defaultdict
from collections.abc import Sequence

_SHINGLE_WORDS = 4
_MIN_CONTAINMENT = 0.5


def find_duplicates(lyrics: Sequence[str]) -> dict[int, int]:
    """Find texts that are duplicates of an earlier text.

    Two texts are duplicates if they share at least half of the distinct word 4-grams of the shorter one (containment of
    shingles, Broder 1997). Transcripts of the same song differ in some words, in how often the chorus is written out,
    and in where they end. No two of the remaining texts are duplicates.

    Args:
        lyrics: normalized (see `lyrics.normalization`), in order of preference.

    Returns:
        The index of each duplicate, with the index of the text that is kept.
    """
    duplicates: dict[int, int] = {}
    holders: defaultdict[int, list[int]] = defaultdict(list)  # shingle: the kept texts that contain it
    sizes: dict[int, int] = {}
    for number, text in enumerate(lyrics):
        shingles = _shingles(text)
        shared = Counter(holder for shingle in shingles for holder in holders.get(shingle, ()))
        original = next(
            (
                holder
                for holder in sorted(shared)
                if shared[holder] >= _MIN_CONTAINMENT * min(sizes[holder], len(shingles))
            ),
            None,
        )
        if original is not None:
            duplicates[number] = original
            continue
        sizes[number] = len(shingles)
        for shingle in shingles:
            holders[shingle].append(number)
    return duplicates


def _shingles(text: str) -> set[int]:
    """Hashes of the word 4-grams of a text."""
    words = text.split()
    count = max(1, len(words) - _SHINGLE_WORDS + 1)
    return {hash(tuple(words[first : first + _SHINGLE_WORDS])) for first in range(count)}
