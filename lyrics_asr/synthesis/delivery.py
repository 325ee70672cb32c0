"""Vocal deliveries (sung, rapped, ornamented, spoken, shouted, whispered, ...) and melodies that fit them.

Conventions: pitch is in MIDI notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Note:
    """A note and its length."""

    midi: float
    seconds: float


@dataclass(frozen=True)
class Melody:
    """The melody of a line.

    Args:
        syllables: the notes of each syllable.
        pauses_seconds: pause before each word, taken from the previous notes; no pauses if empty.
    """

    syllables: tuple[tuple[Note, ...], ...]
    pauses_seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """A way of singing. Values are relative to those of the voice.

    Args:
        shortest_seconds: shortest typical length of a syllable.
        longest_seconds: longest typical length of a syllable.
        words_per_minute: speaking rate of espeak-ng.
        consonant_ratio: factor on the length of consonants.
        melisma_share: fraction of syllables that are sung on several notes.
        intonation: how much of the spoken intonation is kept, in 0..1.
        motion: how much the melody moves: 1 normally, 0 for a single note.
        higher_semitones: semitones added to the pitch.
        tilt_db_per_octave: added brightness.
        roughness: added roughness.
        breathiness: added breathiness.
        gain_db: added level.
    """

    shortest_seconds: float
    longest_seconds: float
    words_per_minute: int
    consonant_ratio: float = 1.0
    melisma_share: float = 0.03
    intonation: float = 0.0
    motion: float = 1.0
    higher_semitones: float = 0.0
    tilt_db_per_octave: float = 0.0
    roughness: float = 0.0
    breathiness: float = 0.0
    gain_db: float = 0.0


SUNG = Delivery(0.14, 0.38, 170)
DELIVERIES = {
    "sung": SUNG,
    "lyrical": Delivery(0.4, 0.9, 140, consonant_ratio=1.15, melisma_share=0.1),
    "ornamented": Delivery(0.25, 0.5, 150, melisma_share=0.3),
    "rapped": Delivery(0.09, 0.14, 270, consonant_ratio=0.8, melisma_share=0.0, intonation=0.8, motion=0.25),
    "spoken": Delivery(0.13, 0.24, 180, melisma_share=0.0, intonation=1.0, motion=0.0),
    "shouted": Delivery(
        0.14,
        0.4,
        180,
        higher_semitones=4.0,
        tilt_db_per_octave=3.0,
        roughness=0.5,
        melisma_share=0.0,
        motion=0.5,
        gain_db=3.0,
    ),
    "whispered": Delivery(
        0.14, 0.35, 160, tilt_db_per_octave=2.0, breathiness=0.9, melisma_share=0.0, motion=0.5, gain_db=-4.0
    ),
}
_SHARES = {
    "sung": 0.44,
    "lyrical": 0.16,
    "ornamented": 0.12,
    "rapped": 0.14,
    "spoken": 0.05,
    "shouted": 0.06,
    "whispered": 0.03,
}
_PAUSE_SHARE = 0.06  # of words inside a line
_SWALLOWED_SHARE = 0.12  # of syllables
_SHORTEST_MELISMA_NOTE_SECONDS = 0.1


def draw_delivery(rng: np.random.Generator) -> Delivery:
    """Draw the delivery of a section."""
    return DELIVERIES[str(rng.choice(list(_SHARES), p=list(_SHARES.values())))]


def draw_melody(
    syllables_per_word: Sequence[int],
    scale_midi: Sequence[int],
    center_midi: float,
    range_semitones: float,
    beat_seconds: float,
    delivery: Delivery,
    rng: np.random.Generator,
) -> Melody:
    """Draw a melody: a random walk on a scale around the middle of the singer's range, in fractions of a beat.

    Args:
        syllables_per_word: number of syllables of each word of the line.
        scale_midi: notes of the scale over all octaves, ascending.
        center_midi: middle of the singer's range.
        range_semitones: maximum distance from the middle.
        beat_seconds: length of a beat.
        delivery: how the line is sung.
        rng: random generator.
    """
    degrees = np.asarray(scale_midi, dtype=float)
    position = int(np.argmin(np.abs(degrees - center_midi))) + int(rng.integers(-2, 3))
    notes_midi = []
    for _ in range(sum(syllables_per_word)):
        notes_midi.append(float(degrees[position]))
        step = round(delivery.motion * float(rng.choice([-4, -2, -1, -1, 0, 0, 1, 1, 2, 4])))
        position += -step if abs(degrees[position + step] - center_midi) > range_semitones else step
    durations_seconds = _draw_rhythm(len(notes_midi), beat_seconds, delivery, rng)
    return ornament(notes_midi, durations_seconds, syllables_per_word, scale_midi, delivery, rng)


def ornament(
    notes_midi: Sequence[float],
    durations_seconds: Sequence[float],
    syllables_per_word: Sequence[int],
    scale_midi: Sequence[int],
    delivery: Delivery,
    rng: np.random.Generator,
) -> Melody:
    """Split some notes into melismas of the same duration, and insert pauses before some words.

    Args:
        notes_midi: one per syllable.
        durations_seconds: one per syllable.
        syllables_per_word: number of syllables of each word of the line.
        scale_midi: notes of the scale over all octaves, ascending.
        delivery: how the line is sung.
        rng: random generator.
    """
    scale = np.asarray(scale_midi, dtype=float)
    syllables: list[tuple[Note, ...]] = []
    for midi, seconds in zip(notes_midi, durations_seconds, strict=True):
        most = min(8, int(seconds / _SHORTEST_MELISMA_NOTE_SECONDS))
        if most < 2 or rng.random() >= delivery.melisma_share:
            syllables.append((Note(float(midi), float(seconds)),))
            continue
        count = int(rng.integers(2, most + 1))
        steps = np.clip(np.cumsum([0, *rng.choice([-2, -1, -1, 1, 1, 2], size=count - 1)]), -3, 3)
        positions = np.clip(np.argmin(np.abs(scale - midi)) + steps, 0, len(scale) - 1)
        syllables.append(tuple(Note(float(scale[i]), float(seconds) / count) for i in positions))
    return Melody(tuple(syllables), _draw_pauses(syllables_per_word, durations_seconds, rng))


def _draw_rhythm(count: int, beat_seconds: float, delivery: Delivery, rng: np.random.Generator) -> list[float]:
    target_seconds = float(np.sqrt(delivery.shortest_seconds * delivery.longest_seconds)) * rng.uniform(0.8, 1.25)
    unit_seconds = min(
        (beat_seconds * share for share in (0.125, 1 / 6, 0.25, 1 / 3, 0.5, 1.0, 2.0)),
        key=lambda seconds: abs(np.log(seconds / target_seconds)),
    )
    lengths = rng.choice([1.0, 1.5, 2.0, 3.0], p=[0.62, 0.12, 0.2, 0.06], size=count)
    lengths[rng.random(count) < _SWALLOWED_SHARE] = 0.5
    if delivery.intonation > 0:  # nearly spoken, so nearly even
        lengths = np.clip(lengths, 0.75, 1.5)
    else:
        lengths[-1] = max(lengths[-1], 2.0)
    return [float(seconds) for seconds in np.minimum(lengths * unit_seconds, 3.0)]


def _draw_pauses(
    syllables_per_word: Sequence[int], durations: Sequence[float], rng: np.random.Generator
) -> tuple[float, ...]:
    """Draw occasional pauses before words, as a fraction of the previous note."""
    last_syllables = np.cumsum(syllables_per_word) - 1
    pauses = [0.0]
    for last in last_syllables[:-1]:
        pauses.append(float(durations[last] * rng.uniform(0.2, 0.5)) if rng.random() < _PAUSE_SHARE else 0.0)
    return tuple(pauses)
