"""Natural voices: Kokoro-82M speaks, and its own predicted durations give the times of the phones.

espeak-ng says how words are pronounced. The network is a StyleTTS 2 (Li et al. 2023): it predicts the length of each
phoneme, and the decoder follows those lengths. `scripts.convert_kokoro` makes the folder of the network and its voices.

Conventions: the network's samples are at 24 kHz, its frames are 600 samples.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.signal import resample_poly

from lyrics_asr.synthesis import tts
from lyrics_asr.synthesis.tts import Phone, Speech, SpokenWord
from lyrics_asr.synthesis.vocoder import SPEECH_SAMPLE_RATE_HZ

MODEL_FILE, SYMBOLS_FILE, VOICES_FILE = "kokoro.onnx", "symbols.json", "voices.safetensors"
AUDIO, DURATIONS = "audio", "durations"  # outputs of the network
STYLE_SIZE = 256

_SAMPLE_RATE_HZ = 24_000
_FRAME_SAMPLES = 600
_EARLY_FRAMES = 0.6  # by which the sound of a symbol precedes its frames: 15 ms (docs/from-scratch.md)
_USUAL_WORDS_PER_MINUTE = 170  # of the network at speed 1
_SPEEDS = (0.75, 1.5)
_SPACE = " "
# Symbols that the network was trained with, in place of espeak-ng's (misaki, by the same author, `espeak.py`).
_REPLACED = {
    "": {"aɪ": "I", "aʊ": "W", "eɪ": "A", "oʊ": "O", "əʊ": "Q", "ɔɪ": "Y", "dʒ": "ʤ", "tʃ": "ʧ", "ts": "ʦ"},
    "en": {"əl": "ᵊl", "ɚ": "əɹ", "ɐ": "ə", "x": "k"},
    "en-us": {"ɜː": "ɜɹ", "ː": "", "ɾ": "T"},
    "en-gb": {"eə": "ɛː", "iə": "ɪə", "æ": "a"},
}


@dataclass(frozen=True)
class NaturalVoice:
    """A voice of the network.

    Args:
        folder: of `scripts.convert_kokoro`.
        name: such as "af_heart".
    """

    folder: Path
    name: str

    def speak(self, text: str, espeak_name: str, words_per_minute: int) -> Speech:
        """Speak a line.

        Args:
            text: the line.
            espeak_name: espeak-ng's accent, which gives the pronunciation.
            words_per_minute: speaking rate, approximately.

        Raises:
            FileNotFoundError: the folder or a file of it is missing.
            ValueError: no such voice or accent, or a word has no phones.
        """
        network = _network(self.folder / MODEL_FILE)
        words = tts.speak(text, espeak_name, words_per_minute, with_ipa=True).words
        tokens, phones = self._tokens(words, espeak_name)
        style = self._voices()
        speed = np.clip(words_per_minute / _USUAL_WORDS_PER_MINUTE, *_SPEEDS)
        samples, frames = network.run(
            [AUDIO, DURATIONS],
            {
                "tokens": np.array([[0, *tokens, 0]]),
                "style": style[min(len(tokens), len(style)) - 1][None],
                "speed": np.array([speed], np.float32),
            },
        )
        spoken = resample_poly(samples.astype(np.float64), SPEECH_SAMPLE_RATE_HZ, _SAMPLE_RATE_HZ)
        return Speech(spoken, _timed(words, phones, frames[0]))

    def _tokens(self, words: tuple[SpokenWord, ...], espeak_name: str) -> tuple[list[int], list[int]]:
        """The numbers of the symbols, and the phone that each belongs to.

        A space belongs to the phone after it, since a word is heard from there on.
        """
        numbers = _symbols(self.folder / SYMBOLS_FILE)
        tokens: list[int] = []
        phones: list[int] = []
        number = 0
        for word in words:
            before = [numbers[_SPACE]] if tokens else []
            for phone in word.phones:
                own = [numbers[symbol] for symbol in _spelled(phone.ipa, espeak_name) if symbol in numbers]
                if own:
                    tokens += before + own
                    phones += [number] * len(before + own)
                    before = []
                number += 1
        return tokens, phones

    def _voices(self) -> NDArray[np.float32]:
        voices = _voices(self.folder / VOICES_FILE)
        if self.name not in voices:
            raise ValueError(f"{self.folder}: no voice {self.name!r}; there are {', '.join(sorted(voices))}")
        return voices[self.name]


def _spelled(ipa: str, espeak_name: str) -> str:
    """The network's symbols for a phone."""
    for accent, replaced in _REPLACED.items():
        if espeak_name.startswith(accent):
            for old, new in replaced.items():
                ipa = ipa.replace(old, new)
    return ipa


def _timed(words: tuple[SpokenWord, ...], phones: list[int], frames: NDArray[np.float32]) -> tuple[SpokenWord, ...]:
    """The words with the times of their phones.

    Args:
        words: with espeak-ng's times.
        phones: the phone of each symbol.
        frames: length of each symbol, and of the silence before the first and after the last one.
    """
    bounds = np.cumsum(frames)[:-1] - _EARLY_FRAMES
    bounds = np.maximum(bounds, 0) * (_FRAME_SAMPLES * SPEECH_SAMPLE_RATE_HZ / _SAMPLE_RATE_HZ)
    starts, ends = bounds[:-1], bounds[1:]
    owners = np.array(phones)
    timed = []
    number = 0
    for word in words:
        own = []
        for phone in word.phones:
            (places,) = np.nonzero(owners == number)
            number += 1
            if len(places):  # the network has no symbol for some phones
                start, end = round(starts[places[0]]), round(ends[places[-1]])
                own.append(Phone(phone.name, start, end, phone.is_vowel, phone.ipa))
        if not own:
            raise ValueError(f"the natural voices have no sound for {word.text!r}")
        timed.append(SpokenWord(word.text, tuple(own)))
    return tuple(timed)


@cache
def _network(path: Path) -> Any:
    import onnxruntime

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; make the folder with `python -m scripts.convert_kokoro FOLDER`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # songs are made in processes; one thread also gives the same samples each time
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@cache
def _symbols(path: Path) -> dict[str, int]:
    return dict(json.loads(path.read_text("utf-8")))


@cache
def _voices(path: Path) -> dict[str, NDArray[np.float32]]:
    return dict(load_file(path))
