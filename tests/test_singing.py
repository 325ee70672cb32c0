from itertools import pairwise

import numpy as np
import pytest
import pyworld

from lyrics_asr.datasets import singing

VOICE = singing.Voice(
    "en-us+f3", formant_ratio=1.0, center_midi=64.0, vibrato_semitones=0.0, vibrato_hz=5.0, breathiness=0.0
)


def notes_of(speech):
    return sum(singing.syllables(word) for word in speech.words)


@pytest.mark.parametrize(
    ("word", "count"), [("sun", 1), ("river", 2), ("banana", 3), ("television", 4), ("strengths", 1)]
)
def test_a_word_takes_a_note_for_each_vowel(word, count):
    assert singing.syllables(singing.speak_word(word, "en-us", 150).words[0]) == count


def test_spoken_words_tile_the_line_in_order():
    text = "You're wearing the apron I bought as a joke"
    speech = singing.speak(text, "en-us+f3", 150)
    assert [word.text for word in speech.words] == text.split()
    phones = [phone for word in speech.words for phone in word.phones]
    assert all(a.end_samples == b.start_samples for a, b in pairwise(phones))
    assert phones[-1].end_samples <= len(speech.samples)


def test_a_line_whose_words_espeak_joins_is_spoken_word_by_word():
    # espeak-ng reports no word event for "a" after "was".
    text = "I was louder than a freight train horn"
    speech = singing.speak(text, "en", 140)
    assert [word.text for word in speech.words] == text.split()
    alone = singing.speak_word("freight", "en", 140)
    word = speech.words[5]
    length = word.phones[-1].end_samples - word.phones[0].start_samples
    expected = alone.words[0].phones[-1].end_samples - alone.words[0].phones[0].start_samples
    assert length == pytest.approx(expected, abs=22)  # 1 ms: espeak-ng goes on in the phase in which it stopped


def test_after_a_reset_the_same_words_sound_the_same():
    def say():
        singing.reset()
        return singing.speak("hello my friend", "en-us+f3", 150).samples

    first = say()
    singing.speak("something else", "en+m3", 180)
    np.testing.assert_array_equal(say(), first)


def test_first_vowels_are_as_far_apart_as_their_notes_are_long():
    speech = singing.speak("my moon may rise", "en-us+f3", 150)
    durations = [0.5, 0.8, 0.6, 1.0]
    sung = singing.sing(speech, [60.0] * 4, durations, VOICE)
    spoken = [[p.is_vowel for p in word.phones].index(True) for word in speech.words]
    onsets = []
    for word, sung_word, vowel in zip(speech.words, sung.words, spoken, strict=True):
        before = sum(p.end_samples - p.start_samples for p in word.phones[:vowel])
        onsets.append(sung_word.start_seconds + before / singing.SPEECH_SAMPLE_RATE_HZ)
    np.testing.assert_allclose(np.diff(onsets), durations[:-1], atol=1e-9)
    assert onsets[0] == pytest.approx(sung.first_vowel_seconds)


def test_the_sounds_of_a_sung_word_tile_it():
    speech = singing.speak("my moon", "en-us+f3", 150)
    words = singing.sing(speech, [60.0] * 2, [0.5, 0.8], VOICE).words
    assert [[sound.name for sound in word.sounds] for word in words] == [["m", "aI"], ["m", "u:", "n"]]
    for word in words:
        assert (word.sounds[0].start_seconds, word.sounds[-1].end_seconds) == (word.start_seconds, word.end_seconds)
        assert all(a.end_seconds == b.start_seconds for a, b in pairwise(word.sounds))


def test_the_pitch_of_the_voice_is_the_melody():
    speech = singing.speak("la la la", "en-us+f3", 150)
    notes = [60.0, 67.0, 64.0]
    sung = singing.sing(speech, notes, [1.0, 1.0, 1.0], VOICE)
    f0, times = pyworld.harvest(sung.samples, singing.SPEECH_SAMPLE_RATE_HZ, f0_ceil=700.0)
    for number, note in enumerate(notes):
        middle = sung.first_vowel_seconds + number + 0.5
        heard = np.median(f0[(np.abs(times - middle) < 0.15) & (f0 > 0)])
        cents = 1200 * np.log2(heard / (440 * 2 ** ((note - 69) / 12)))
        assert abs(cents) < 30


def test_sung_samples_last_as_long_as_the_words():
    speech = singing.speak("we will never be late", "en-us+f3", 150)
    count = notes_of(speech)
    sung = singing.sing(speech, [62.0] * count, [0.4] * count, VOICE)
    assert len(sung.samples) / singing.SPEECH_SAMPLE_RATE_HZ == pytest.approx(sung.words[-1].end_seconds, abs=0.01)


def test_wrong_number_of_notes_and_unknown_voice_are_named():
    speech = singing.speak("two words", "en-us+f3", 150)
    with pytest.raises(ValueError, match="2 syllables need as many notes, not 1"):
        singing.sing(speech, [60.0], [0.5], VOICE)
    with pytest.raises(ValueError, match="no voice 'xx-nowhere'"):
        singing.speak("hello", "xx-nowhere", 150)
