"""The players of a band: each turns the bars of a song into a mono track, in the rhythm of the style.

Conventions: signals are float32 arrays at `SAMPLE_RATE_HZ`. All randomness comes from the band's generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lyrics_asr.synthesis import instruments, styles
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ, Instrument, Samples
from lyrics_asr.synthesis.score import Music, Section


@dataclass(frozen=True)
class Bar:
    """A bar of the song, as all players see it.

    Args:
        start_samples: start of the bar.
        chord: triad in MIDI notes, from the octave below middle C.
        section: the section that contains the bar.
        number: index of the bar in its section.
    """

    start_samples: int
    chord: tuple[int, int, int]
    section: Section
    number: int

    @property
    def is_last(self) -> bool:
        """Whether this is the last bar of its section."""
        return self.number == self.section.bars - 1


@dataclass(frozen=True, eq=False)
class Band:
    """What the players know of the song."""

    music: Music
    bars: list[Bar]
    total_samples: int
    rng: np.random.Generator

    def silence(self) -> Samples:
        """An empty track."""
        return np.zeros(self.total_samples, dtype=np.float32)

    def playing(self, least: float, most: float) -> list[Bar]:
        """The bars in which a player plays: those of sections above a random energy in `least`..`most`."""
        threshold = self.rng.uniform(least, most)
        return [bar for bar in self.bars if bar.section.energy >= threshold] or self.bars

    def step(self, bar: Bar, step: int) -> int:
        """Start of a step in samples, with swing and a small random deviation."""
        return bar.start_samples + round(self.music.step_seconds(step) * SAMPLE_RATE_HZ + self.rng.normal(0, 150))

    def samples(self, steps: int | float) -> int:
        """Length of so many steps in samples, at least 1."""
        return max(1, round(steps * self.music.bar_seconds / self.music.steps_per_bar * SAMPLE_RATE_HZ))

    def pattern(self, by_name: dict[str, tuple[str, ...]], names: Sequence[str], threes: Sequence[str]) -> list[str]:
        """Draw two patterns: one for quiet sections, one for loud sections."""
        if self.music.steps_per_bar == styles.STEPS_OF_FOUR:
            return [str(p) for p in self.rng.choice(by_name[str(self.rng.choice(names))], 2)]
        return [str(p) for p in self.rng.choice(threes, 2)]


def add_note(out: Samples, start: int, note: Samples, gain: float = 1.0) -> None:
    """Add a note to a track, cropped to it."""
    start = max(0, start)
    end = min(len(out), start + len(note))
    if end > start:
        out[start:end] += note[: end - start] * np.float32(gain)


def _chords(band: Band, instrument: Instrument, *, strum_seconds: float = 0.0, octave: int = 0) -> Samples:
    """Triads near the middle of the range, in the rhythm of the style."""
    music, rng, out = band.music, band.rng, band.silence()
    patterns = band.pattern(
        styles.CHORDS,
        styles.STYLES[music.style].chords,
        styles.THREE_FOUR_CHORDS if music.beats_per_bar == 3 else styles.SIX_EIGHT_CHORDS,
    )
    legato, doubled = rng.uniform(0.4, 1.1), rng.random() < 0.4
    for bar in band.playing(0.1, 0.7):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        voicing = sorted((pitch - 60) % 12 + 55 + 12 * octave for pitch in bar.chord)
        if doubled:
            voicing.append(voicing[0] + 12)
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            loud = (1.0 if pattern[hit] == "x" else 0.55) * rng.uniform(0.8, 1)
            length = band.samples(max(0.9, legato * (following - hit)))
            start = band.step(bar, hit)
            downwards = -1 if strum_seconds and hit % 4 == 2 else 1
            for i, pitch in enumerate(voicing[::downwards]):
                add_note(out, start + round(i * strum_seconds * SAMPLE_RATE_HZ), instrument(float(pitch), length), loud)
    return out


def _power_chords(band: Band, instrument: Instrument) -> Samples:
    music, out = band.music, band.silence()
    patterns = band.pattern(
        styles.CHORDS,
        styles.STYLES[music.style].chords,
        styles.THREE_FOUR_CHORDS if music.beats_per_bar == 3 else styles.SIX_EIGHT_CHORDS,
    )
    for bar in band.playing(0.3, 0.8):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            note = instrument(float((bar.chord[0] - 40) % 12 + 40), band.samples(0.95 * (following - hit)))
            add_note(out, band.step(bar, hit), note, 1.0 if pattern[hit] == "x" else 0.6)
    return out


def _sustained(band: Band, instrument: Instrument, octave: int) -> Samples:
    """Chords held for a whole bar, in some songs with the root doubled an octave above."""
    rng, out = band.rng, band.silence()
    length = band.samples(1.02 * band.music.steps_per_bar)
    top = rng.random() < 0.5
    for bar in band.playing(0.2, 0.9):
        pitches = [(pitch - 60) % 12 + 52 + 12 * octave for pitch in bar.chord]
        for pitch in [*pitches, pitches[0] + 12] if top else pitches:
            add_note(out, bar.start_samples, instrument(float(pitch), length))
    return out


def _arpeggio(band: Band, instrument: Instrument) -> Samples:
    rng, out = band.rng, band.silence()
    order = rng.permutation(6)
    every = int(rng.choice([1, 2, 2, 4]))
    length = band.samples(every * rng.uniform(0.8, 4))
    for bar in band.playing(0.0, 0.7):
        tones = [*bar.chord, *(pitch + 12 for pitch in bar.chord)]
        for i, step in enumerate(range(0, band.music.steps_per_bar, every)):
            add_note(out, band.step(bar, step), instrument(float(tones[order[i % 6]]), length), rng.uniform(0.7, 1))
    return out


def _lead(band: Band) -> Samples:
    """Phrases of a lead instrument: mostly in solos, intros and breaks, and in some songs under the vocals."""
    music, rng, out = band.music, band.rng, band.silence()
    phrase = instruments.lead(rng)
    under_voice = rng.choice([0.0, 0.15, 0.5, 0.9])
    octave = 7 * int(rng.integers(0, 2))
    degree = octave + int(rng.integers(2, 7))
    for bar in band.bars:
        if rng.random() >= (0.9 if bar.section.kind in ("solo", "intro", "break") else under_voice):
            continue
        notes: list[float] = []
        lengths: list[int] = []
        step = int(rng.choice([0, 0, 2, 4]))
        while step < music.steps_per_bar:
            steps = min(int(rng.choice([1, 2, 2, 4, 4, 6, 8])), music.steps_per_bar - step)
            degree = int(np.clip(degree + rng.integers(-2, 3), octave - 3, octave + 10))
            notes.append(float(music.degree_midi(degree)))
            lengths.append(band.samples(steps))
            step += steps
        add_note(out, band.step(bar, music.steps_per_bar) - sum(lengths), phrase(notes, lengths))
    return out


def bass(band: Band) -> Samples:
    """The bass, in the rhythm of the style."""
    music, rng, out = band.music, band.rng, band.silence()
    instrument = instruments.bass(rng)
    patterns = band.pattern(
        styles.BASS,
        [styles.STYLES[music.style].bass],
        styles.THREE_FOUR_BASS if music.beats_per_bar == 3 else styles.SIX_EIGHT_BASS,
    )
    legato = rng.uniform(0.5, 1.0)
    for bar in band.playing(0.0, 0.6):
        pattern = patterns[bar.section.energy > 0.6]
        hits = [i for i, sign in enumerate(pattern) if sign != "."]
        root = (bar.chord[0] - 28) % 12 + 28
        pitches = {"r": root, "t": root + bar.chord[1] - bar.chord[0], "f": root + 7, "u": root + 12}
        for hit, following in zip(hits, [*hits[1:], music.steps_per_bar], strict=True):
            length = band.samples(max(0.9, legato * (following - hit)))
            add_note(out, band.step(bar, hit), instrument(float(pitches[pattern[hit]]), length), rng.uniform(0.8, 1))
    return out


def _any(band: Band, *kinds: Callable[[np.random.Generator], Instrument]) -> Instrument:
    return kinds[int(band.rng.integers(len(kinds)))](band.rng)


PLAYERS: dict[str, Callable[[Band], Samples]] = {
    "arpeggio": lambda band: _arpeggio(band, _any(band, instruments.plucked, instruments.piano, instruments.synth)),
    "brass": lambda band: _chords(band, instruments.brass(band.rng)),
    "choir": lambda band: _sustained(band, instruments.choir(band.rng), int(band.rng.integers(0, 2))),
    "chugging": lambda band: _power_chords(band, instruments.distorted(band.rng, muted=True)),
    "distorted": lambda band: _power_chords(band, instruments.distorted(band.rng)),
    "electric": lambda band: _chords(band, instruments.plucked(band.rng), strum_seconds=band.rng.uniform(0, 0.012)),
    "guitar": lambda band: _chords(band, instruments.plucked(band.rng), strum_seconds=band.rng.uniform(0.008, 0.03)),
    "keys": lambda band: _chords(band, instruments.piano(band.rng), octave=int(band.rng.integers(0, 2))),
    "lead": _lead,
    "muted": lambda band: _chords(band, instruments.plucked(band.rng, muted=True), strum_seconds=0.006, octave=1),
    "organ": lambda band: _chords(band, instruments.organ(band.rng)),
    "pad": lambda band: _sustained(band, instruments.ensemble(band.rng), 0),
    "strings": lambda band: _sustained(band, instruments.ensemble(band.rng), 1),
    "synth": lambda band: _chords(band, instruments.synth(band.rng), octave=1),
}
"""The players that a style may have, by name."""
