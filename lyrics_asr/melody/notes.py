"""Notes of syllables, from the pitch of their frames.

Vibrato and glides are smoothed by a running median over two of its periods. The smoothed pitch is rounded to semitones,
and each run of one semitone is a note. Runs that are too short, such as those of a glide, join the neighbour whose
pitch is nearer.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.melody.pitch import FRAME_SECONDS, PitchTrack
from lyrics_asr.types import Note, Syllable

_SMOOTHING_SECONDS = 0.33  # vibrato has 5 to 7 periods per second
_MIN_NOTE_SECONDS = 0.12
_MIN_VOICED_FRAMES = 4


def with_notes(syllables: Iterable[Syllable], track: PitchTrack) -> tuple[Syllable, ...]:
    """Syllables with their notes; those without a pitch have none."""
    return tuple(
        replace(syllable, notes=notes_between(syllable.start_seconds, syllable.end_seconds, track))
        for syllable in syllables
    )


def notes_between(start_seconds: float, end_seconds: float, track: PitchTrack) -> tuple[Note, ...]:
    """The notes of a syllable, which follow each other without a pause."""
    pitch = track.part(start_seconds, end_seconds)
    voiced = np.flatnonzero(~np.isnan(pitch))
    if len(voiced) < _MIN_VOICED_FRAMES:
        return ()
    pitch = np.interp(np.arange(len(pitch)), voiced, pitch[voiced])
    runs = [(midi, len(list(group))) for midi, group in groupby(np.rint(_smoothed(pitch)).astype(int).tolist())]
    while len(runs) > 1 and min(frames for _, frames in runs) * FRAME_SECONDS < _MIN_NOTE_SECONDS:
        runs = _without_shortest(runs)
    notes, start = [], start_seconds
    for number, (midi, frames) in enumerate(runs, 1):
        end = end_seconds if number == len(runs) else start + frames * FRAME_SECONDS
        notes.append(Note(start, end, midi))
        start = end
    return tuple(notes)


def _smoothed(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running median, over fewer frames in short syllables."""
    half = min(round(_SMOOTHING_SECONDS / FRAME_SECONDS), len(pitch)) // 2
    padded = np.pad(pitch, half, mode="reflect" if half < len(pitch) else "edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1))


def _without_shortest(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join the shortest run with the neighbour whose pitch is nearer, and neighbours of one pitch."""
    shortest = min(range(len(runs)), key=lambda index: runs[index][1])
    midi, frames = runs[shortest]
    neighbours = [index for index in (shortest - 1, shortest + 1) if 0 <= index < len(runs)]
    nearest = min(neighbours, key=lambda index: abs(runs[index][0] - midi))
    joined = list(runs)
    joined[nearest] = (runs[nearest][0], runs[nearest][1] + frames)
    del joined[shortest]
    return [(pitch, sum(length for _, length in group)) for pitch, group in groupby(joined, key=lambda run: run[0])]
