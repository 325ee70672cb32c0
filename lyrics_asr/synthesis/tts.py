"""Text to speech with espeak-ng, with the exact time of every phone.

espeak-ng reports the start of each phoneme. Syllables are derived from the phonemes' mnemonics, which are consistent
across English, Spanish, French and German as far as needed here.

Conventions: `*_samples` are at `vocoder.SPEECH_SAMPLE_RATE_HZ`; languages are "en", "es", "fr" and "de".
"""

import _ctypes
import ctypes
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from lyrics_asr.synthesis import vocoder
from lyrics_asr.synthesis.vocoder import SPEECH_SAMPLE_RATE_HZ, Samples

# First characters of espeak-ng's mnemonics for vowels, including diphthongs, nasal and r-colored vowels.
_VOWEL_LETTERS = frozenset("aAeEiIoOuUV0@3WYy")
_SYLLABIC_CONSONANTS = frozenset(("l-", "m-", "n-"))
_GLIDES = frozenset("iuy")  # before another vowel
_STRESS_MARKS = "'\",;%="


@dataclass(frozen=True)
class Phone:
    """A phone in speech.

    Args:
        name: espeak-ng's, without stress marks.
        start_samples: where it begins.
        end_samples: where it ends.
        is_vowel: whether it is the nucleus of a syllable.
        ipa: in the International Phonetic Alphabet, with stress marks; empty if it was not asked for.
    """

    name: str
    start_samples: int
    end_samples: int
    is_vowel: bool
    ipa: str = ""


@dataclass(frozen=True)
class SpokenWord:
    """A word and its phones."""

    text: str
    phones: tuple[Phone, ...]


@dataclass(frozen=True)
class Speech:
    """A spoken line; parts without a phone are pauses."""

    samples: Samples
    words: tuple[SpokenWord, ...]

    @cached_property
    def analysis(self) -> vocoder.Analysis:
        """Pitch and envelope, shared by all voices that sing the line."""
        return vocoder.analyze(self.samples)


def reset() -> None:
    """Reset espeak-ng, so that the following speech is the same in any process.

    espeak-ng keeps the phase of its oscillators and noise between utterances. Reloading the library is the only way to
    reset them.
    """
    _espeak.cache_clear()


def speak(text: str, voice_name: str, words_per_minute: int, *, with_ipa: bool = False) -> Speech:
    """Speak a line.

    Args:
        text: the line.
        voice_name: accent and variant.
        words_per_minute: speaking rate.
        with_ipa: whether phones have their `ipa`. It takes twice as long, and changes the noise of what is said.

    Raises:
        ValueError: no such voice, or a word has no phones.
    """
    words = text.split()
    samples, events = _synthesize(text, voice_name, words_per_minute, with_ipa)
    if sum(event.kind == _EVENT_WORD for event in events) != len(words):
        # espeak-ng merges pairs such as "in the" and reports one word. Speak such a line word by word.
        return _join([speak_word(word, voice_name, words_per_minute, with_ipa=with_ipa) for word in words])
    return Speech(samples, _group(words, events, len(samples)))


def speak_word(word: str, voice_name: str, words_per_minute: int, *, with_ipa: bool = False) -> Speech:
    """Speak a single word; see `speak`.

    Raises:
        ValueError: no such voice, or the word has no phones.
    """
    samples, events = _synthesize(word, voice_name, words_per_minute, with_ipa)
    # For single words, espeak-ng may report no word event, or several.
    sounds = [event for event in events if event.kind != _EVENT_WORD]
    speech = Speech(samples, _group([word], [_Event(_EVENT_WORD, 0, ""), *sounds], len(samples)))
    end = speech.words[0].phones[-1].end_samples
    return Speech(samples[:end], speech.words)


def syllables(word: SpokenWord) -> int:
    """Number of syllables of a word: its vowels, at least one."""
    return max(1, sum(phone.is_vowel for phone in word.phones))


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
    """Assign phonemes to words.

    A phoneme ends at the next one or at a pause. Markers of a language change, such as "(en)", are skipped.
    """
    sounds: list[tuple[_Event, int]] = []  # with the word's index; a pause belongs to no word
    word = -1
    for event in events:
        if event.kind == _EVENT_WORD:
            word += 1
        elif event.name.startswith("_"):
            sounds.append((event, -1))
        elif word >= 0 and event.name.strip(_STRESS_MARKS) and not event.name.startswith("("):
            sounds.append((event, word))
    ends = [*(event.sample for event, _ in sounds[1:]), total_samples]
    own: list[list[tuple[_Event, int]]] = [[] for _ in words]  # with the phone's end
    for (event, index), end in zip(sounds, ends, strict=True):
        if index >= 0 and end > event.sample:
            own[index].append((event, end))
    for text, phones in zip(words, own, strict=True):
        if not phones:
            raise ValueError(f"espeak-ng has no sound for {text!r}")
    return tuple(
        SpokenWord(
            text,
            tuple(
                Phone(
                    event.name.strip(_STRESS_MARKS),
                    event.sample,
                    end,
                    _is_syllable([each.name for each, _ in phones], i),
                    event.ipa,
                )
                for i, (event, end) in enumerate(phones)
            ),
        )
        for text, phones in zip(words, own, strict=True)
    )


def _is_syllable(mnemonics: Sequence[str], index: int) -> bool:
    """Whether a phone is the nucleus of a syllable.

    espeak-ng reports the i, u and y of "rien", "ruido" and "nuit" as vowels, but they are glides: unstressed, before a
    vowel, and not after two consonants ("oublier") unless before another i ("pluie").
    """
    names = [mnemonic.strip(_STRESS_MARKS) for mnemonic in mnemonics]
    name, following = names[index], "".join(names[index + 1 : index + 2])
    if name in _SYLLABIC_CONSONANTS:
        return True
    if mnemonics[index] not in _GLIDES or following[:1] not in _VOWEL_LETTERS:
        return name[0] in _VOWEL_LETTERS
    before = names[max(0, index - 2) : index]
    return following != "i" and len(before) == 2 and all(other[0] not in _VOWEL_LETTERS for other in before)


# --- espeak-ng's C interface, speak_lib.h
# ---------------------------------------------------------------------------------------

_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_RETRIEVE_MODE = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback and nothing is played
_PHONEME_EVENTS_AND_NO_EXIT = 0x1 | 0x8000
_IPA_EVENTS = 0x2  # phoneme events have IPA in place of mnemonics
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
    ipa: str = ""


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_RawEvent))


class _Espeak:
    """The library with its global state; not thread-safe."""

    def __init__(self, event_flags: int) -> None:
        # A private copy, because opening the same file twice gives the same library with the same state.
        with tempfile.NamedTemporaryFile(suffix=".so") as copy:
            copy.write(Path(espeakng_loader.get_library_path()).read_bytes())
            copy.flush()
            self._library = ctypes.CDLL(copy.name)
        weakref.finalize(self, _unload, self._library)
        rate = self._library.espeak_Initialize(_RETRIEVE_MODE, 0, espeakng_loader.get_data_path().encode(), event_flags)
        if rate != SPEECH_SAMPLE_RATE_HZ:
            raise RuntimeError(f"espeak-ng has a sample rate of {rate} Hz instead of {SPEECH_SAMPLE_RATE_HZ} Hz")
        self._callback = _Callback(self._receive)  # keep a reference: the library only has a pointer
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
def _espeak(event_flags: int) -> _Espeak:
    return _Espeak(event_flags)


def _synthesize(text: str, voice_name: str, words_per_minute: int, with_ipa: bool) -> tuple[Samples, list[_Event]]:
    samples, events = _espeak(_PHONEME_EVENTS_AND_NO_EXIT).synthesize(text, voice_name, words_per_minute)
    if not with_ipa:
        return samples, events
    # The library reports either mnemonics or IPA, at the same times.
    _, others = _espeak(_PHONEME_EVENTS_AND_NO_EXIT | _IPA_EVENTS).synthesize(text, voice_name, words_per_minute)
    return samples, [replace(event, ipa=other.name) for event, other in zip(events, others, strict=True)]
