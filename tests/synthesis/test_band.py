from dataclasses import replace

import numpy as np
import pytest
import pyworld

from lyrics_asr.melody.pitch import midi_to_hz
from lyrics_asr.synthesis import arrangement, drums, instruments, styles
from lyrics_asr.synthesis import band as backing
from lyrics_asr.synthesis.score import Section

RATE = instruments.SAMPLE_RATE_HZ
SECTIONS = (
    Section("intro", 0, 1, (0, 4), 0.3),
    Section("chorus", 1, 2, (0, 3), 1.0),
)
TUNED = [
    instruments.piano,
    instruments.organ,
    instruments.ensemble,
    instruments.brass,
    instruments.plucked,
    instruments.bass,
    instruments.synth,
    instruments.choir,
]


def pitch_class_power(samples):
    """Power of the spectral peaks from 180 to 1,500 Hz by pitch class, the C first; a mono signal at `RATE`."""
    size = 8192
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    hertz = np.fft.rfftfreq(size, 1 / RATE)[1:-1]
    is_peak = (power[:, 1:-1] > power[:, :-2]) & (power[:, 1:-1] > power[:, 2:])
    total = np.where(is_peak, power[:, 1:-1], 0).sum(0)
    tonal = (hertz > 180) & (hertz < 1500)
    pitch_classes = np.round(69 + 12 * np.log2(hertz[tonal] / 440)).astype(int) % 12
    return np.bincount(pitch_classes, total[tonal], minlength=12)


@pytest.mark.parametrize("style", styles.STYLES)
def test_every_style_plays_in_its_key(style):
    rng = np.random.default_rng(3)
    music = replace(arrangement.compose(rng), style=style, beat_seconds=0.4)
    samples = backing.play(music, SECTIONS, 5 * RATE, rng)
    assert samples.shape == (2, 5 * RATE)
    assert np.abs(samples).max() == pytest.approx(0.5)

    power = pitch_class_power(samples.mean(0))
    in_key = [(music.tonic_midi + degree) % 12 for degree in music.scale]
    # 7 of the 12 pitch classes are in the key: 0.58 by chance. A semitone above it are most of the others.
    assert power[in_key].sum() / power.sum() > 0.65
    assert power[in_key].sum() > power[[(pitch + 1) % 12 for pitch in in_key]].sum()


@pytest.mark.parametrize("style", ["rock", "electronic", "gospel"])
@pytest.mark.parametrize("beats_per_bar", [2, 3, 4])
def test_a_seed_gives_the_same_music_in_every_metre(style, beats_per_bar):
    music = replace(arrangement.compose(np.random.default_rng(0)), style=style, beats_per_bar=beats_per_bar)
    first, second = (backing.play(music, SECTIONS, 2 * RATE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("instrument", TUNED)
def test_an_instrument_plays_the_pitch_that_is_asked_for(instrument):
    for seed, midi in enumerate((45.0, 57.0, 64.0)):
        note = instrument(np.random.default_rng(seed))(midi, RATE)
        assert note.shape == (RATE,)
        assert note.dtype == np.float32
        f0, _ = pyworld.harvest(note[: RATE // 2].astype(float), RATE, f0_floor=50.0, f0_ceil=500.0)
        cents = 1200 * np.log2(np.median(f0[f0 > 0]) / midi_to_hz(midi))
        # An octave is a matter of timbre: an organ may have no fundamental to speak of.
        assert abs((cents + 600) % 1200 - 600) < 40


def test_a_lead_sings_its_notes_one_after_the_other():
    lengths = [RATE // 2] * 3
    notes = [60.0, 67.0, 64.0]
    sound = instruments.lead(np.random.default_rng(1))(notes, lengths)
    assert len(sound) == sum(lengths)
    for number, note in enumerate(notes):
        middle = sound[number * RATE // 2 + RATE // 8 :][: RATE // 4].astype(float)
        f0, _ = pyworld.harvest(middle, RATE, f0_floor=80.0, f0_ceil=900.0)
        assert abs(1200 * np.log2(np.median(f0[f0 > 0]) / midi_to_hz(note))) < 60


def test_every_pattern_fits_its_bar_and_every_piece_is_in_the_kit():
    kit = drums.draw_kit("acoustic", np.random.default_rng(0))
    for grooves, steps in [
        *((grooves, 16) for grooves in styles.GROOVES.values()),
        (styles.THREE_FOUR, 12),
        (styles.SIX_EIGHT, 12),
    ]:
        for groove in grooves:
            assert set(groove) <= set(kit)
            assert {len(pattern) for pattern in groove.values()} == {steps}
    four = [pattern for patterns in (*styles.CHORDS.values(), *styles.BASS.values()) for pattern in patterns]
    assert {len(pattern) for pattern in four} == {16}
    three = (styles.THREE_FOUR_CHORDS, styles.SIX_EIGHT_CHORDS, styles.THREE_FOUR_BASS, styles.SIX_EIGHT_BASS)
    assert {len(pattern) for patterns in three for pattern in patterns} == {12}


def test_every_kit_is_finite_and_its_kick_is_the_lowest_piece():
    for name in drums.KITS:
        kit = drums.draw_kit(name, np.random.default_rng(2))
        centers = {}
        for piece, sound in kit.items():
            assert np.isfinite(sound).all()
            spectrum = np.abs(np.fft.rfft(sound, 4 * RATE)) ** 2
            centers[piece] = (spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() / 4
        assert min(centers["snare"], centers["hat"], centers["clap"]) > centers["kick"]
