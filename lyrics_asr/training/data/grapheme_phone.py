"""Which sound of a word each of its letters stands for, learnt from spellings and sounds alone.

The letters and the sounds of a word are paired in order: a path of (letter, sound) cells from the first pair to the
last, each step going on by a letter, by a sound, or by both. A letter can stand for several sounds (x), several letters
for one (igh). The path is the best under P(sound | letter), and P is what the best paths of all words say: hard
expectation maximisation, as in Jiampojamarn et al. 2007 ("Applying Many-to-Many Alignments and Hidden Markov Models to
Letter-to-Phoneme Conversion"), with single cells in place of blocks.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from lyrics_asr.corpora.manifest import Sound

Affinity = dict[tuple[str, str], float]
"""ln P(sound | letter)."""

_ROUNDS = 4
_DIAGONAL_WEIGHT = 8.0  # of the first guess: how fast the affinity of a pair falls off the word's diagonal
_UNSEEN = math.log(1e-4)


def learn_affinity(words: Collection[tuple[str, tuple[str, ...]]]) -> Affinity:
    """Learn which letters stand for which sounds.

    Args:
        words: different words, each as its letters and the names of its sounds; neither is empty.
    """
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for letters, sounds in words:
        for i, letter in enumerate(letters):
            for j, sound in enumerate(sounds):
                off_diagonal = abs((i + 0.5) / len(letters) - (j + 0.5) / len(sounds))
                counts[letter, sound] += math.exp(-_DIAGONAL_WEIGHT * off_diagonal)
    affinity = _normalized(counts)
    for _ in range(_ROUNDS):
        counts.clear()
        for letters, sounds in words:
            for i, j in pair(letters, sounds, affinity):
                counts[letters[i], sounds[j]] += 1
        affinity = _normalized(counts)
    return affinity


def pair(letters: Sequence[str], sounds: Sequence[str], affinity: Affinity) -> list[tuple[int, int]]:
    """The best path of cells, as indices of letter and sound."""
    best = [[0.0] * len(sounds) for _ in letters]
    came_from: dict[tuple[int, int], tuple[int, int]] = {}
    for i, letter in enumerate(letters):
        for j, sound in enumerate(sounds):
            before = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
            if before:
                came_from[i, j] = max(before, key=lambda cell: best[cell[0]][cell[1]])
                best[i][j] = best[came_from[i, j][0]][came_from[i, j][1]]
            best[i][j] += affinity.get((letter, sound), _UNSEEN)
    cell = (len(letters) - 1, len(sounds) - 1)
    path = [cell]
    while cell in came_from:
        cell = came_from[cell]
        path.append(cell)
    return path[::-1]


def letter_spans(letters: Sequence[str], sounds: Sequence[Sound], affinity: Affinity) -> list[tuple[float, float]]:
    """When each letter is sung, in seconds: letters that share a sound share its time evenly."""
    cells = pair(letters, [sound.name for sound in sounds], affinity)
    sharing = Counter(j for _, j in cells)
    taken: Counter[int] = Counter()
    spans: list[tuple[float, float]] = [(0.0, 0.0)] * len(letters)
    started: set[int] = set()
    for i, j in cells:
        sound = sounds[j]
        share = (sound.end_seconds - sound.start_seconds) / sharing[j]
        start = sound.start_seconds + taken[j] * share
        taken[j] += 1
        spans[i] = (spans[i][0] if i in started else start, start + share)
        started.add(i)
    return spans


def _normalized(counts: Mapping[tuple[str, str], float]) -> Affinity:
    totals: defaultdict[str, float] = defaultdict(float)
    for (letter, _), count in counts.items():
        totals[letter] += count
    return {(letter, sound): math.log(count / totals[letter]) for (letter, sound), count in counts.items()}
