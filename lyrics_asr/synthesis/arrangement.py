"""The structure of a synthetic song: key, tempo and sections.

A song has an intro, verses, a chorus that returns with the same words and nearly the same melody, sometimes a bridge,
breaks and solos without vocals, and an outro. Its length follows from its lyrics: there are vocals in two fifths to
four fifths of it.

Conventions are those of `score`; `motifs` gives the lines their melody and rhythm.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lyrics_asr.synthesis.motifs import Motif, score_stanza
from lyrics_asr.synthesis.score import Lyric, Music, Score, ScoredLine, Section
from lyrics_asr.synthesis.styles import STYLES

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
_PROGRESSIONS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (0, 3, 4, 3),
    (5, 3, 0, 4),
    (0, 0, 3, 4),
    (0, 2, 3, 4),
    (1, 4, 0, 5),
    (0, 3, 0, 4),
    (0, 6, 3, 0),
    (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4),  # twelve bars of blues
    (0, 4, 5, 2, 3, 0, 3, 4),
    (0, 0),
)
_LONGEST_SECONDS = 200.0
_LONG_SHARE = 0.75  # of that; longer songs get no further chorus or break
_LONGEST_REST_SECONDS = 36.0
_ENERGY = {
    "intro": (0.1, 0.8),
    "verse": (0.3, 0.7),
    "chorus": (0.65, 1.0),
    "bridge": (0.1, 0.9),
    "break": (0.1, 0.9),
    "solo": (0.6, 1.0),
    "outro": (0.1, 0.9),
}


def compose(rng: np.random.Generator) -> Music:
    """Draw style, key, tempo, metre, swing and syllable length."""
    name = str(rng.choice(list(STYLES)))
    style = STYLES[name]
    beats_per_bar = int(rng.choice([2, 3])) if rng.random() < style.threes else 4
    beat_seconds = 60 / rng.uniform(*style.beats_per_minute)
    fast = rng.random() < (0.5 if name == "hip_hop" else 0.12)
    return Music(
        style=name,
        tonic_midi=int(rng.integers(48, 60)),
        scale=MAJOR if rng.random() < 0.6 else MINOR,
        beat_seconds=float(beat_seconds * (1.5 if beats_per_bar == 2 else 1)),
        beats_per_bar=beats_per_bar,
        swing=float(rng.uniform(0.15, 0.34)) if rng.random() < style.swing else 0.0,
        syllable_seconds=float(rng.uniform(0.1, 0.16) if fast else 0.16 * (0.5 / 0.16) ** rng.beta(1.3, 2.2)),
    )


def arrange(music: Music, stanzas: Sequence[Sequence[Lyric]], center_midi: float, rng: np.random.Generator) -> Score:
    """Arrange a song around its stanzas: which one is the chorus, when it returns, and where there are no vocals.

    Args:
        music: from `compose`.
        stanzas: the lyrics, each stanza once.
        center_midi: middle of the singer's range.
        rng: random generator.
    """
    parts = _order(stanzas, rng)
    rests = _Rests(parts, music, rng)
    progressions = {kind: _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))] for kind in _ENERGY}
    energies = {kind: float(rng.uniform(*bounds)) for kind, bounds in _ENERGY.items()}
    motifs = {kind: Motif.draw(kind, music, rng) for kind in ("verse", "chorus", "bridge")}

    sections: list[Section] = []
    lines: list[ScoredLine] = []

    def add(kind: str, bars: int) -> Section:
        first = sections[-1].first_bar + sections[-1].bars if sections else 0
        energy = float(np.clip(energies[kind] + rng.normal(0, 0.08), 0, 1))
        sections.append(Section(kind, first, max(1, bars), progressions[kind], energy))
        return sections[-1]

    add("intro", rests.intro)
    end_seconds = 0.0
    for number, (kind, stanza) in enumerate(parts):
        is_long = end_seconds > _LONG_SHARE * _LONGEST_SECONDS
        if is_long and (kind, stanza) in parts[:number]:
            continue  # the song is long enough without repeating this chorus
        section = add(kind, 1)
        sung, end_seconds = score_stanza(music, section, stanza, motifs[kind], center_midi, end_seconds, rng)
        lines += sung
        sections[-1] = replace(section, bars=max(1, int(np.ceil(end_seconds / music.bar_seconds)) - section.first_bar))
        if number in rests.after and not is_long:
            add("solo" if rng.random() < 0.5 else "break", rests.after[number])
    outro = add("outro", rests.outro)
    end = (outro.first_bar + outro.bars) * music.bar_seconds
    return Score(music, tuple(sections), tuple(lines), end + float(rng.uniform(0.3, 2)))


def _order(stanzas: Sequence[Sequence[Lyric]], rng: np.random.Generator) -> list[tuple[str, Sequence[Lyric]]]:
    """The order of verses and chorus. The chorus may return after each verse, only at the end, or not at all."""
    if len(stanzas) == 1:
        return [("verse", stanzas[0])]
    chorus = stanzas[1]
    parts: list[tuple[str, Sequence[Lyric]]] = [("verse", stanzas[0]), ("chorus", chorus)]
    returns = rng.random() < 0.8
    for number, stanza in enumerate(stanzas[2:], start=3):
        last = number == len(stanzas)
        parts.append(("bridge" if last and number > 3 and rng.random() < 0.5 else "verse", stanza))
        if returns and (last or rng.random() < 0.8):
            parts.append(("chorus", chorus))
    if returns and rng.random() < 0.5:
        parts.append(("chorus", chorus))
    return parts


def _seconds(stanza: Sequence[Lyric], music: Music) -> float:
    """Approximate duration of a stanza."""
    return sum(len(line.least_seconds) * music.syllable_seconds * 1.4 + 0.5 + music.bar_seconds / 2 for line in stanza)


class _Rests:
    """Number of bars without vocals before, between and after the stanzas."""

    def __init__(self, parts: Sequence[tuple[str, Sequence[Lyric]]], music: Music, rng: np.random.Generator) -> None:
        sung = sum(_seconds(stanza, music) for _, stanza in parts)
        rest = max(0.0, min(sung * rng.uniform(0.25, 1.2), _LONGEST_SECONDS - sung))
        between = [i for i in range(len(parts) - 1) if rng.random() < 0.4]
        shares = rng.dirichlet(np.ones(len(between) + 2)) * rest
        bars = [max(0, round(min(s, _LONGEST_REST_SECONDS) / music.bar_seconds)) for s in shares]
        self.intro = min(bars[0], max(1, int(20 / music.bar_seconds)))
        self.outro = bars[1]
        self.after = {i: count for i, count in zip(between, bars[2:], strict=True) if count}
