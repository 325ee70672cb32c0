"""Grapheme-to-phone alignment: which phones of a word each of its letters stands for, learned from words and phones.

The alignment of a word is a monotonic path of (letter, phone) cells from the first pair to the last. Each step advances
by a letter, by a phone, or by both, so that a letter can stand for several phones (x) and several letters for one
(igh). The path maximises P(phone | letter), which is re-estimated from the best paths of all words: hard expectation
maximisation, as in Jiampojamarn et al. 2007 ("Applying Many-to-Many Alignments and Hidden Markov Models to
Letter-to-Phoneme Conversion"), with single cells in place of blocks.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from lyrics_asr.corpora.manifest import TimedPhone

G2pLogProbs = dict[tuple[str, str], float]
"""ln P(phone | letter) by (letter, phone)."""

_ROUNDS = 4
_DIAGONAL_WEIGHT = 8.0  # of the initial estimate: how fast it falls with the distance from the word's diagonal
_UNSEEN = math.log(1e-4)


def learn_g2p_log_probs(words: Collection[tuple[Sequence[str], tuple[str, ...]]]) -> G2pLogProbs:
    """Estimate P(phone | letter).

    Args:
        words: distinct words, each as its letters and the names of its phones; neither is empty.
    """
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for letters, phones in words:
        for i, letter in enumerate(letters):
            for j, phone in enumerate(phones):
                off_diagonal = abs((i + 0.5) / len(letters) - (j + 0.5) / len(phones))
                counts[letter, phone] += math.exp(-_DIAGONAL_WEIGHT * off_diagonal)
    g2p_log_probs = _normalized(counts)
    for _ in range(_ROUNDS):
        counts.clear()
        for letters, phones in words:
            for i, j in pair(letters, phones, g2p_log_probs):
                counts[letters[i], phones[j]] += 1
        g2p_log_probs = _normalized(counts)
    return g2p_log_probs


def pair(letters: Sequence[str], phones: Sequence[str], g2p_log_probs: G2pLogProbs) -> list[tuple[int, int]]:
    """The best path of cells, as indices of letter and phone."""
    best = [[0.0] * len(phones) for _ in letters]
    came_from: dict[tuple[int, int], tuple[int, int]] = {}
    for i, letter in enumerate(letters):
        for j, phone in enumerate(phones):
            before = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
            if before:
                came_from[i, j] = max(before, key=lambda cell: best[cell[0]][cell[1]])
                best[i][j] = best[came_from[i, j][0]][came_from[i, j][1]]
            best[i][j] += g2p_log_probs.get((letter, phone), _UNSEEN)
    cell = (len(letters) - 1, len(phones) - 1)
    path = [cell]
    while cell in came_from:
        cell = came_from[cell]
        path.append(cell)
    return path[::-1]


def letter_spans(
    letters: Sequence[str], phones: Sequence[TimedPhone], g2p_log_probs: G2pLogProbs
) -> list[tuple[float, float]]:
    """Start and end of each letter in seconds; letters that share a phone split its time evenly."""
    cells = pair(letters, [phone.name for phone in phones], g2p_log_probs)
    sharing = Counter(j for _, j in cells)
    taken: Counter[int] = Counter()
    spans: list[tuple[float, float]] = [(0.0, 0.0)] * len(letters)
    started: set[int] = set()
    for i, j in cells:
        phone = phones[j]
        share = (phone.end_seconds - phone.start_seconds) / sharing[j]
        start = phone.start_seconds + taken[j] * share
        taken[j] += 1
        spans[i] = (spans[i][0] if i in started else start, start + share)
        started.add(i)
    return spans


def _normalized(counts: Mapping[tuple[str, str], float]) -> G2pLogProbs:
    totals: defaultdict[str, float] = defaultdict(float)
    for (letter, _), count in counts.items():
        totals[letter] += count
    return {(letter, phone): math.log(count / totals[letter]) for (letter, phone), count in counts.items()}
