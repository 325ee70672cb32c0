"""Natural voices against a network that hums a note per symbol, and, where the network is at hand, our own aligner."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lyrics_asr.synthesis import natural_voices
from lyrics_asr.synthesis.natural_voices import NaturalVoice
from lyrics_asr.synthesis.vocoder import SPEECH_SAMPLE_RATE_HZ

_FOLDER = os.environ.get("LYRICS_ASR_NATURAL_VOICES")
_SYMBOLS = {symbol: number for number, symbol in enumerate(" ɪtsIlWdəɹmaOæ", 1)}


class Humming:
    """In place of the network: symbol n is a tone of 200 n Hz, and lasts n modulo 3 frames and 4 more."""

    def run(self, names, inputs):
        assert names == ["audio", "durations"]
        assert inputs["style"].shape == (1, 256)
        numbers = inputs["tokens"][0]
        frames = (numbers % 3 + 4).astype(np.float32)
        tones = [
            np.sin(2 * np.pi * 200 * n * np.arange(600 * int(f)) / 24_000) for n, f in zip(numbers, frames, strict=True)
        ]
        return np.concatenate(tones).astype(np.float32), frames[None]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "symbols.json").write_text(json.dumps(_SYMBOLS), "utf-8")
    save_file({"af_test": np.zeros((510, 256), np.float32)}, tmp_path / "voices.safetensors")
    monkeypatch.setattr(natural_voices, "_network", lambda path: Humming())
    return tmp_path


def test_every_phone_is_where_its_symbols_sound(folder):
    speech = NaturalVoice(folder, "af_test").speak("loud it lasts", "en-us", 170)
    assert [word.text for word in speech.words] == ["loud", "it", "lasts"]
    phones = [phone for word in speech.words for phone in word.phones]
    assert [phone.name for phone in phones] == ["l", "aU", "d", "I", "t", "l", "aa", "s", "t", "s"]
    for phone, symbol in zip(phones, "lWdɪtlæsts", strict=True):
        # The last third, since a space may come before the sound.
        third = (phone.end_samples - phone.start_samples) // 3
        heard = speech.samples[phone.end_samples - third : phone.end_samples]
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 1 << 15))
        heard_hz = np.argmax(spectrum) * SPEECH_SAMPLE_RATE_HZ / (1 << 15)
        assert heard_hz == pytest.approx(200 * _SYMBOLS[symbol], abs=30), phone
    assert all(a.end_samples == b.start_samples for a, b in pairwise(phones))


def test_a_phone_without_a_symbol_is_left_out_and_a_word_of_such_phones_is_an_error(folder):
    voice = NaturalVoice(folder, "af_test")
    assert [phone.name for phone in voice.speak("sit", "en-us", 170).words[0].phones] == ["s", "I", "t"]
    assert [phone.name for phone in voice.speak("sick", "en-us", 170).words[0].phones] == ["s", "I"]
    with pytest.raises(ValueError, match="no sound for 'off'"):
        voice.speak("it off", "en-us", 170)


def test_missing_voices_and_folders_are_named(folder, tmp_path_factory, monkeypatch):
    with pytest.raises(ValueError, match="no voice 'bm_none'; there are af_test"):
        NaturalVoice(folder, "bm_none").speak("it", "en-us", 170)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match=r"python -m scripts\.convert_kokoro"):
        NaturalVoice(tmp_path_factory.mktemp("empty"), "af_test").speak("it", "en-us", 170)


@pytest.mark.slow
@pytest.mark.skipif(_FOLDER is None, reason="no folder of scripts.convert_kokoro in $LYRICS_ASR_NATURAL_VOICES")
@pytest.mark.parametrize(
    ("espeak_name", "name", "line"),
    [
        ("en-us", "af_heart", "Half the furniture half the sky half of a song in a minor key"),
        ("es", "em_alex", "la lluvia cae y el viento me habla de ti"),
    ],
)
def test_words_are_where_the_aligner_finds_them(tmp_path, espeak_name, name, line):
    import torch

    from lyrics_asr import align, load_model
    from lyrics_asr.audio import Audio, write_audio
    from lyrics_asr.lyrics.text import parse_lyrics

    speech = NaturalVoice(Path(_FOLDER), name).speak(line, espeak_name, 150)
    audio = Audio(torch.from_numpy(speech.samples).float()[None], SPEECH_SAMPLE_RATE_HZ)
    write_audio(tmp_path / "speech.flac", audio)
    found = align(tmp_path / "speech.flac", parse_lyrics(line), load_model("embedded", device="cpu"))
    starts = [word.phones[0].start_samples / SPEECH_SAMPLE_RATE_HZ for word in speech.words]
    errors = [word.start_seconds - start for word, start in zip(found.lines[0].words, starts, strict=True)]
    assert np.median(np.abs(errors)) < 0.04
