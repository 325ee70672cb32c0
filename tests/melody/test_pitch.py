import numpy as np
import pytest
import torch

from lyrics_asr.audio import Audio
from lyrics_asr.melody.notes import notes_between, with_notes
from lyrics_asr.melody.pitch import FRAME_SECONDS, PitchTrack, track_pitch
from lyrics_asr.types import Note, Syllable

RATE_HZ = 16_000


def voice(midi, noise=0.0):
    """Harmonics that fall by 6 dB per octave, with this pitch at each sample; NaN is silence."""
    midi = np.asarray(midi, dtype=float)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((np.nan_to_num(midi, nan=69) - 69) / 12)) / RATE_HZ
    samples = sum(np.sin(k * phase) / k for k in range(1, 9)) * ~np.isnan(midi)
    samples = 0.1 * samples + noise * np.random.default_rng(0).standard_normal(len(midi))
    return Audio(torch.from_numpy(samples).float()[None], RATE_HZ)


def seconds(count):
    return np.arange(round(count * RATE_HZ)) / RATE_HZ


@pytest.mark.parametrize("midi", [38, 45.3, 57, 69.5, 81])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_steady_pitch_is_found_in_noise(midi, noise):
    found = track_pitch(voice(np.full(RATE_HZ, midi), noise)).midi[10:90]
    np.testing.assert_allclose(found, midi, atol=0.1)


def test_vibrato_and_glides_are_followed_and_silence_has_no_pitch():
    times = seconds(3.0)
    midi = 60 + 0.6 * np.sin(2 * np.pi * 6 * times) + np.clip(times - 1, 0, 0.5) * 8
    midi[times > 2.5] = np.nan
    found = track_pitch(voice(midi)).midi
    at = np.arange(10, 240)
    assert np.abs(found[at] - midi[np.round(at * FRAME_SECONDS * RATE_HZ).astype(int)]).max() < 0.3
    assert np.isnan(found[260:295]).all()


@pytest.mark.parametrize("midi", [80.0, 80.8, 81.6, 82.4])
def test_a_high_voice_is_followed_over_a_quiet_one_an_octave_below(midi):
    """The periods of high voices lie between samples, those of the octave below are nearer to one."""
    high, low = (voice(np.full(RATE_HZ // 2, each)).samples for each in (midi, midi - 12))
    found = track_pitch(Audio(high + 0.2 * low, RATE_HZ)).midi[10:40]
    np.testing.assert_allclose(found, midi, atol=0.2)


def track_of(*parts):
    """A track of (seconds, midi) parts."""
    return PitchTrack(np.concatenate([np.full(round(length / FRAME_SECONDS), midi) for length, midi in parts]))


def test_a_syllable_with_vibrato_is_one_note():
    times = np.arange(0, 1.0, FRAME_SECONDS)
    track = PitchTrack(62.1 + 0.9 * np.sin(2 * np.pi * 5.5 * times))
    assert notes_between(0.0, 1.0, track) == (Note(0.0, 1.0, 62),)


def test_a_melisma_has_several_notes_and_glides_none():
    glide = [(FRAME_SECONDS, 60 + 4 * k / 8) for k in range(8)]
    notes = notes_between(0.0, 1.08, track_of((0.5, 60.2), *glide, (0.5, 63.9)))
    assert [note.midi for note in notes] == [60, 64]
    assert notes[0].end_seconds == notes[1].start_seconds == pytest.approx(0.54, abs=0.06)
    assert (notes[0].start_seconds, notes[1].end_seconds) == (0.0, 1.08)


def test_a_note_covers_its_syllable_although_consonants_have_no_pitch():
    track = track_of((0.1, np.nan), (0.3, 55.0), (0.1, np.nan), (0.5, np.nan))
    voiced, unvoiced = (Syllable("a", start, start + 0.5, 0, 0, ()) for start in (0.0, 0.5))
    assert [each.notes for each in with_notes([voiced, unvoiced], track)] == [(Note(0.0, 0.5, 55),), ()]
