"""Turn spoken lines into singing, by changing durations, pitch and timbre; word times are exact.

As in real singing, a note stretches the steady part of its syllable's vowel, and nearly keeps the length of consonants
and transitions. Word times follow from the same time map, so they are exact.

Conventions: pitch is in MIDI notes, times are seconds from the start of the sung line, frames are `vocoder`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lyrics_asr.corpora.manifest import TimedPhone
from lyrics_asr.melody.pitch import midi_to_hz
from lyrics_asr.synthesis import tts, vocoder
from lyrics_asr.synthesis.delivery import SUNG, Delivery, Melody
from lyrics_asr.synthesis.natural_voices import NaturalVoice
from lyrics_asr.synthesis.tts import Phone, Speech
from lyrics_asr.synthesis.vocoder import FRAME_SECONDS, SPEECH_SAMPLE_RATE_HZ, Frames, Samples

_SHORTEST_VOWEL_SECONDS = 0.045
_TRANSITION_SECONDS = 0.04  # at both ends of a vowel; not stretched
_CONSONANT_SPREAD = 0.12  # standard deviation of the logarithm of a consonant's length
_DIPHTHONG_ENDINGS = "IUY"  # in espeak-ng's names of vowels with more than one letter
_WHISPER_BREATHINESS = 0.9
_HISSING = ("z", "Z", "dz", "dZ")  # voiced, with more noise than voice
_NEPERS_PER_DB = np.log(10) / 10  # of the logarithm of a power


@dataclass(frozen=True)
class Voice:
    """A singer.

    Args:
        espeak_name: accent and variant, for instance "en-us+f3".
        formant_ratio: factor on the frequencies of the spectral envelope; below 1 for a longer vocal tract.
        center_midi: middle of the singer's range.
        vibrato_semitones: vibrato depth on long notes.
        vibrato_hz: vibrato rate.
        breathiness: fraction of the periodic part that is replaced by noise, in 0..1.
        vibrato_delay_seconds: time from the start of a note to its vibrato.
        range_semitones: maximum distance of melodies from `center_midi`.
        portamento_seconds: length of the glide between notes.
        scoop_semitones: how far below its pitch a note may start.
        roughness: jitter, shimmer and subharmonics, in 0..1.
        tilt_db_per_octave: brightness, as spectral tilt above 500 Hz.
        natural: speaks in place of espeak-ng, which only gives the pronunciation then.
    """

    espeak_name: str
    formant_ratio: float
    center_midi: float
    vibrato_semitones: float
    vibrato_hz: float
    breathiness: float
    vibrato_delay_seconds: float = 0.2
    range_semitones: float = 8.0
    portamento_seconds: float = 0.08
    scoop_semitones: float = 0.0
    roughness: float = 0.0
    tilt_db_per_octave: float = 0.0
    natural: NaturalVoice | None = None

    @property
    def name(self) -> str:
        """The name of the voice that speaks."""
        return self.natural.name if self.natural else self.espeak_name

    def speak(self, text: str, words_per_minute: int) -> Speech:
        """Speak a line.

        Raises:
            FileNotFoundError: the folder of the natural voices is incomplete.
            ValueError: no such voice, or a word has no phones.
        """
        if self.natural:
            return self.natural.speak(text, self.espeak_name, words_per_minute)
        return tts.speak(text, self.espeak_name, words_per_minute)


@dataclass(frozen=True)
class SungWord:
    """A word and its time in seconds from the start of the sung line."""

    text: str
    start_seconds: float
    end_seconds: float
    phones: tuple[TimedPhone, ...]


@dataclass(frozen=True)
class SungLine:
    """A sung line.

    Args:
        samples: mono, at `vocoder.SPEECH_SAMPLE_RATE_HZ`.
        words: in order, with their times.
        first_vowel_seconds: start of the first note, which is placed on the beat.
        f0_hz: fundamental frequency per frame; 0 in unvoiced sounds and pauses, and everywhere in whispers.
    """

    samples: Samples
    words: tuple[SungWord, ...]
    first_vowel_seconds: float
    f0_hz: Samples


def sing(speech: Speech, melody: Melody, voice: Voice, rng: np.random.Generator, delivery: Delivery = SUNG) -> SungLine:
    """Sing a spoken line, with one or more notes per syllable.

    A vowel fills its notes up to the next vowel, minus the consonants and the pause between them. Consonants keep their
    length up to random variation and `delivery`, but are shortened if the notes are too short.

    Raises:
        ValueError: the number of syllables or pauses in the melody does not match the speech.
    """
    phones = [phone for word in speech.words for phone in word.phones]
    # The sound that carries a note: each vowel, or the first sound of a word that has none.
    carriers = np.array(
        [
            phone.is_vowel if any(p.is_vowel for p in word.phones) else i == 0
            for word in speech.words
            for i, phone in enumerate(word.phones)
        ]
    )
    if len(melody.syllables) != carriers.sum():
        raise ValueError(f"{carriers.sum()} syllables need as many notes, not {len(melody.syllables)}")
    if melody.pauses_seconds and len(melody.pauses_seconds) != len(speech.words):
        raise ValueError(f"{len(speech.words)} words need as many pauses, not {len(melody.pauses_seconds)}")
    pauses = np.zeros(len(phones))  # before each phone
    first_phones = np.cumsum([0] + [len(word.phones) for word in speech.words])
    if melody.pauses_seconds:
        pauses[first_phones[:-1]] = melody.pauses_seconds

    lengths = _sung_lengths(phones, carriers, pauses, melody, delivery, rng)
    ends = np.cumsum(pauses + lengths)
    starts = np.append(0.0, ends[:-1]) + pauses
    samples, f0_hz = _voice_frames(speech, phones, starts, ends, starts[carriers], melody, voice, delivery, rng)
    words = []
    for word, first, last in zip(speech.words, first_phones[:-1], first_phones[1:], strict=True):
        timed = tuple(
            TimedPhone(phone.name, float(start), float(end))
            for phone, start, end in zip(word.phones, starts[first:last], ends[first:last], strict=True)
        )
        words.append(SungWord(word.text, timed[0].start_seconds, timed[-1].end_seconds, timed))
    return SungLine(samples, tuple(words), float(starts[int(np.argmax(carriers))]), f0_hz)


def _sung_lengths(
    phones: Sequence[Phone],
    carriers: NDArray[np.bool_],
    pauses: Samples,
    melody: Melody,
    delivery: Delivery,
    rng: np.random.Generator,
) -> Samples:
    spoken = np.array([p.end_samples - p.start_samples for p in phones]) / SPEECH_SAMPLE_RATE_HZ
    chance = np.exp(np.clip(_CONSONANT_SPREAD * rng.standard_normal(len(phones)), -0.35, 0.26))
    sung = spoken * chance * delivery.consonant_ratio
    positions = np.flatnonzero(carriers)
    for syllable, (begin, end) in enumerate(zip(positions, np.append(positions[1:], len(phones)), strict=True)):
        room = sum(note.seconds for note in melody.syllables[syllable]) - pauses[begin + 1 : end].sum()
        consonants = sung[begin + 1 : end].sum()
        if consonants > 0:
            fitting = (room - _SHORTEST_VOWEL_SECONDS) / consonants
            sung[begin + 1 : end] *= np.clip(fitting, 0.5, 1.0)
        sung[begin] = max(room - sung[begin + 1 : end].sum(), _SHORTEST_VOWEL_SECONDS)
    return np.asarray(sung)


def _voice_frames(
    speech: Speech,
    phones: Sequence[Phone],
    starts: Samples,
    ends: Samples,
    vowel_starts: Samples,
    melody: Melody,
    voice: Voice,
    delivery: Delivery,
    rng: np.random.Generator,
) -> tuple[Samples, Samples]:
    """The sung samples, and the fundamental frequency that is heard in each frame."""
    analysis = speech.analysis
    times = np.arange(round(ends[-1] / FRAME_SECONDS)) * FRAME_SECONDS
    position = np.clip(_source_times(phones, starts, ends, times) / FRAME_SECONDS, 0, len(analysis.f0_hz) - 1)
    nearest = np.round(position).astype(int)
    phone_at = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, None)
    is_vowel = np.array([phone.is_vowel for phone in phones])[phone_at]

    envelope = _warp(_frames_at(analysis.log_envelope, position), voice.formant_ratio)
    tilt_db_per_octave = voice.tilt_db_per_octave + delivery.tilt_db_per_octave
    octaves = np.log2(np.maximum(vocoder.BIN_HZ, 500) / 500)
    envelope += (np.clip(tilt_db_per_octave * octaves, -18, 18) * _NEPERS_PER_DB).astype(np.float32)
    loudness = (times < ends[phone_at]).astype(float)  # silence in pauses
    loudness = np.convolve(loudness, np.hanning(7)[1:-1] / np.hanning(7).sum(), mode="same")
    roughness = min(1.0, voice.roughness + delivery.roughness)
    shimmer = 0.4 * roughness * rng.standard_normal(len(times))
    envelope += (2 * np.log(np.maximum(loudness, 1e-5)) + shimmer).astype(np.float32)[:, None]

    hissing = np.array([phone.name.startswith(_HISSING) for phone in phones])[phone_at]
    aperiodicity = np.maximum(vocoder.CLEAR_VOICE_APERIODICITY, np.where(hissing, 0.9, 0.0)[:, None])
    breathiness = min(1.0, voice.breathiness + delivery.breathiness)
    aperiodicity += breathiness * (1 - aperiodicity)

    midi = _pitch_curve(times, vowel_starts, melody, voice, rng) + delivery.higher_semitones
    midi += delivery.intonation * _intonation(analysis.f0_hz)[nearest]
    f0_hz = midi_to_hz(midi) * (1 + 0.03 * roughness * rng.standard_normal(len(times)))
    f0_hz = np.clip(f0_hz, 40, 2000)
    f0_hz[~(is_vowel | (analysis.f0_hz[nearest] > 0))] = 0
    subharmonic = max(0.0, roughness - 0.3)
    samples = vocoder.synthesize(f0_hz, envelope, aperiodicity.astype(np.float32), subharmonic, rng)
    is_heard = (times < ends[phone_at]) & (breathiness < _WHISPER_BREATHINESS)
    return samples, np.where(is_heard, f0_hz, 0.0)


def _source_times(phones: Sequence[Phone], starts: Samples, ends: Samples, times: Samples) -> Samples:
    """The time in the speech for each time in the song.

    A stretched vowel keeps the length of its transitions; a diphthong is stretched before its second part.
    """
    sung: list[float] = []
    spoken: list[float] = []
    for phone, start, end in zip(phones, starts, ends, strict=True):
        first, last = phone.start_samples / SPEECH_SAMPLE_RATE_HZ, phone.end_samples / SPEECH_SAMPLE_RATE_HZ
        sung += [start]
        spoken += [first]
        if phone.is_vowel and end - start > last - first:
            is_diphthong = len(phone.name) > 1 and phone.name[-1] in _DIPHTHONG_ENDINGS
            before = min(_TRANSITION_SECONDS, (last - first) / 3)
            after = (last - first) * 0.55 if is_diphthong else before
            sung += [start + before, end - after]
            spoken += [first + before, last - after]
        sung += [end]
        spoken += [last]
    return np.interp(times, sung, spoken)


def _frames_at(frames: Frames, position: Samples) -> Frames:
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(frames) - 1)
    weight = (position - low).astype(np.float32)[:, None]
    return np.asarray(frames[low] * (1 - weight) + frames[high] * weight)


def _warp(envelope: Frames, ratio: float) -> Frames:
    """Shift the formants: frequency f of the result is frequency f / ratio of `envelope`."""
    bins = np.minimum(np.arange(envelope.shape[1]) / ratio, envelope.shape[1] - 1)
    return _frames_at(envelope.T, bins).T


def _pitch_curve(
    times: Samples, vowel_starts: Samples, melody: Melody, voice: Voice, rng: np.random.Generator
) -> Samples:
    """Pitch in MIDI notes: steps joined by glides, with scoops, vibrato and a slow random drift."""
    notes = [note for syllable in melody.syllables for note in syllable]
    note_starts = np.concatenate(
        [
            start + np.cumsum([0.0] + [note.seconds for note in syllable[:-1]])
            for start, syllable in zip(vowel_starts, melody.syllables, strict=True)
        ]
    )
    index = np.clip(np.searchsorted(note_starts - 0.03, times, side="right") - 1, 0, None)
    since = times - note_starts[index]
    steps = np.array([note.midi for note in notes])[index]
    glide_seconds = min(voice.portamento_seconds, 0.8 * float(np.median([note.seconds for note in notes])))
    glide = np.hanning(round(glide_seconds / FRAME_SECONDS) + 2)[1:-1]
    padded = np.pad(steps, len(glide), mode="edge")
    midi = np.convolve(padded, glide / glide.sum(), mode="same")[len(glide) : -len(glide)]
    scoops = voice.scoop_semitones * (rng.random(len(notes)) < 0.4)
    midi -= scoops[index] * np.exp(-np.maximum(since, 0) / 0.06)
    growth = np.clip((since - voice.vibrato_delay_seconds) / 0.3, 0, 1)
    midi += growth * voice.vibrato_semitones * np.sin(2 * np.pi * voice.vibrato_hz * times)
    knots = np.arange(0, times[-1] + 0.4, 0.2)
    return np.asarray(midi + np.interp(times, knots, 0.08 * rng.standard_normal(len(knots))))


def _intonation(f0_hz: Samples) -> Samples:
    """Deviation of the spoken pitch from its median, in semitones, limited to a fifth."""
    voiced = f0_hz > 0
    if not voiced.any():
        return np.zeros(len(f0_hz))
    pitch_hz = np.interp(np.arange(len(f0_hz)), np.flatnonzero(voiced), f0_hz[voiced])
    return np.asarray(np.clip(12 * np.log2(pitch_hz / np.median(f0_hz[voiced])), -7, 7))
