"""Melody and rhythm of the sung lines: a motif per kind of section, which its lines vary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lyrics_asr.synthesis.score import Lyric, Music, ScoredLine, Section


@dataclass(frozen=True)
class Motif:
    """Melody and rhythm that the lines of a kind of section share.

    Args:
        contour: scale degrees relative to the line's first note.
        rhythm: note lengths, in units.
        lift: scale degrees above the middle of the singer's range.
        unit_seconds: length of one unit.
        entries: beats from the start of the bar to the first note; negative for a pickup.
    """

    contour: tuple[int, ...]
    rhythm: tuple[float, ...]
    lift: int
    unit_seconds: float
    entries: tuple[float, ...]

    @classmethod
    def draw(cls, kind: str, music: Music, rng: np.random.Generator) -> "Motif":
        """Draw a motif for a kind of section."""
        step_seconds = music.bar_seconds / music.steps_per_bar
        target = music.syllable_seconds * (rng.uniform(1, 1.5) if kind == "chorus" else 1)
        grid = [step_seconds * steps for steps in (0.5, 1, 2, 3, 4, 6, 8)]
        rap = music.syllable_seconds < 0.16
        steps = rng.choice([-2, -1, 0, 0, 1, 2], size=12) if rap else rng.choice([-4, -2, -1, -1, 0, 1, 1, 2, 4], 12)
        lengths = [1.0, 2.0] if rap else [0.5, 1.0, 1.5, 2.0, 3.0]
        chances = [0.9, 0.1] if rap else [0.07, 0.58, 0.11, 0.18, 0.06]
        return cls(
            contour=tuple(int(np.clip(position, -4, 5)) for position in np.cumsum(steps)),
            rhythm=tuple(float(each) for each in rng.choice(lengths, size=int(rng.integers(4, 10)), p=chances)),
            lift=int(rng.integers(1, 4)) if kind == "chorus" else int(rng.integers(-3, 1)),
            unit_seconds=min(grid, key=lambda seconds: abs(np.log(seconds / target))),
            entries=tuple(float(each) for each in rng.choice([-1, -0.5, 0, 0, 0, 0.5, 1, 1.5], size=2)),
        )


def score_stanza(
    music: Music,
    section: Section,
    stanza: Sequence[Lyric],
    motif: Motif,
    center_midi: float,
    end: float,
    rng: np.random.Generator,
) -> tuple[list[ScoredLine], float]:
    """Score the lines of a stanza from the section's first bar on, not before `end`; also return their end."""
    lines = []
    tight = rng.random() < 0.5  # lines may start on any beat, not only on bars
    bar = section.first_bar
    for number, line in enumerate(stanza):
        entry = motif.entries[number % 2] * music.beat_seconds
        start = max(0.1, bar * music.bar_seconds + entry)
        if start < end:
            grid = music.beat_seconds if tight else music.bar_seconds
            start += float(np.ceil((end - start) / grid)) * grid
        durations = _durations(motif, line, rng)
        notes = _notes(music, section, motif, number, len(durations), center_midi, rng)
        lines.append(ScoredLine(line.text, section.kind, notes, durations, start))
        end = start + sum(durations) + float(rng.uniform(0.25, 0.7))
        bar = int(np.ceil((end - entry) / music.bar_seconds)) if not tight else bar
        if rng.random() < 0.05:
            bar += 1
            end += music.bar_seconds
    return lines, end


def _durations(motif: Motif, line: Lyric, rng: np.random.Generator) -> tuple[float, ...]:
    """Durations from the motif's rhythm, with random changes, a long last note, and each syllable's minimum."""
    durations = []
    for i, least in enumerate(line.least_seconds):
        units = motif.rhythm[i % len(motif.rhythm)]
        if rng.random() < 0.12:
            units = float(rng.choice([0.5, 1.0, 2.0]))
        if i == len(line.least_seconds) - 1:
            units = max(units, float(rng.choice([1.0, 2.0, 3.0, 4.0])))
        durations.append(max(units * motif.unit_seconds, least))
    return tuple(durations)


def _notes(
    music: Music,
    section: Section,
    motif: Motif,
    number: int,
    count: int,
    center_midi: float,
    rng: np.random.Generator,
) -> tuple[float, ...]:
    """Notes from the motif's contour around a chord tone, within 9 semitones of the middle of the singer's range.

    Every fourth line inverts the contour.
    """
    degrees = [degree for degree in range(-14, 29) if abs(music.degree_midi(degree) - center_midi) <= 9]
    middle = min(degrees, key=lambda degree: abs(music.degree_midi(degree) - center_midi)) + motif.lift
    chord = section.progression[number % len(section.progression)]
    root = min((d for d in degrees if (d - chord) % 7 in (0, 2, 4)), key=lambda degree: abs(degree - middle))
    answer = -1 if number % 4 == 3 else 1
    notes = []
    for i in range(count):
        degree = root + answer * motif.contour[i % len(motif.contour)]
        if rng.random() < 0.1:
            degree += int(rng.integers(-2, 3))
        notes.append(float(music.degree_midi(int(np.clip(degree, degrees[0], degrees[-1])))))
    return tuple(notes)
