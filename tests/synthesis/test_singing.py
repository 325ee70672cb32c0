from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import pyworld

from lyrics_asr.synthesis import singing
from lyrics_asr.synthesis.delivery import DELIVERIES, SUNG, Melody, Note, draw_melody
from lyrics_asr.synthesis.tts import speak, syllables
from lyrics_asr.synthesis.vocoder import SPEECH_SAMPLE_RATE_HZ

VOICE = singing.Voice(
    "en-us+f3", formant_ratio=1.0, center_midi=64.0, vibrato_semitones=0.0, vibrato_hz=5.0, breathiness=0.0
)
SCALE_MIDI = [12 * octave + step for octave in range(9) for step in (0, 2, 4, 5, 7, 9, 11)]


def sing(speech, notes, durations, voice=VOICE, delivery=SUNG, pauses=()):
    melody = Melody(tuple((Note(midi, s),) for midi, s in zip(notes, durations, strict=True)), pauses)
    return singing.sing(speech, melody, voice, np.random.default_rng(0), delivery)


def pitch_midi(samples):
    f0, times = pyworld.harvest(samples, SPEECH_SAMPLE_RATE_HZ, f0_ceil=700.0)
    return 12 * np.log2(np.maximum(f0, 1) / 440) + 69, times, f0 > 0


def vowel_starts(sung):
    return [next(s.start_seconds for s in word.phones if s.name[0] in "aeiouAEIOUV03@") for word in sung.words]


def test_first_vowels_are_as_far_apart_as_their_notes_are_long():
    durations = [0.5, 0.8, 0.6, 1.0]
    sung = sing(speak("my moon may rise", "en-us+f3", 150), [60.0] * 4, durations)
    onsets = vowel_starts(sung)
    np.testing.assert_allclose(np.diff(onsets), durations[:-1], atol=1e-9)
    assert onsets[0] == pytest.approx(sung.first_vowel_seconds)


def test_the_phones_of_a_sung_word_tile_it():
    words = sing(speak("my moon", "en-us+f3", 150), [60.0] * 2, [0.5, 0.8]).words
    assert [[phone.name for phone in word.phones] for word in words] == [["m", "aI"], ["m", "u:", "n"]]
    for word in words:
        assert (word.phones[0].start_seconds, word.phones[-1].end_seconds) == (word.start_seconds, word.end_seconds)
        assert all(a.end_seconds == b.start_seconds for a, b in pairwise(word.phones))


def test_the_pitch_of_the_voice_is_the_melody():
    notes = [60.0, 67.0, 64.0]
    sung = sing(speak("la la la", "en-us+f3", 150), notes, [1.0, 1.0, 1.0])
    midi, times, voiced = pitch_midi(sung.samples)
    for number, note in enumerate(notes):
        middle = sung.first_vowel_seconds + number + 0.5
        assert np.median(midi[(np.abs(times - middle) < 0.15) & voiced]) == pytest.approx(note, abs=0.3)


def test_a_melisma_sings_several_notes_to_one_vowel():
    speech = speak("moon", "en-us+f3", 150)
    notes = (60.0, 64.0, 62.0, 67.0)
    melody = Melody((tuple(Note(midi, 0.5) for midi in notes),))
    sung = singing.sing(speech, melody, VOICE, np.random.default_rng(0))
    midi, times, voiced = pitch_midi(sung.samples)
    vowel = sung.words[0].phones[1]
    assert vowel.end_seconds - vowel.start_seconds > 1.7
    for number, note in enumerate(notes):
        middle = sung.first_vowel_seconds + 0.5 * number + 0.25
        assert np.median(midi[(np.abs(times - middle) < 0.1) & voiced]) == pytest.approx(note, abs=0.3)


def test_a_pause_before_a_word_is_silent_and_moves_no_vowel():
    speech = speak("my moon may rise", "en-us+f3", 150)
    plain = sing(speech, [60.0] * 4, [0.8] * 4)
    parted = sing(speech, [60.0] * 4, [0.8] * 4, pauses=(0.0, 0.0, 0.3, 0.0))
    np.testing.assert_allclose(vowel_starts(parted), vowel_starts(plain))
    gap = parted.words[2].start_seconds - parted.words[1].end_seconds
    assert gap == pytest.approx(0.3)
    inner = slice(
        round((parted.words[1].end_seconds + 0.06) * SPEECH_SAMPLE_RATE_HZ),
        round((parted.words[2].start_seconds - 0.06) * SPEECH_SAMPLE_RATE_HZ),
    )
    assert np.abs(parted.samples[inner]).max() < 1e-3 * np.abs(parted.samples).max()


def test_the_voice_begins_where_its_first_word_does_after_a_pause():
    # A word without a plosive: its energy is there at once, within the 20 ms of the vocoder's window.
    sung = sing(speak("my moon may rise", "en-us+f3", 150), [60.0] * 4, [0.8] * 4, pauses=(0.0, 0.0, 0.3, 0.0))
    start = round(sung.words[2].start_seconds * SPEECH_SAMPLE_RATE_HZ)
    loud = np.abs(sung.samples) > 0.05 * np.abs(sung.samples).max()
    first = start - 3000 + int(np.argmax(loud[start - 3000 :]))
    assert abs(first - start) / SPEECH_SAMPLE_RATE_HZ < 0.04


def test_formants_move_and_the_spectrum_tilts():
    speech = speak("my moon may rise", "en-us+f3", 150)

    def centroid(voice, delivery=SUNG):
        power = np.abs(np.fft.rfft(sing(speech, [60.0] * 4, [0.6] * 4, voice, delivery).samples)) ** 2
        return (power * np.arange(len(power))).sum() / power.sum()

    plain = centroid(VOICE)
    assert centroid(replace(VOICE, formant_ratio=1.2)) > 1.1 * plain
    assert centroid(replace(VOICE, formant_ratio=0.83)) < 0.96 * plain
    assert centroid(VOICE, DELIVERIES["shouted"]) > 1.2 * plain


def test_a_whisper_has_no_pitch_and_a_rough_voice_less_than_a_clear_one():
    speech = speak("la la la la", "en-us+f3", 150)

    def periodicity(voice, delivery=SUNG):
        """The highest autocorrelation, of the middle of the line, at lags of 2 to 10 ms."""
        samples = sing(speech, [60.0] * 4, [0.6] * 4, voice, delivery).samples
        middle = samples[len(samples) // 2 :][:2205]
        correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
        return correlation[44:221].max() / correlation[0]

    clear = periodicity(VOICE)
    assert clear > 0.85
    assert periodicity(replace(VOICE, roughness=1.0)) < clear - 0.05
    assert periodicity(VOICE, DELIVERIES["whispered"]) < 0.6


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_drawn_melody_fits_the_line_and_the_voice(name):
    delivery = DELIVERIES[name]
    speech = speak("immer wenn der Regen fällt denke ich an dich", "de+m3", delivery.words_per_minute)
    counts = [syllables(word) for word in speech.words]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        melody = draw_melody(counts, SCALE_MIDI, 60.0, 6.0, 0.5, delivery, rng)
        notes = [note for syllable in melody.syllables for note in syllable]
        assert len(melody.syllables) == sum(counts)
        assert all(note.midi in SCALE_MIDI and abs(note.midi - 60) <= 6 + 6 for note in notes)
        assert all(sum(note.seconds for note in syllable) <= 3.0 + 1e-9 for syllable in melody.syllables)
    sung = singing.sing(speech, melody, VOICE, rng, delivery)
    assert len(sung.samples) / SPEECH_SAMPLE_RATE_HZ == pytest.approx(sung.words[-1].end_seconds, abs=0.01)
    if name == "rapped":
        seconds = sung.words[-1].end_seconds / sum(counts)
        assert 0.07 < seconds < 0.16


def test_wrong_numbers_of_notes_and_pauses_are_named():
    speech = speak("two words", "en-us+f3", 150)
    with pytest.raises(ValueError, match="2 syllables need as many notes, not 1"):
        sing(speech, [60.0], [0.5])
    with pytest.raises(ValueError, match="2 words need as many pauses, not 1"):
        sing(speech, [60.0] * 2, [0.5] * 2, pauses=(0.0,))
