"""The score of a synthetic song: its music, its sections and its lines.

Conventions: pitch is in MIDI notes. A bar has `Music.beats_per_bar` beats and `Music.steps_per_bar` steps, which form
the rhythmic grid.
"""

from dataclasses import dataclass


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
