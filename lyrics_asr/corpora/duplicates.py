"""Songs with the same lyrics: a song under two ids, a cover, one recording annotated twice."""

from collections import Counter, defaultdict
from collections.abc import Sequence

_SHINGLE_WORDS = 4
_SAME_SHARE = 0.5


def find_copies(lyrics: Sequence[str]) -> dict[int, int]:
    """Which texts are copies of an earlier one, by their numbers; the first of its kind is no copy.

    Two texts are the same song when they share half of the runs of four words that the shorter of them has, each
    counted once (Broder 1997, containment of shingles): lyrics that two people wrote down differ in words, in how often
    the chorus is repeated, and in where they stop. No text that is left is the same song as another one.

    Args:
        lyrics: as `text.normalize` makes them, the ones to be kept first.
    """
    copies: dict[int, int] = {}
    holders: defaultdict[int, list[int]] = defaultdict(list)  # shingle: the texts that are kept and have it
    sizes: dict[int, int] = {}
    for number, text in enumerate(lyrics):
        shingles = _shingles(text)
        shared = Counter(holder for shingle in shingles for holder in holders.get(shingle, ()))
        original = next(
            (holder for holder in sorted(shared) if shared[holder] >= _SAME_SHARE * min(sizes[holder], len(shingles))),
            None,
        )
        if original is not None:
            copies[number] = original
            continue
        sizes[number] = len(shingles)
        for shingle in shingles:
            holders[shingle].append(number)
    return copies


def _shingles(text: str) -> set[int]:
    """The runs of words of a text, by their hashes."""
    words = text.split()
    count = max(1, len(words) - _SHINGLE_WORDS + 1)
    return {hash(tuple(words[first : first + _SHINGLE_WORDS])) for first in range(count)}
