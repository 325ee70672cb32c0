"""The Wave-U-Net with a CTC head: times of its frames, windows, files, and training for both tasks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC

from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic, save_acoustic
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.wave_unet_ctc import WaveUNetForCTC
from lyrics_asr.options import AcousticOptions, SilenceOptions
from lyrics_asr.training import loop
from lyrics_asr.training.setup import starting_model, trained_model
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog

SIZES = {"levels": 6, "filters": 4, "encoder_kernel": 5, "decoder_kernel": 3}
ACOUSTIC = {"network": "WaveUNet", "head_level": 5, **SIZES}
SEPARATOR = {"network": "WaveUNet", "sample_rate_hz": 16_000, **SIZES}
STRIDE = 32
ALL_OF_IT = SilenceOptions(threshold_db=-float("inf"))


@pytest.fixture
def acoustic():
    torch.manual_seed(0)
    return build_acoustic(ACOUSTIC, "ab").eval()


def song(samples, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_a_frame_stands_at_the_sample_that_begins_its_stride(acoustic):
    """What a frame depends on lies around that sample, as far on one side as on the other, give or take a stride."""
    assert (acoustic.grid.stride_samples, acoustic.grid.receptive_field_samples) == (STRIDE, 1)
    waveform = song(3000).requires_grad_()
    for frame in (40, 41):
        (gradient,) = torch.autograd.grad(acoustic(waveform[None])[0, frame, 1], waveform)
        seen = gradient.nonzero()[:, 0]
        before, after = frame * STRIDE - int(seen[0]), int(seen[-1]) - frame * STRIDE
        assert abs(before - after) <= 2 * STRIDE
        assert before > 5 * STRIDE


@pytest.mark.parametrize("samples", [1, 31, 32, 33, 1000])
def test_a_row_has_a_frame_for_each_stride(acoustic, samples):
    lengths = torch.tensor([samples])
    assert acoustic(song(samples)[None]).shape[1] == acoustic.frame_counts(lengths) == -(-samples // STRIDE)
    together = acoustic(torch.stack([song(samples + 100), song(samples + 100, 1)]), lengths.expand(2))
    alone = acoustic(song(samples + 100)[None, :samples])
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, atol=1e-5, rtol=0)


def test_windows_give_what_the_whole_song_gives(acoustic):
    waveform = song(9000)
    options = acoustic.with_windows(AcousticOptions(silence=ALL_OF_IT))
    assert options.context_seconds == pytest.approx(acoustic.network.wave_unet.config.context_samples / 16_000)
    (whole,) = acoustic.emissions([waveform], options)
    context = options.context_seconds
    (windowed,) = acoustic.emissions([waveform], replace(options, window_seconds=3 * context))
    torch.testing.assert_close(windowed.log_probs, whole.log_probs, atol=1e-4, rtol=0)


def test_saved_loaded_and_taken_by_transformers(acoustic, tmp_path):
    save_acoustic(acoustic, tmp_path)
    waveform = song(1000)[None]
    with torch.no_grad():
        expected = acoustic(waveform)
        torch.testing.assert_close(load_acoustic(str(tmp_path))(waveform), expected)
        logits = AutoModelForCTC.from_pretrained(tmp_path)(waveform).logits
    torch.testing.assert_close(logits.log_softmax(-1), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_level": 6}, "head_level of the Wave-U-Net is 6; with 6 levels, it must be 0 to 5"),
        ({"network": "UNet"}, "acoustic.network must be WaveUNet, not 'UNet'"),
        ({"filters": 0}, "filters of the Wave-U-Net 0 is out of range"),
        ({"depth": 3}, "acoustic: depth: no size of a Wave-U-Net; use decoder_kernel, encoder_kernel"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_acoustic({**ACOUSTIC, **changes}, "ab")


@pytest.fixture
def joint(training_config):
    rate = OptimizerOptions(learning_rate=3e-3, warmup_steps=1)
    stage = StageOptions(
        "joint", steps=12, input="mixture", separator=rate, acoustic=rate, separation_weight=1.0, anchor_weight=0.0
    )
    return replace(
        training_config,
        model="",
        separator=SEPARATOR,
        acoustic=ACOUSTIC,
        acoustic_input="mixture",
        stages=[stage],
        spec_augment=None,
        log_every_steps=1,
        validate_every_steps=12,
        ema_decay=0.5,
    )


@pytest.mark.slow
def test_one_network_is_trained_for_both_tasks(joint):
    """Losses fall, a resumed run goes on, and both parts of the exported model have the network."""
    started = starting_model(joint)
    assert started.acoustic.network.wave_unet is started.separator.networks[0]
    head = sum(parameter.numel() for parameter in started.acoustic.network.lm_head.parameters())
    assert sum(parameter.numel() for parameter in started.acoustic.parameters()) == head
    log = []
    loop.train(joint, lambda entry: log.append(entry) or JsonLog(Path(joint.output))(entry))
    steps = [entry for entry in log if "ctc" in entry]
    assert steps[-1]["ctc"] < steps[0]["ctc"]
    assert steps[-1]["separation"] < steps[0]["separation"]
    longer = replace(joint, stages=[replace(joint.stages[0], steps=14)])
    loop.train(longer, JsonLog(Path(joint.output)))
    model = trained_model(Path(joint.output))
    assert model.acoustic.network.wave_unet is not model.separator.networks[0]
    folder = Path(joint.output, "exported")
    model.save(folder)
    again = load_model(str(folder), device="cpu")
    assert again.acoustic_input == "mixture"
    assert isinstance(again.acoustic.network, WaveUNetForCTC)
    for name, value in again.acoustic.network.wave_unet.state_dict().items():
        torch.testing.assert_close(value, again.separator.networks[0].state_dict()[name], rtol=0, atol=0)
        assert not torch.equal(value, started.separator.networks[0].state_dict()[name])


@pytest.mark.slow
def test_letters_alone_need_no_separator(joint):
    """The separator does not run, so that nothing but the CTC loss reaches the network."""
    rate = OptimizerOptions(learning_rate=3e-3, warmup_steps=1)
    stage = StageOptions("letters", steps=3, input="mixture", acoustic=rate, anchor_weight=0.0)
    log = []
    loop.train(replace(joint, separator="none", stages=[stage]), log.append)
    steps = [entry for entry in log if "ctc" in entry]
    assert len(steps) == 3
    assert all(entry["separation"] == 0 < entry["ctc"] for entry in steps)
