"""Who sings the words of a line: backing vocals are written in parentheses, such as "I love you (love you)"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lyrics_asr.types import Voice

_OPENING = re.compile(r"[\"'“”‘’«»¿¡]*[(（]")
_ENDS_OUTSIDE = re.compile(r".*[)）].*\w")  # "(s)he" is no phrase in parentheses


@dataclass(frozen=True)
class Part:
    """Words of a line that one voice sings, by their places in the line."""

    voice: Voice
    places: tuple[int, ...]


def voice_parts(words: Sequence[str]) -> tuple[Part, ...]:
    """The words outside parentheses, and each phrase in parentheses, in the order of their first words.

    A phrase that stays open goes on to the end of the line.
    """
    lead, phrases, depth = list[int](), list[list[int]](), 0
    for place, word in enumerate(words):
        if depth == 0 and _OPENING.match(word) and not _ENDS_OUTSIDE.match(word):
            phrases.append([])
        elif depth == 0:
            lead.append(place)
            continue
        phrases[-1].append(place)
        depth = max(0, depth + len(re.findall(r"[(（]", word)) - len(re.findall(r"[)）]", word)))
    parts = [Part("lead", tuple(lead))] if lead else []
    parts += [Part("backing", tuple(places)) for places in phrases]
    return tuple(sorted(parts, key=lambda part: part.places[0]))
