"""The F0 of separated vocals: targets, decoding, frames, and training together with the separator."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from lyrics_asr.audio import Audio
from lyrics_asr.melody.pitch import midi_to_hz
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators import pitch_salience
from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator
from lyrics_asr.models.separators.pitch_salience import (
    BINS,
    PitchSalience,
    decode_salience,
    frame_count,
    salience_targets,
)
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.stages import OptimizerOptions, StageOptions

UNET = {
    "network": "UNet",
    "sample_rate_hz": 16_000,
    "audio_channels": 1,
    "n_fft": 512,
    "bins": 256,
    "patch_frames": 32,
    "channels": [4, 8],
    "pitch_channels": 4,
}


def voice(midi):
    """Harmonics of a pitch in MIDI notes per sample, at 16 kHz."""
    phase = np.cumsum(2 * np.pi * midi_to_hz(np.asarray(midi)) / 16_000)
    return torch.from_numpy(0.1 * sum(np.sin(k * phase) / k for k in range(1, 8))).float()


def test_the_targets_are_gaussians_around_the_f0_and_zero_without_one():
    targets = salience_targets(torch.tensor([[440.0, 0.0], [261.63, 55.0]]))
    assert targets.shape == (2, 2, BINS)
    for row, frame, hz in ((0, 0, 440.0), (1, 0, 261.63), (1, 1, 55.0)):
        for number in range(0, BINS, 7):
            cents = 1200 * np.log2(55 * 2 ** (number / 60) / hz)
            expected = np.exp(-(cents**2) / (2 * 25**2))
            assert float(targets[row, frame, number]) == pytest.approx(expected, abs=1e-5)
    assert not targets[0, 1].any()


def test_decoding_gives_back_the_f0_of_its_targets():
    midi = np.append(np.random.default_rng(0).uniform(33.9, 91.9, 200), np.nan)
    found = decode_salience(salience_targets(torch.from_numpy(np.nan_to_num(midi_to_hz(midi)))))
    np.testing.assert_allclose(found, midi, atol=0.01)


def test_a_faint_frame_has_no_f0_and_the_average_leaves_out_what_is_far():
    salience = torch.zeros(2, BINS)
    salience[:, 100] = torch.tensor([0.1, 0.9])
    salience[1, 200] = 0.8
    np.testing.assert_allclose(decode_salience(salience), [np.nan, 33 + 100 / 5])


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 5000])
def test_blocks_give_what_the_whole_voice_gives(monkeypatch, samples):
    monkeypatch.setattr(pitch_salience, "_BLOCK_FRAMES", 7)
    monkeypatch.setattr(pitch_salience, "_MIN_SALIENCE", 0.0)
    torch.manual_seed(0)
    network = PitchSalience(3)
    signal = 0.1 * torch.randn(1, samples)
    with torch.no_grad():
        whole = network(signal)[0].sigmoid()
    assert len(whole) == frame_count(samples)
    np.testing.assert_allclose(network.track(Audio(signal, 16_000)).midi, decode_salience(whole), atol=1e-4)


def test_a_frame_stands_at_its_time():
    """The window that a frame sees lies around its time, as far on one side as on the other."""
    signal = (0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))).requires_grad_()
    frame = 25
    (gradient,) = torch.autograd.grad(PitchSalience(2)(signal)[0, frame].sum(), signal)
    seen = gradient[0].nonzero()[:, 0]
    before, after = frame * 160 - int(seen[0]), int(seen[-1]) - frame * 160
    assert abs(before - after) <= 2


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"levels": 3, "filters": 4, "encoder_kernel": 5, "decoder_kernel": 3, "head_level": 2}
    return LyricsModel(build_separator(UNET), build_acoustic({"network": "WaveUNet", **sizes}, "ab"), name="tiny")


def sung_batch():
    """Two voices that glide, in noise, one of which ends earlier."""
    glides = np.linspace(50, 62, 8000), np.full(8000, 57.0)
    vocals = torch.stack([voice(midi) for midi in glides])[:, None]
    f0_hz = torch.stack([torch.from_numpy(midi_to_hz(midi[::160])).float() for midi in glides])
    f0_hz[1, 25:] = torch.nan
    noise = 0.05 * torch.randn(vocals.shape, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(0, dtype=torch.int64)
    none, spans = torch.zeros(2, dtype=torch.int64), torch.zeros(0, 2)
    lengths = torch.tensor([8000, 4000])
    return Batch(("a", "b"), vocals, noise, None, lengths, nothing, spans, none, nothing, spans, none, None, f0_hz)


def losses(model, batch, **weights):
    moved = OptimizerOptions(learning_rate=1e-3)
    stage = StageOptions("joint", 1, input="mixture", separator=moved, anchor_weight=0.0, ctc_weight=0.0, **weights)
    graph = LossGraph(model)
    targets = graph.targets(stage, batch)
    return stage, graph(stage, batch, targets, targets.counts)


def test_the_loss_is_the_cross_entropy_of_the_frames_whose_f0_is_known(model):
    batch = sung_batch()
    model.eval()
    _, found = losses(model, batch, pitch_weight=1.0)
    with torch.no_grad():
        salience = model.separator.pitch(model.separator(batch.mixture)[:, 0])[:, :50].sigmoid()
    targets = salience_targets(batch.f0_hz)
    entropy = -(targets * salience.log() + (1 - targets) * (1 - salience).log()).sum(-1)
    known = torch.cat([entropy[0, :50], entropy[1, :25]])  # that of the last of the 51 frames is not given
    assert found.pitch.item() == pytest.approx(float(known.mean()), rel=1e-4)


def test_the_loss_of_f0_reaches_the_separator_and_that_of_separation_only_the_separator(model):
    for weights, reaches_f0 in (({"pitch_weight": 1.0}, True), ({"separation_weight": 1.0}, False)):
        model.zero_grad()
        stage, found = losses(model, sung_batch(), **weights)
        found.weighted(stage).backward()
        separator = model.separator
        assert all(float(layer.conv.weight.grad.abs().sum()) > 0 for layer in separator.networks[0].encoder)
        f0 = [parameter.grad for parameter in separator.pitch.parameters()]
        assert all(grad is not None and grad.any() for grad in f0) if reaches_f0 else all(grad is None for grad in f0)


@pytest.mark.parametrize(
    ("has_f0", "pitch_channels", "message"),
    [
        (False, 4, "pitch_weight needs the F0 of the songs, which a lacks; make songs and cuts again"),
        (True, 0, "pitch_weight needs a separator with F0; set pitch_channels of its U-Net"),
    ],
)
def test_a_batch_or_a_separator_without_f0_is_refused(model, has_f0, pitch_channels, message):
    batch = sung_batch()
    model.separator = build_separator({**UNET, "pitch_channels": pitch_channels})
    with pytest.raises(ValueError, match=message):
        losses(model, batch if has_f0 else replace(batch, f0_hz=None), pitch_weight=1.0)


def test_the_network_learns_the_f0_of_a_voice():
    torch.manual_seed(0)
    network, midi = PitchSalience(8), np.linspace(50, 62, 4001)
    signal, f0_hz = voice(midi)[None], torch.from_numpy(midi_to_hz(midi[::160])).float()[None]
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = binary_cross_entropy_with_logits(network(signal), salience_targets(f0_hz), reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network.track(Audio(signal, 16_000)).midi
    assert np.mean(np.abs(found - midi[::160]) < 0.5) > 0.8


def test_both_tasks_are_learnt_together(model):
    batch, history = sung_batch(), []
    optimizer = torch.optim.Adam(model.separator.parameters(), 1e-2)
    model.train()
    for _ in range(12):
        stage, found = losses(model, batch, pitch_weight=0.1, separation_weight=1.0)
        optimizer.zero_grad()
        found.weighted(stage).backward()
        optimizer.step()
        history.append((found.separation.item(), found.pitch.item()))
    assert history[-1][0] < 0.95 * history[0][0]
    assert history[-1][1] < 0.9 * history[0][1]


def test_the_model_takes_the_f0_of_its_separator_and_else_that_of_the_pitch_tracker(model):
    sound = Audio(voice(np.full(8000, 60.0))[None], 16_000)
    by_separator = model.separator.pitch.track(sound).midi
    np.testing.assert_array_equal(model.track_pitch(sound).midi, by_separator)
    model.separator.pitch = None
    by_tracker = model.track_pitch(sound).midi
    assert np.nanmedian(by_tracker) == pytest.approx(60, abs=0.1)
    assert not np.array_equal(by_tracker, by_separator, equal_nan=True)


def test_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    separator = build_separator(UNET).eval()
    save_separator(separator, tmp_path, half=False)
    again = load_separator(str(tmp_path))
    signal = voice(np.full(8000, 60.0))[None]
    with torch.no_grad():
        torch.testing.assert_close(again.pitch(signal), separator.pitch(signal), rtol=0, atol=0)


def test_a_separator_without_f0_has_no_weights_of_it():
    separator = build_separator({**UNET, "pitch_channels": 0})
    assert separator.pitch is None
    assert not [name for name in separator.state_dict() if name.startswith("pitch")]
    with pytest.raises(ValueError, match="pitch_channels of the U-Net -1 is out of range"):
        build_separator({**UNET, "pitch_channels": -1})
