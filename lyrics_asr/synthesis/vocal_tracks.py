"""Vocal tracks of a song: lead vocals, and backing vocals with doubles, harmonies, shouts, ad-libs and breaths.

The lead sings the lyrics, with exact times. Backing vocals either repeat the lead's words or are not part of the
lyrics.

Conventions: stems are at `SAMPLE_RATE_HZ`, times in seconds from the start of the song, pitch in MIDI notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, resample_poly

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.melody.pitch import FRAME_SECONDS, midi_to_hz
from lyrics_asr.synthesis import singing, vocoder
from lyrics_asr.synthesis.delivery import DELIVERIES, Delivery, Melody, draw_melody
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.synthesis.tts import Speech, syllables
from lyrics_asr.synthesis.vocoder import Samples
from lyrics_asr.types import TimedWord

Stem = NDArray[np.float32]

_LINE_RMS = 0.1  # of a line at 0 dB gain
_AD_LIBS = {
    "en": ("oh", "yeah", "hey", "ooh", "whoa", "oh yeah", "oh oh oh", "na na na", "la la la", "come on"),
    "es": ("oh", "ay", "eh", "sí", "uh", "ay ay ay", "oh oh oh", "na na na", "la la la", "vamos"),
    "fr": ("oh", "ah", "hé", "ouais", "ouh", "oh oh oh", "na na na", "la la la", "allez"),
    "de": ("oh", "ja", "hey", "uh", "ah", "oh oh oh", "na na na", "la la la", "komm schon"),
}
_HARMONY_STEPS = (2, -2, 4, -3, 7, -7)  # of the scale: third, fifth, fourth below, octaves


@dataclass(frozen=True)
class Line:
    """A sung line of the lead vocals, and its sources.

    Args:
        words: words as written.
        speech: the spoken line.
        melody: notes of the line.
        delivery: how the line is sung.
        sung: the sung line.
    """

    words: tuple[str, ...]
    speech: Speech
    melody: Melody
    delivery: Delivery
    sung: singing.SungLine

    @property
    def lead_in_seconds(self) -> float:
        """Time from the start of the line to its first note."""
        return self.sung.first_vowel_seconds

    @property
    def seconds(self) -> float:
        """Time from the first note to the end of the last word."""
        return self.sung.words[-1].end_seconds - self.sung.first_vowel_seconds


@dataclass(frozen=True)
class Performance:
    """The vocal tracks of a song.

    Args:
        lead: mono.
        others: backing vocals and breaths, stereo, `[2, samples]`.
        lines: words of each line of the lead.
        phones: phones of each word.
        pitches_hz: pitch of the first note of each word.
        f0_hz: fundamental frequency of the lead, every `melody.pitch.FRAME_SECONDS`; 0 where it has none.
    """

    lead: Stem
    others: Stem
    lines: tuple[tuple[TimedWord, ...], ...]
    phones: tuple[tuple[TimedPhone, ...], ...]
    pitches_hz: tuple[float, ...]
    f0_hz: NDArray[np.float32]


@dataclass(frozen=True)
class _BackingVocals:
    """Fractions of lines or pauses with backing vocals of each kind, and their level."""

    doubled: float
    harmonized: float
    shouted: float
    answered: float
    breaths: float
    level_db: float


def sing_line(
    text: str,
    speech: Speech,
    melody: Melody,
    voice: singing.Voice,
    delivery: Delivery,
    rng: np.random.Generator,
) -> Line:
    """Sing a line, which `perform` can place once or several times.

    Args:
        text: the line as written.
        speech: the spoken line, with the same words.
        melody: its notes.
        voice: the singer.
        delivery: how it is sung.
        rng: random generator.

    Raises:
        ValueError: the words or syllables of text, speech and melody do not match.
    """
    words = tuple(text.split())
    if len(words) != len(speech.words):
        raise ValueError(f"{text!r} has {len(words)} words, its speech has {len(speech.words)}")
    return Line(words, speech, melody, delivery, singing.sing(speech, melody, voice, rng, delivery))


def when_sung(placed: Sequence[tuple[float, Line]]) -> list[tuple[float, float]]:
    """Start and end of every line in seconds, see `perform`."""
    spans: list[tuple[float, float]] = []
    for start, line in placed:
        begin = max(start - line.lead_in_seconds, spans[-1][1] if spans else 0.0)
        spans.append((begin, begin + line.lead_in_seconds + line.seconds))
    return spans


def perform(
    placed: Sequence[tuple[float, Line]],
    voice: singing.Voice,
    scale_midi: Sequence[int],
    total_seconds: float,
    rng: np.random.Generator,
    *,
    alone: bool = False,
) -> Performance:
    """Place lines in a song and add backing vocals.

    Args:
        placed: the time of each line's first note, and the line. A line that would start before the previous one ends
            is delayed.
        voice: singer of the lead.
        scale_midi: notes of the scale over all octaves, ascending.
        total_seconds: length of the song.
        rng: random generator.
        alone: whether to leave out backing vocals; the lead is the same.

    Raises:
        ValueError: the last line ends after the song.
    """
    total = round(total_seconds * SAMPLE_RATE_HZ)
    spans = when_sung(placed)
    if spans and spans[-1][1] > total_seconds:
        raise ValueError(f"the last line ends at {spans[-1][1]:.2f} s, after the song of {total_seconds:.2f} s")
    lead = np.zeros((1, total), np.float32)
    for (_, line), (start, _), gain_db in zip(placed, spans, 1.5 * rng.standard_normal(len(placed)), strict=True):
        _place(lead, line.sung.samples, start, line.delivery.gain_db + float(gain_db), 0.0)
    others = np.zeros((2, total), np.float32)
    if not alone:
        backing = _draw_backing_vocals(rng)
        for (_, line), (start, _) in zip(placed, spans, strict=True):
            _sing_along(others, line, start, voice, scale_midi, backing, rng)
        _fill_pauses(others, placed, spans, voice, scale_midi, backing, rng)

    words = tuple(
        tuple(
            TimedWord(written, start + word.start_seconds, start + word.end_seconds, 1.0)
            for written, word in zip(line.words, line.sung.words, strict=True)
        )
        for (_, line), (start, _) in zip(placed, spans, strict=True)
    )
    phones = tuple(
        tuple(TimedPhone(each.name, start + each.start_seconds, start + each.end_seconds) for each in word.phones)
        for (_, line), (start, _) in zip(placed, spans, strict=True)
        for word in line.sung.words
    )
    pitches_hz = tuple(pitch for _, line in placed for pitch in _word_pitches_hz(line))
    starts = [start for start, _ in spans]
    return Performance(lead[0], others, words, phones, pitches_hz, _f0_hz(placed, starts, total_seconds))


def harmonize(melody: Melody, scale_midi: Sequence[int], steps: int) -> Melody:
    """Transpose a melody by `steps` scale degrees."""
    scale = np.asarray(scale_midi)

    def moved(midi: float) -> float:
        return float(scale[np.clip(np.argmin(np.abs(scale - midi)) + steps, 0, len(scale) - 1)])

    return replace(
        melody,
        syllables=tuple(tuple(replace(note, midi=moved(note.midi)) for note in own) for own in melody.syllables),
    )


def _f0_hz(
    placed: Sequence[tuple[float, Line]], starts_seconds: Sequence[float], total_seconds: float
) -> NDArray[np.float32]:
    """The fundamental frequency of the lead: that of the nearest frame of the line that is sung."""
    times = np.arange(round(total_seconds / FRAME_SECONDS) + 1) * FRAME_SECONDS
    f0_hz = np.zeros(len(times), np.float32)
    for (_, line), start in zip(placed, starts_seconds, strict=True):
        frames = np.rint((times - start) / vocoder.FRAME_SECONDS).astype(int)
        inside = (frames >= 0) & (frames < len(line.sung.f0_hz))
        f0_hz[inside] = line.sung.f0_hz[frames[inside]]
    return f0_hz


def _word_pitches_hz(line: Line) -> list[float]:
    counts = [syllables(word) for word in line.speech.words]
    firsts = np.cumsum([0, *counts[:-1]])
    shift = line.delivery.higher_semitones
    return [midi_to_hz(float(line.melody.syllables[i][0].midi + shift)) for i in firsts]


def _draw_backing_vocals(rng: np.random.Generator) -> _BackingVocals:
    def share(present: float, highest: float) -> float:
        return float(rng.uniform(0.1, highest)) if rng.random() < present else 0.0

    return _BackingVocals(
        doubled=share(0.4, 1.0),
        harmonized=share(0.35, 0.6),
        shouted=share(0.12, 0.3),
        answered=share(0.45, 0.5),
        breaths=share(0.7, 1.0),
        level_db=float(rng.uniform(-8, 0)),
    )


def _sing_along(
    others: Stem,
    line: Line,
    start_seconds: float,
    voice: singing.Voice,
    scale_midi: Sequence[int],
    backing: _BackingVocals,
    rng: np.random.Generator,
) -> None:
    """Add doubles, harmonies and shouts of a line."""
    takes: list[tuple[Melody, singing.Voice, Delivery, float, float]] = []  # with level in dB and pan
    if rng.random() < backing.doubled:
        pan = float(rng.uniform(0.2, 0.9))
        takes += [
            (line.melody, _like(voice, 0.03, rng), line.delivery, -3.0, side)
            for side in (pan, -pan)[: 1 + int(rng.random() < 0.5)]
        ]
    if rng.random() < backing.harmonized:
        harmony = harmonize(line.melody, scale_midi, int(rng.choice(_HARMONY_STEPS)))
        takes.append((harmony, _like(voice, 0.12, rng), line.delivery, -5.0, float(rng.uniform(-0.8, 0.8))))
    if rng.random() < backing.shouted:
        gang = range(int(rng.integers(2, 5)))
        takes += [
            (line.melody, _like(voice, 0.15, rng), DELIVERIES["shouted"], -7.0, float(rng.uniform(-1, 1))) for _ in gang
        ]
    for melody, other, delivery, gain_db, pan in takes:
        cents = float(rng.uniform(5, 25) * rng.choice([-1, 1]))
        late_seconds = float(rng.uniform(0.01, 0.03) * rng.choice([-1, 1]))
        detuned = replace(delivery, higher_semitones=delivery.higher_semitones + cents / 100)
        sung = singing.sing(line.speech, melody, other, rng, detuned)
        first_note_seconds = start_seconds + line.lead_in_seconds + late_seconds
        level_db = gain_db + backing.level_db + delivery.gain_db
        _place(others, sung.samples, first_note_seconds - sung.first_vowel_seconds, level_db, pan)


def _fill_pauses(
    others: Stem,
    placed: Sequence[tuple[float, Line]],
    spans: Sequence[tuple[float, float]],
    voice: singing.Voice,
    scale_midi: Sequence[int],
    backing: _BackingVocals,
    rng: np.random.Generator,
) -> None:
    """Add breaths before lines, and ad-libs and echoes of the last word, mostly near the ends of lines."""
    ad_libs = _AD_LIBS[voice.espeak_name[:2]]
    begins = [start for start, _ in spans] + [others.shape[1] / SAMPLE_RATE_HZ]
    ends = [0.0] + [end for _, end in spans]
    for number, (begin, end) in enumerate(zip(ends, begins, strict=True)):
        if number < len(spans) and end - begin > 0.4 and rng.random() < backing.breaths:
            breath = _breath(rng)
            at_seconds = end - len(breath) / SAMPLE_RATE_HZ - rng.uniform(0.02, 0.08)
            _mix(others, breath * 10 ** (rng.uniform(-32, -18) / 20), at_seconds, 0.0)
        if rng.random() < backing.answered:
            echo = number > 0 and rng.random() < 0.35
            text = placed[number - 1][1].speech.words[-1].text if echo else str(rng.choice(ad_libs))
            delivery = DELIVERIES[str(rng.choice(["sung", "lyrical", "ornamented", "shouted", "spoken"]))]
            speech = voice.speak(text, delivery.words_per_minute)
            counts = [syllables(word) for word in speech.words]
            beat_seconds = float(rng.uniform(0.4, 0.7))
            melody = draw_melody(
                counts, scale_midi, voice.center_midi, voice.range_semitones, beat_seconds, delivery, rng
            )
            answer = singing.sing(speech, melody, _like(voice, 0.1, rng), rng, delivery)
            at_end = number > 0 and rng.random() < 0.7
            at_seconds = begin + float(rng.uniform(-0.3, 0.8) if at_end else rng.uniform(0, end - begin))
            level_db = backing.level_db - float(rng.uniform(2, 8))
            _place(others, answer.samples, at_seconds, level_db, float(rng.uniform(-0.8, 0.8)))


def _like(voice: singing.Voice, spread: float, rng: np.random.Generator) -> singing.Voice:
    """A similar voice; `spread` is the maximum change of the logarithm of the vocal tract's length."""
    return replace(
        voice,
        formant_ratio=float(np.clip(voice.formant_ratio * np.exp(spread * rng.uniform(-1, 1)), 0.8, 1.3)),
        vibrato_hz=voice.vibrato_hz * float(rng.uniform(0.93, 1.07)),
        tilt_db_per_octave=voice.tilt_db_per_octave + float(rng.uniform(-20, 20)) * spread,
    )


def _breath(rng: np.random.Generator) -> Samples:
    """An inhalation: swelling noise with a peak of about 1."""
    length = round(rng.uniform(0.15, 0.45) * SAMPLE_RATE_HZ)
    low_hz, high_hz = rng.uniform(500, 1200), rng.uniform(3500, 8000)
    band = butter(2, (low_hz, high_hz), btype="band", fs=SAMPLE_RATE_HZ)
    swell = np.sin(np.pi * np.linspace(0, 1, length) ** 1.7) ** 1.5
    noise = np.asarray(lfilter(*band, rng.standard_normal(length))) * swell
    return np.asarray(noise / np.abs(noise).max())


def _place(stem: Stem, samples: Samples, start_seconds: float, gain_db: float, pan: float) -> None:
    """Resample a voice to the stem's rate, and add it at the standard level plus `gain_db`."""
    rms = max(float(np.sqrt(np.mean(samples**2))), 1e-6)
    _mix(stem, resample_poly(samples, 2, 1) * (_LINE_RMS / rms * 10 ** (gain_db / 20)), start_seconds, pan)


def _mix(stem: Stem, samples: Samples, start_seconds: float, pan: float) -> None:
    """Add mono samples, cropped to the stem; `pan` is -1 (left) to 1 (right)."""
    first = round(start_seconds * SAMPLE_RATE_HZ)
    samples = samples[max(0, -first) :]
    first = max(0, first)
    samples = samples[: max(0, stem.shape[1] - first)]
    sides = [[1.0]] if len(stem) == 1 else [[np.sqrt((1 - pan) / 2)], [np.sqrt((1 + pan) / 2)]]
    stem[:, first : first + len(samples)] += (np.array(sides) * samples).astype(np.float32)
