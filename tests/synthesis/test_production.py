import numpy as np
import pytest
from scipy.signal import correlate

from lyrics_asr.synthesis import effects, production
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ as RATE


def some_music(seconds=3, seed=0):
    """Noise with a spectrum that falls, in bursts, different on each side."""
    rng = np.random.default_rng(seed)
    noise = np.cumsum(rng.standard_normal((2, seconds * RATE)), axis=1)
    noise = noise - np.concatenate([np.zeros((2, 200)), noise[:, :-200]], axis=1)
    bursts = 0.2 + (np.sin(2 * np.pi * 2 * np.arange(seconds * RATE) / RATE) > 0)
    return (0.3 * noise * bursts / np.abs(noise).max()).astype(np.float32)


def sine(hz, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


@pytest.mark.parametrize("codec", sorted(production.CODECS))
@pytest.mark.parametrize("kilobits_per_second", [64, 192])
@pytest.mark.parametrize("offset", [0, 577])
def test_what_a_codec_gives_lies_on_what_it_got(codec, kilobits_per_second, offset):
    original = some_music()[:, offset:]
    output = production.coded(original, codec, kilobits_per_second)
    assert output.shape == original.shape
    for side in range(2):
        lags = correlate(output[side], original[side], "full", "fft")
        assert int(np.argmax(lags)) == original.shape[1] - 1
    error = np.square(output - original).mean() / np.square(original).mean()
    assert 1e-9 < error < (0.1 if kilobits_per_second == 64 else 0.03)


def test_an_unknown_codec_is_named():
    with pytest.raises(ValueError, match=r"codec must be one of .*not 'flac'"):
        production.coded(some_music(1), "flac", 64)


def test_an_equaliser_gives_the_gain_that_it_names():
    bells = (
        effects.Bell("low", 200.0, 6.0, 0.7),
        effects.Bell("peak", 1500.0, -9.0, 2.0),
        effects.Bell("high", 6000.0, 4.0, 0.7),
    )
    for hz, gain_db in ((30.0, 6.0), (1500.0, -9.0), (18000.0, 4.0)):
        output = effects.equalize(sine(hz), bells)[RATE // 2 :]
        assert 20 * np.log10(np.sqrt(2 * np.mean(output.astype(float) ** 2))) == pytest.approx(gain_db, abs=0.5)


def test_a_compressor_brings_loud_and_soft_together_by_its_ratio():
    signal = np.concatenate([sine(300, 3) * 0.05, sine(300, 1) * 0.5])
    output = effects.compress(signal, -20.0, 4.0, 0.02)
    soft, loud = (np.abs(part).max() for part in (output[RATE : 2 * RATE], output[-RATE // 4 :]))
    before_db, after_db = 20.0, 20 * np.log10(loud / soft)
    assert after_db == pytest.approx(before_db / 4, abs=0.5)


def test_the_limiter_holds_its_ceiling_and_leaves_what_is_below_alone():
    music = some_music()
    music[:, RATE : RATE + 50] *= 8
    ceiling = 0.31
    limited = music * production.limiter_gain(music, ceiling)
    assert np.abs(limited).max() <= ceiling * 1.0001
    np.testing.assert_array_equal(limited[:, 2 * RATE :], music[:, 2 * RATE :])


def test_the_master_keeps_the_stems_additive_and_the_voice_true():
    vocals, band = some_music(seed=1), some_music(seed=2)
    coded = 0
    for seed in range(6):
        ours, theirs = production.master(vocals, band, np.random.default_rng(seed))
        assert np.abs(ours + theirs).max() == pytest.approx(0.9, abs=0.08)
        gain = ours / np.where(vocals == 0, 1, vocals)
        # the voice has been given a gain over time, the same on both sides, and nothing else
        both = (np.abs(vocals) > 0.01).all(0)
        np.testing.assert_allclose(gain[0, both], gain[1, both], rtol=1e-3)
        coded += not np.allclose(theirs[:, both], band[:, both] * gain[:1, both], atol=1e-5)
    assert 0 < coded < 6


def test_a_voice_alone_stays_alone():
    voice = some_music()
    for seed in range(5):
        _, band = production.master(voice, np.zeros_like(voice), np.random.default_rng(seed))
        assert not band.any()


def test_a_room_answers_after_the_sound_and_longer_the_larger_it_is():
    click = np.zeros(4 * RATE, dtype=np.float32)
    click[RATE] = 1
    lasting = []
    for room in (0, effects.ROOMS // 2, effects.ROOMS - 1):
        tail = effects.reverberate(np.zeros((2, len(click)), dtype=np.float32), click, room, 0.2)
        assert np.abs(tail[:, :RATE]).max() < 1e-6
        left = np.cumsum(np.square(tail[0])[::-1])[::-1]
        lasting.append(int(np.argmax(left < 1e-3 * left[0])))
    assert lasting == sorted(set(lasting))


def test_a_duck_gives_way_while_the_kick_sounds():
    trigger = np.zeros(2 * RATE, dtype=np.float32)
    trigger[RATE : RATE + 4000] = sine(60)[:4000]
    gain = effects.ducking(trigger, 6.0)
    assert gain[: RATE - 1000].min() > 0.99
    assert 20 * np.log10(gain.min()) == pytest.approx(-6, abs=0.1)
    assert RATE - 300 < np.argmin(gain) < RATE + 6000


def test_an_echo_repeats_after_its_delay():
    click = np.zeros(RATE, dtype=np.float32)
    click[100] = 1
    output = effects.echo(click, 0.1, 0.5, 0.4)
    np.testing.assert_allclose(output[[100, 100 + 4410, 100 + 8820]], [1, 0.5, 0.2], rtol=1e-6)
    assert np.count_nonzero(output) == 5
