"""Sung lines with exact word times: espeak-ng speaks, the WORLD vocoder sings.

espeak-ng reports where each phoneme of what it says begins. WORLD (Morise et al. 2016) takes the speech apart into
pitch, spectral envelope and aperiodicity, and puts it together again with other durations and another pitch. A note
stretches the vowel of its syllable and leaves the consonants nearly as they were spoken, as singers do; word times
follow from the same map of time and are exact.

Conventions: `*_samples` count at `SPEECH_SAMPLE_RATE_HZ`, frames are WORLD frames of `FRAME_SECONDS`, pitch is in MIDI
    notes.
"""

import _ctypes
import ctypes
import tempfile
import weakref
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import pyworld
from numpy.typing import NDArray

from lyrics_asr.datasets.manifest import Sound

SPEECH_SAMPLE_RATE_HZ = 22_050  # what espeak-ng gives
FRAME_SECONDS = 0.005  # WORLD's default
_VOWELS = frozenset("aAeEiIoOuUV0@3Q&")  # first letters of espeak-ng's English vowel mnemonics

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """A singer.

    Args:
        espeak_name: accent and variant, for instance "en-us+f3".
        formant_ratio: factor on the frequencies of the spectral envelope: below 1 a longer, above 1 a shorter vocal
            tract.
        center_midi: middle of the singer's range.
        vibrato_semitones: depth of the vibrato on long notes.
        vibrato_hz: its rate.
        breathiness: share of the periodic part that becomes noise, 0..1.
    """

    espeak_name: str
    formant_ratio: float
    center_midi: float
    vibrato_semitones: float
    vibrato_hz: float
    breathiness: float


@dataclass(frozen=True)
class Phone:
    """A stretch of speech with one sound, named as espeak-ng does, without stress; pauses count as consonants."""

    name: str
    start_samples: int
    end_samples: int
    is_vowel: bool


@dataclass(frozen=True)
class SpokenWord:
    """A word and its sounds."""

    text: str
    phones: tuple[Phone, ...]


@dataclass(frozen=True)
class Speech:
    """A spoken line."""

    samples: Samples
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True)
class SungWord:
    """A word and its time in seconds from the start of the sung line."""

    text: str
    start_seconds: float
    end_seconds: float
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class SungLine:
    """A sung line.

    Args:
        samples: mono, at `SPEECH_SAMPLE_RATE_HZ`.
        words: in order, with their times.
        first_vowel_seconds: where the first note begins: what falls on the beat.
    """

    samples: Samples
    words: tuple[SungWord, ...]
    first_vowel_seconds: float


def reset() -> None:
    """Begin anew: what follows sounds the same in any process.

    espeak-ng carries the phase of its wave generator and of its noise from one utterance to the next, and has no way to
    start them again but to load it again.
    """
    _espeak.cache_clear()


def speak(text: str, voice_name: str, words_per_minute: int) -> Speech:
    """Let espeak-ng say a line.

    Raises:
        ValueError: no such voice, or a word without any sound.
    """
    words = text.split()
    samples, events = _synthesize(text, voice_name, words_per_minute)
    if sum(event.kind == _EVENT_WORD for event in events) != len(words):
        # espeak-ng runs pairs such as "in the" together and reports one word: say such a line word by word.
        return _join([speak_word(word, voice_name, words_per_minute) for word in words])
    return Speech(samples, _group(words, events, len(samples)))


def speak_word(word: str, voice_name: str, words_per_minute: int) -> Speech:
    """Let espeak-ng say one word on its own.

    Raises:
        ValueError: no such voice, or a word without any sound.
    """
    samples, events = _synthesize(word, voice_name, words_per_minute)
    # espeak-ng reports no word event for some single words, and several for others; there is one word.
    sounds = [event for event in events if event.kind != _EVENT_WORD]
    speech = Speech(samples, _group([word], [_Event(_EVENT_WORD, 0, ""), *sounds], len(samples)))
    end = speech.words[0].phones[-1].end_samples
    return Speech(samples[:end], speech.words)


def syllables(word: SpokenWord) -> int:
    """Notes that a word takes: its vowels, at least one."""
    return max(1, sum(phone.is_vowel for phone in word.phones))


def sing(speech: Speech, notes_midi: list[float], durations_seconds: list[float], voice: Voice) -> SungLine:
    """Sing a spoken line: one note and one duration for each syllable.

    The vowel of a syllable fills its note up to the next vowel, less the consonants between them, which keep their
    length.

    Raises:
        ValueError: the notes are not as many as the syllables.
    """
    phones = [phone for word in speech.words for phone in word.phones]
    # The sound that carries a note: each vowel, or the first sound of a word that has none.
    carriers = [
        phone.is_vowel if any(p.is_vowel for p in word.phones) else i == 0
        for word in speech.words
        for i, phone in enumerate(word.phones)
    ]
    if not len(notes_midi) == len(durations_seconds) == sum(carriers):
        raise ValueError(f"{sum(carriers)} syllables need as many notes, not {len(notes_midi)}")
    spoken = np.array([p.end_samples - p.start_samples for p in phones]) / SPEECH_SAMPLE_RATE_HZ
    sung = _stretch(spoken, np.array(carriers), np.array(durations_seconds))
    ends = np.cumsum(sung)
    starts = ends - sung

    analysis = _analyse(speech.samples)
    times = np.arange(round(ends[-1] / FRAME_SECONDS)) * FRAME_SECONDS
    source_times = np.interp(
        times,
        np.append(starts, ends[-1]),
        np.array([p.start_samples for p in phones] + [phones[-1].end_samples]) / SPEECH_SAMPLE_RATE_HZ,
    )
    position = np.clip(source_times / FRAME_SECONDS, 0, len(analysis.f0) - 1)
    envelope = _warp(_frames_at(analysis.envelope, position), voice.formant_ratio)
    aperiodicity = _frames_at(analysis.aperiodicity, position)
    aperiodicity += voice.breathiness * (1 - aperiodicity)
    pitch_hz = _pitch_curve(times, starts[np.array(carriers)], np.array(notes_midi), voice)
    voiced = analysis.f0[np.round(position).astype(int)] > 0
    samples = pyworld.synthesize(
        np.where(voiced, pitch_hz, 0.0),
        np.ascontiguousarray(envelope),
        np.ascontiguousarray(np.clip(aperiodicity, 0, 1)),
        SPEECH_SAMPLE_RATE_HZ,
        FRAME_SECONDS * 1000,
    )

    words = []
    first = 0
    for word in speech.words:
        last = first + len(word.phones)
        sounds = tuple(
            Sound(phone.name, float(start), float(end))
            for phone, start, end in zip(word.phones, starts[first:last], ends[first:last], strict=True)
        )
        words.append(SungWord(word.text, sounds[0].start_seconds, sounds[-1].end_seconds, sounds))
        first = last
    return SungLine(samples, tuple(words), float(starts[int(np.argmax(carriers))]))


def _stretch(spoken: Samples, carriers: NDArray[np.bool_], durations_seconds: Samples) -> Samples:
    """Sung length of every phone: carriers fill their note, at least 60 ms, and the others keep their length."""
    sung = spoken.copy()
    positions = np.flatnonzero(carriers)
    for note, (begin, end) in enumerate(zip(positions, np.append(positions[1:], len(spoken)), strict=True)):
        consonants = spoken[begin + 1 : end].sum()
        sung[begin] = max(durations_seconds[note] - consonants, 0.06)
    return sung


@dataclass(frozen=True)
class _Analysis:
    f0: Samples
    envelope: Samples
    aperiodicity: Samples


def _analyse(samples: Samples) -> _Analysis:
    f0, times = pyworld.dio(samples, SPEECH_SAMPLE_RATE_HZ, frame_period=FRAME_SECONDS * 1000)
    f0 = pyworld.stonemask(samples, f0, times, SPEECH_SAMPLE_RATE_HZ)
    envelope = pyworld.cheaptrick(samples, f0, times, SPEECH_SAMPLE_RATE_HZ)
    return _Analysis(f0, envelope, pyworld.d4c(samples, f0, times, SPEECH_SAMPLE_RATE_HZ))


def _frames_at(frames: Samples, position: Samples) -> Samples:
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(frames) - 1)
    weight = (position - low)[:, None]
    return np.asarray(frames[low] * (1 - weight) + frames[high] * weight)


def _warp(envelope: Samples, ratio: float) -> Samples:
    """Move the formants: frequency f of the result is frequency f / ratio of `envelope`."""
    bins = np.minimum(np.arange(envelope.shape[1]) / ratio, envelope.shape[1] - 1)
    return _frames_at(envelope.T, bins).T


def _pitch_curve(times: Samples, note_starts: Samples, notes_midi: Samples, voice: Voice) -> Samples:
    """Pitch in hertz: steps joined by glides of about 80 ms, and a vibrato that grows from 0.2 s into a note."""
    index = np.clip(np.searchsorted(note_starts - 0.03, times, side="right") - 1, 0, None)
    steps = notes_midi[index]
    glide = np.hanning(round(0.08 / FRAME_SECONDS) + 2)[1:-1]
    padded = np.pad(steps, len(glide), mode="edge")
    midi = np.convolve(padded, glide / glide.sum(), mode="same")[len(glide) : -len(glide)]
    growth = np.clip((times - note_starts[index] - 0.2) / 0.3, 0, 1)
    midi = midi + growth * voice.vibrato_semitones * np.sin(2 * np.pi * voice.vibrato_hz * times)
    return np.asarray(440.0 * 2 ** ((midi - 69) / 12))


def _join(parts: list[Speech]) -> Speech:
    words: list[SpokenWord] = []
    offset = 0
    for part in parts:
        words.extend(
            SpokenWord(
                w.text,
                tuple(
                    replace(p, start_samples=p.start_samples + offset, end_samples=p.end_samples + offset)
                    for p in w.phones
                ),
            )
            for w in part.words
        )
        offset += len(part.samples)
    return Speech(np.concatenate([part.samples for part in parts]), tuple(words))


def _group(words: list[str], events: list["_Event"], total_samples: int) -> tuple[SpokenWord, ...]:
    """Phonemes, given to the word that they belong to.

    Each lasts until the next one begins, the last one until the final pause.
    """
    sounds: list[tuple[int, str, int]] = []  # start, name, word index
    word = -1
    final = total_samples
    for event in events:
        if event.kind == _EVENT_WORD:
            word += 1
        elif event.name.startswith("_"):
            final = event.sample
        elif word >= 0 and (name := event.name.strip("'\",;%=")):
            sounds.append((event.sample, name, word))
            final = total_samples
    phones: list[list[Phone]] = [[] for _ in words]
    for (start, name, index), following in zip(sounds, [*sounds[1:], (final, "", -1)], strict=True):
        if following[0] > start:
            phones[index].append(Phone(name, start, following[0], name[0] in _VOWELS))
    for text, own in zip(words, phones, strict=True):
        if not own:
            raise ValueError(f"espeak-ng has no sound for {text!r}")
    return tuple(SpokenWord(text, tuple(own)) for text, own in zip(words, phones, strict=True))


# --- espeak-ng's C interface, speak_lib.h
# ---------------------------------------------------------------------------------------

_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_RETRIEVE_MODE = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback and nothing is played
_PHONEME_EVENTS_AND_NO_EXIT = 0x1 | 0x8000
_PARAMETER_RATE = 1
_CHARACTERS_UTF8 = 1


class _RawEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class _Event:
    kind: int
    sample: int
    name: str


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_RawEvent))


class _Espeak:
    """The library, with its global state; not for threads."""

    def __init__(self) -> None:
        # A private copy: opened twice, one file is one library, with one state.
        with tempfile.NamedTemporaryFile(suffix=".so") as copy:
            copy.write(Path(espeakng_loader.get_library_path()).read_bytes())
            copy.flush()
            self._library = ctypes.CDLL(copy.name)
        weakref.finalize(self, _unload, self._library)
        rate = self._library.espeak_Initialize(
            _RETRIEVE_MODE, 0, espeakng_loader.get_data_path().encode(), _PHONEME_EVENTS_AND_NO_EXIT
        )
        if rate != SPEECH_SAMPLE_RATE_HZ:
            raise RuntimeError(f"espeak-ng gave {rate} Hz in place of {SPEECH_SAMPLE_RATE_HZ} Hz")
        self._callback = _Callback(self._receive)  # kept: the library holds only a pointer to it
        self._library.espeak_SetSynthCallback(self._callback)
        self._samples: list[NDArray[np.int16]] = []
        self._events: list[_Event] = []

    def synthesize(self, text: str, voice_name: str, words_per_minute: int) -> tuple[Samples, list[_Event]]:
        self._samples.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(voice_name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice_name!r}")
        self._library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARACTERS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._samples:
            raise ValueError(f"espeak-ng has no sound for {text!r}")
        return np.concatenate(self._samples).astype(np.float64) / 32768, list(self._events)

    def _receive(
        self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_RawEvent]"
    ) -> int:
        if count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while (event := events[i]).type != _EVENT_END:
            if event.type in (_EVENT_WORD, _EVENT_PHONEME):
                name = event.id.decode("utf-8", "replace") if event.type == _EVENT_PHONEME else ""
                self._events.append(_Event(event.type, event.sample, name))
            i += 1
        return 0


def _unload(library: ctypes.CDLL) -> None:
    library.espeak_Terminate()
    _ctypes.dlclose(library._handle)


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def _synthesize(text: str, voice_name: str, words_per_minute: int) -> tuple[Samples, list[_Event]]:
    return _espeak().synthesize(text, voice_name, words_per_minute)
