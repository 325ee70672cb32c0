"""The structure of a synthetic song: key, tempo, sections, and the melody and rhythm of every sung line.

A song has an intro, verses, a chorus that returns with the same words and nearly the same melody, sometimes a bridge,
breaks and solos without vocals, and an outro. Its length follows from its lyrics: there are vocals in two fifths to
four fifths of it.

Conventions: pitch is in MIDI notes. A bar has `Music.beats_per_bar` beats and `Music.steps_per_bar` steps, which form
the rhythmic grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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


@dataclass(frozen=True)
class Music:
    """Key, tempo and rhythm of a song, shared by singer and band.

    Args:
        style: one of `styles.STYLES`.
        tonic_midi: tonic, in the octave below middle C.
        scale: semitones above the tonic.
        beat_seconds: length of a beat.
        beats_per_bar: 4, 3, or 2 (6/8: two beats of six steps).
        swing: delay of the off-beats, as a fraction of half a beat.
        syllable_seconds: typical length of a syllable: 0.1 in rap, 0.5 in a slow ballad.
    """

    style: str
    tonic_midi: int
    scale: tuple[int, ...]
    beat_seconds: float
    beats_per_bar: int
    swing: float
    syllable_seconds: float

    @property
    def steps_per_bar(self) -> int:
        """Steps per bar in the patterns of `styles`."""
        return 16 if self.beats_per_bar == 4 else 12

    @property
    def bar_seconds(self) -> float:
        """Length of a bar."""
        return self.beats_per_bar * self.beat_seconds

    def step_seconds(self, step: int) -> float:
        """Start of a step, relative to the start of the bar; with swing, off-beats are delayed."""
        late = self.swing / 2 if self.beats_per_bar != 2 and step % 4 == 2 else 0.0
        steps_per_beat = self.steps_per_bar / self.beats_per_bar
        return (step / steps_per_beat + late) * self.beat_seconds

    def degree_midi(self, degree: int) -> int:
        """Pitch of a scale degree, counted from the tonic across octaves."""
        octave, step = divmod(degree, len(self.scale))
        return self.tonic_midi + 12 * octave + self.scale[step]


@dataclass(frozen=True)
class Section:
    """A part of a song.

    Args:
        kind: intro, verse, chorus, bridge, break, solo or outro.
        first_bar: index of its first bar in the song.
        bars: number of bars.
        progression: scale degree of the chord of each bar, repeated throughout the section.
        energy: how many instruments play, and how loud, in 0..1.
    """

    kind: str
    first_bar: int
    bars: int
    progression: tuple[int, ...]
    energy: float


@dataclass(frozen=True)
class Lyric:
    """A line of the lyrics, and the minimum duration of each of its syllables."""

    text: str
    least_seconds: tuple[float, ...]


@dataclass(frozen=True)
class ScoredLine:
    """A line with one note and duration per syllable, and the start of the first note."""

    text: str
    section: str
    notes_midi: tuple[float, ...]
    durations_seconds: tuple[float, ...]
    start_seconds: float


@dataclass(frozen=True)
class Score:
    """The arrangement of a song: music, sections and lines."""

    music: Music
    sections: tuple[Section, ...]
    lines: tuple[ScoredLine, ...]
    duration_seconds: float


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
    motifs = {kind: _Motif.draw(kind, music, rng) for kind in ("verse", "chorus", "bridge")}

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
        sung, end_seconds = _sing_stanza(music, section, stanza, motifs[kind], center_midi, end_seconds, rng)
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


@dataclass(frozen=True)
class _Motif:
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
    def draw(cls, kind: str, music: Music, rng: np.random.Generator) -> "_Motif":
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


def _sing_stanza(
    music: Music,
    section: Section,
    stanza: Sequence[Lyric],
    motif: _Motif,
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


def _durations(motif: _Motif, line: Lyric, rng: np.random.Generator) -> tuple[float, ...]:
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
    motif: _Motif,
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
