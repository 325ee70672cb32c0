"""A small band that accompanies a synthetic song: chords, bass, pads, arpeggios and drums from oscillators and noise.

Everything is drawn from the generator that is passed in, so that a seed gives the same music. Signals are stereo float
arrays `[2, samples]` at `SAMPLE_RATE_HZ`; pitch is in MIDI notes; a bar has `Music.beats_per_bar` beats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter

SAMPLE_RATE_HZ = 44_100

Samples = NDArray[np.float64]
Number: TypeAlias = int | float

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
)


@dataclass(frozen=True)
class Music:
    """What singer and band agree on.

    Args:
        style: one of `STYLES`.
        tonic_midi: the key note, in the octave below middle C.
        scale: semitones above the tonic.
        beat_seconds: length of a beat.
        beats_per_bar: 3 or 4.
        progression: scale degree of the chord of each bar, repeated through the song.
    """

    style: str
    tonic_midi: int
    scale: tuple[int, ...]
    beat_seconds: float
    beats_per_bar: int
    progression: tuple[int, ...]

    def degree_midi(self, degree: int) -> int:
        """The pitch of a scale degree, counted from the tonic over all octaves."""
        octave, step = divmod(degree, len(self.scale))
        return self.tonic_midi + 12 * octave + self.scale[step]


def compose(rng: np.random.Generator) -> Music:
    """Draw key, tempo, metre, chords and style."""
    return Music(
        style=str(rng.choice(sorted(STYLES))),
        tonic_midi=int(rng.integers(48, 60)),
        scale=MAJOR if rng.random() < 0.6 else MINOR,
        beat_seconds=60 / float(rng.uniform(76, 138)),
        beats_per_bar=3 if rng.random() < 0.15 else 4,
        progression=_PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))],
    )


def play(music: Music, duration_seconds: float, rng: np.random.Generator) -> Samples:
    """Let the band of `music.style` play for `duration_seconds`; the result peaks at 0.5."""
    total = round(duration_seconds * SAMPLE_RATE_HZ)
    mix = np.zeros((2, total))
    for part in STYLES[music.style]:
        mono = np.zeros(total)
        part(mono, music, rng)
        peak = np.abs(mono).max()
        if peak > 0:
            level = 10 ** (rng.uniform(-6, 3) / 20)
            pan = rng.uniform(-0.6, 0.6)
            mix += np.array([[1 - pan], [1 + pan]]) * mono / peak * level
    mix = reverberate(mix, rng.uniform(0.05, 0.25), rng.uniform(0.3, 1.2), rng)
    return np.asarray(mix / max(np.abs(mix).max(), 1e-9) * 0.5)


def reverberate(signal: Samples, wet: float, decay_seconds: float, rng: np.random.Generator) -> Samples:
    """Add a room: exponentially decaying noise, another one for each side; `wet` is its share of the amplitude."""
    length = round(decay_seconds * SAMPLE_RATE_HZ)
    envelope = np.exp(-6.9 * np.arange(length) / length)
    impulse = _lowpass(rng.standard_normal((2, length)) * envelope, 6000)
    impulse /= np.sqrt((impulse**2).sum(axis=1, keepdims=True))
    tail = fftconvolve(signal, impulse, axes=1)[:, : signal.shape[1]]
    return np.asarray(signal * (1 - wet) + tail * wet)


# --- parts: each adds its notes to `out`, mono
# ---------------------------------------------------------------------------------


def _pad(out: Samples, music: Music, rng: np.random.Generator) -> None:
    cutoff_hz = rng.uniform(700, 2500)
    for start, length, chord in _bars(out, music):
        for midi in chord:
            detuned = sum(_saw(midi + cents / 100, length) for cents in (-7.0, 0.0, 6.0))
            _add(out, start, _lowpass(np.asarray(detuned) * _fade(length, 0.15, 0.2), cutoff_hz))


def _piano(out: Samples, music: Music, rng: np.random.Generator) -> None:
    patterns: tuple[tuple[Number, ...], ...] = ((0, 1, 2, 3), (0, 2), (0, 1.5, 2, 3.5))
    pattern = patterns[int(rng.integers(3))]
    for start, _, chord in _bars(out, music):
        for beat in pattern:
            if beat < music.beats_per_bar:
                for midi in chord:
                    _add(out, start + _beats(music, beat), _struck(midi, _beats(music, 1.5), rng.uniform(0.6, 1)))


def _arpeggio(out: Samples, music: Music, rng: np.random.Generator) -> None:
    order = rng.permutation(4)
    subdivision = float(rng.choice([0.25, 0.5, 0.5]))
    for start, _, chord in _bars(out, music):
        tones = [*chord, chord[0] + 12]
        for i in range(round(music.beats_per_bar / subdivision)):
            midi = tones[order[i % 4]]
            _add(out, start + _beats(music, i * subdivision), _plucked(midi, _beats(music, 1.0), rng))


def _power_chords(out: Samples, music: Music, rng: np.random.Generator) -> None:
    for start, _, chord in _bars(out, music):
        for eighth in range(2 * music.beats_per_bar):
            length = _beats(music, 0.48)
            tone = _saw(chord[0] - 12, length) + _saw(chord[0] - 5, length) + 0.5 * _saw(chord[0], length)
            _add(out, start + _beats(music, eighth / 2), _lowpass(np.tanh(3 * tone) * _fade(length, 0.005, 0.05), 3500))


def _organ(out: Samples, music: Music, rng: np.random.Generator) -> None:
    for start, length, chord in _bars(out, music):
        for midi in chord:
            tone = sum(_sine(midi + interval, length) / (i + 1) for i, interval in enumerate((0, 12, 19, 24)))
            _add(out, start, np.asarray(tone) * _fade(length, 0.01, 0.03))


def _lead(out: Samples, music: Music, rng: np.random.Generator) -> None:
    """A lead instrument that comes and goes, in the range of a voice."""
    for bar, (start, _, _) in enumerate(_bars(out, music)):
        if bar % 4 < 2:
            continue
        degree = int(rng.integers(7, 14))
        beat = 0.0
        while beat < music.beats_per_bar:
            beats = float(rng.choice([0.5, 1.0]))
            degree += int(rng.integers(-2, 3))
            length = _beats(music, beats)
            tone = _saw(music.degree_midi(degree), length) * _fade(length, 0.02, 0.05)
            _add(out, start + _beats(music, beat), _lowpass(tone, 3000))
            beat += beats


def _bass(out: Samples, music: Music, rng: np.random.Generator) -> None:
    busy = rng.random() < 0.5
    for start, _, chord in _bars(out, music):
        for beat in range(music.beats_per_bar):
            if busy or beat % 2 == 0:
                length = _beats(music, 0.9 if busy else 1.8)
                tone = _saw(chord[0] - 24, length) + _sine(chord[0] - 24, length)
                _add(out, start + _beats(music, beat), _lowpass(tone * _fade(length, 0.01, 0.05), 600))


def _drums(out: Samples, music: Music, rng: np.random.Generator) -> None:
    four_on_the_floor = rng.random() < 0.4
    hat_step = float(rng.choice([0.25, 0.5, 1.0]))
    kick, snare, hat = _kick(), _snare(rng), _hat(rng)
    for start, _, _ in _bars(out, music):
        for beat in range(music.beats_per_bar):
            if four_on_the_floor or beat % 2 == 0:
                _add(out, start + _beats(music, beat), kick)
            if beat % 2 == 1:
                _add(out, start + _beats(music, beat), 0.8 * snare)
        for i in range(round(music.beats_per_bar / hat_step)):
            _add(out, start + _beats(music, i * hat_step), rng.uniform(0.2, 0.4) * hat)


STYLES: dict[str, tuple[Callable[[Samples, Music, np.random.Generator], None], ...]] = {
    "ballad": (_pad, _piano, _bass),
    "dance": (_drums, _bass, _pad, _arpeggio),
    "folk": (_arpeggio, _bass),
    "gospel": (_organ, _bass, _drums),
    "pop": (_drums, _bass, _piano, _pad, _lead),
    "rock": (_drums, _bass, _power_chords, _lead),
    "solo": (_piano,),
}


# --- tones
# ---------------------------------------------------------------------------------------------------------------------


def _bars(out: Samples, music: Music) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Start and length in samples and the triad of every bar."""
    length = _beats(music, music.beats_per_bar)
    bars = []
    for bar, start in enumerate(range(0, len(out), length)):
        degree = music.progression[bar % len(music.progression)]
        low, middle, high = (music.degree_midi(degree + step) for step in (0, 2, 4))
        bars.append((start, length, (low, middle, high)))
    return bars


def _beats(music: Music, beats: Number) -> int:
    return round(beats * music.beat_seconds * SAMPLE_RATE_HZ)


def _add(out: Samples, start: int, note: Samples) -> None:
    note = note[: max(0, len(out) - start)]
    out[start : start + len(note)] += note


def _phase(midi: Number, length: int) -> Samples:
    return 440 * 2 ** ((midi - 69) / 12) * np.arange(length) / SAMPLE_RATE_HZ


def _sine(midi: Number, length: int) -> Samples:
    return np.asarray(np.sin(2 * np.pi * _phase(midi, length)))


def _saw(midi: Number, length: int) -> Samples:
    return 2 * (_phase(midi, length) % 1.0) - 1


def _fade(length: int, attack_seconds: float, release_seconds: float) -> Samples:
    seconds = np.arange(length) / SAMPLE_RATE_HZ
    return np.asarray(np.minimum(1, np.minimum(seconds / attack_seconds, seconds[::-1] / release_seconds)))


def _struck(midi: Number, length: int, strength: float) -> Samples:
    """A piano-like note: harmonics that die away, the higher the faster."""
    seconds = np.arange(length) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * _phase(midi, length)
    return strength * np.asarray(sum(np.sin(k * phase) * np.exp(-2.5 * k * seconds) / k for k in range(1, 7)))


def _plucked(midi: Number, length: int, rng: np.random.Generator) -> Samples:
    """A plucked string (Karplus and Strong 1983): noise in a loop with a two-point mean."""
    period = max(2, round(SAMPLE_RATE_HZ / (440 * 2 ** ((midi - 69) / 12))))
    burst = np.zeros(length)
    burst[:period] = rng.uniform(-1, 1, min(period, length))[:length]
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -0.498, -0.498
    return np.asarray(lfilter([1.0], feedback, burst))


def _lowpass(signal: Samples, cutoff_hz: Number) -> Samples:
    return np.asarray(lfilter(*butter(2, cutoff_hz, fs=SAMPLE_RATE_HZ), signal))


def _kick() -> Samples:
    seconds = np.arange(round(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(np.sin(2 * np.pi * (45 * seconds + 6 * (1 - np.exp(-30 * seconds)))) * np.exp(-14 * seconds))


def _snare(rng: np.random.Generator) -> Samples:
    seconds = np.arange(round(0.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = 0.7 * rng.standard_normal(len(seconds)) + np.sin(2 * np.pi * 190 * seconds)
    return np.asarray(tone * np.exp(-22 * seconds) * 0.5)


def _hat(rng: np.random.Generator) -> Samples:
    seconds = np.arange(round(0.06 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(seconds))
    return np.asarray(np.diff(noise, prepend=0.0) * np.exp(-70 * seconds))
