"""BSS Eval: equal to museval, and right where the answer is known."""

import pytest
import torch

from benchmarks.bss_eval import museval_scores
from lyrics_asr.evaluation.bss_eval import bss_eval


def noises(channels, samples, count=3):
    return torch.randn(count, channels, samples, generator=torch.Generator().manual_seed(samples))


def echoed(signal):
    return signal + 0.5 * signal.roll(40, 1) + 0.2 * signal.flip(0).roll(300, 1)


@pytest.mark.parametrize(
    ("channels", "samples"),
    [
        (1, 4000),
        (2, 5300),  # the last window is not whole
        (1, 1500),  # shorter than a window
    ],
)
def test_scores_are_those_of_museval(channels, samples):
    voice, band, artefact = noises(channels, samples)
    voice[:, 2000:4000] *= 0  # one window at most is silent
    mixture = echoed(voice) + band
    estimates = [mixture, echoed(voice) + 0.3 * echoed(band) + 0.1 * artefact]
    for score, estimate in zip(bss_eval(estimates, voice, mixture, 2000), estimates, strict=True):
        sdr_db, sir_db, sar_db = museval_scores(estimate, voice, mixture, 2000)
        assert score.sdr_db == pytest.approx(sdr_db, abs=1e-6)
        assert score.sir_db == pytest.approx(sir_db, abs=1e-6)
        if sar_db < 100:  # above, it is the rounding of float32
            assert score.sar_db == pytest.approx(sar_db, abs=1e-6)


def test_a_mono_song_with_two_channels_has_the_scores_of_one():
    voice, band, artefact = noises(1, 6000)
    estimate = voice + 0.1 * band + 0.01 * artefact
    (mono,) = bss_eval([estimate], voice, voice + band, 2000)
    (stereo,) = bss_eval([estimate.repeat(2, 1)], voice.repeat(2, 1), voice.repeat(2, 1) + band.repeat(2, 1), 2000)
    assert (stereo.sdr_db, stereo.sir_db) == pytest.approx((mono.sdr_db, mono.sir_db), abs=1e-6)
    assert stereo.sar_db == pytest.approx(mono.sar_db, abs=1e-6)


def test_white_noises_have_their_energy_ratio():
    voice, band, artefact = noises(1, 24_000)
    scores, baseline = bss_eval([voice + 0.1 * band + 0.01 * artefact, mixture := voice + band], voice, mixture, 8000)
    # A filter of 512 taps explains a little of a noise too: about 512 of 8,000 samples of each window's worth.
    assert scores.sir_db == pytest.approx(20, abs=0.5)
    assert scores.sar_db == pytest.approx(40, abs=0.5)
    assert scores.sdr_db == pytest.approx(20, abs=0.5)
    assert baseline.sdr_db == pytest.approx(0, abs=0.5)


def test_windows_without_a_voice_are_left_out_and_songs_without_a_band_have_no_scores():
    voice, band = noises(1, 24_000, 2)
    voice[:, 8000:16_000] = 0
    (scores,) = bss_eval([voice + 0.1 * band], voice, voice + band, 8000)
    assert scores.sdr_db == pytest.approx(20, abs=1.0)
    assert bss_eval([voice], voice, voice, 8000) == [None]
    assert bss_eval([0 * voice], voice, voice + band, 8000) == [None]  # a silent estimate
