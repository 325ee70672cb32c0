from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import load_checkpoint
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.freezing import add_adapters, freeze, freezing_table, merge_adapters
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import build_optimizers
from lyrics_asr.training.setup import trained_model
from lyrics_asr.training.stages import FreezingPhase, LoraOptions, OptimizerOptions, StageOptions
from lyrics_asr.training.step import take_step
from lyrics_asr.training.trackers import JsonLog

MOVED = OptimizerOptions(learning_rate=1e-3, warmup_steps=1)
STAGE = StageOptions("end to end", steps=4, input="mixture", separator=MOVED, acoustic=MOVED)


@pytest.fixture
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder), device="cpu")


@pytest.fixture
def songs():
    """Songs without stems: all that the separator learns comes through the acoustic model."""
    torch.manual_seed(1)
    labels, counts = torch.tensor([5, 6, 7]), torch.tensor([2, 1])
    none, no_spans, nothing = torch.tensor([], dtype=torch.int64), torch.zeros(0, 2), torch.tensor([0, 0])
    mixture, lengths = torch.randn(2, 2, 44_100) * 0.1, torch.tensor([44_100, 30_000])
    return Batch(("a", "b"), None, None, mixture, lengths, labels, torch.zeros(3, 2), counts, none, no_spans, nothing)


def moved(model, stage, phase, songs):
    """Names of the weights that a step moves."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizers = build_optimizers(model, stage)
    freeze(model, stage, phase)
    report = take_step(Accelerator(), LossGraph(model), stage, [songs], optimizers, (0,))
    assert not report.skipped
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def test_the_gradient_of_the_lyrics_reaches_demucs_when_it_is_free(model, songs):
    names = moved(model, STAGE, FreezingPhase(), songs)
    for part in ("encoder", "tencoder", "crosstransformer", "decoder", "tdecoder"):
        assert any(name.startswith(f"separator.networks.0.{part}.") for name in names), part
    assert any("feature_extractor" in name for name in names)


@pytest.mark.parametrize(
    ("stage", "phase"),
    [(STAGE, FreezingPhase(separator_last_layers=0)), (replace(STAGE, separator=OptimizerOptions()), FreezingPhase())],
)
def test_a_frozen_demucs_stays_as_it_is(model, songs, stage, phase):
    names = moved(model, stage, phase, songs)
    assert names
    assert all(name.startswith("acoustic.") for name in names)
    assert not model.separator.training  # it runs as in inference
    assert all(parameter.grad is None for parameter in model.separator.parameters())


def test_the_last_layers_of_demucs_alone(model, songs):
    names = moved(model, STAGE, FreezingPhase(separator_last_layers=2), songs)
    parts = {".".join(name.split(".")[3:5]) for name in names if name.startswith("separator.")}
    assert parts == {"decoder.2", "decoder.3", "tdecoder.2", "tdecoder.3"}
    with pytest.raises(ValueError, match=r"separator_last_layers is 5, the decoder of the separator has 4"):
        freeze(model, STAGE, FreezingPhase(separator_last_layers=5))


def test_the_lowest_layers_of_wav2vec2(model, songs):
    names = moved(model, STAGE, FreezingPhase(feature_encoder=False, frozen_layers=1), songs)
    assert {name.split(".")[2] for name in names if name.startswith("acoustic.")} <= {"lm_head", "wav2vec2"}
    below = ("feature_extractor", "feature_projection", "pos_conv_embed", "encoder.layers.0.")
    assert not [name for name in names if name.startswith("acoustic.") and any(part in name for part in below)]
    with pytest.raises(ValueError, match="frozen_layers is 2, the acoustic model has 1 layers"):
        freeze(model, STAGE, FreezingPhase(frozen_layers=2))
    nothing = replace(STAGE, acoustic=OptimizerOptions())
    with pytest.raises(ValueError, match="nothing is trained from step 0 on; freeze fewer layers"):
        freeze(model, nothing, FreezingPhase(separator_last_layers=0))


def test_adapters_are_trained_alone_and_merged_without_a_difference(model, songs):
    waveform = torch.randn(1, 16_000)
    with torch.no_grad():
        plain = model.acoustic(waveform)
    weights = [name for name, _ in model.acoustic.named_parameters()]
    add_adapters(model.acoustic, LoraOptions(rank=2))
    with torch.no_grad():
        torch.testing.assert_close(model.acoustic(waveform), plain)  # they do nothing yet

    names = moved(model, replace(STAGE, separator=OptimizerOptions()), FreezingPhase(), songs)
    assert all("lora_" in name or "lm_head" in name for name in names)
    assert {name.split(".")[-4] for name in names if "lora_B" in name} == {"q_proj", "k_proj", "v_proj", "out_proj"}

    model.eval()
    with torch.no_grad():
        adapted = model.acoustic(waveform)
        merge_adapters(model.acoustic)
        torch.testing.assert_close(model.acoustic(waveform), adapted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(adapted, plain, atol=1e-5)
    assert [name for name, _ in model.acoustic.named_parameters()] == weights


def test_the_table_counts_what_each_phase_trains(model):
    stage = replace(STAGE, freezing=[FreezingPhase(separator_last_layers=0), FreezingPhase(from_step=2)])
    separator, acoustic, head = (
        sum(parameter.numel() for parameter in module.parameters())
        for module in (model.separator, model.acoustic, model.acoustic.network.lm_head)
    )
    first, second = (line.split() for line in freezing_table(model, [stage]).splitlines()[1:])
    assert first[3:] == ["0", "0", "of", f"{separator:,}", f"{acoustic:,}", "of", f"{acoustic:,}", f"{head:,}"]
    assert second[3:7] == ["2", f"{separator:,}", "of", f"{separator:,}"]


@pytest.mark.slow
def test_demucs_is_frozen_until_its_step_comes_and_adapters_are_merged_in_the_end(training_config, tiny_model_folder):
    stage = replace(
        STAGE,
        freezing=[FreezingPhase(separator_last_layers=0), FreezingPhase(from_step=2)],
    )
    config = replace(
        training_config,
        model=str(tiny_model_folder),
        separator="",
        acoustic="",
        stages=[stage],
        lora=LoraOptions(rank=2),
        spec_augment=None,
        validate_every_steps=4,
        validation_examples=1,
        checkpoint_every_steps=1,
        keep_checkpoints=9,
    )
    trained = loop.train(config, JsonLog(tiny_model_folder.parent / "log"))
    start = load_model(str(tiny_model_folder), device="cpu").separator.state_dict()
    changed = []
    for step in (1, 2, 3):
        weights = load_checkpoint(checkpoint_of(config, step)).model
        changed.append(any(not torch.equal(weights[f"separator.{name}"], value) for name, value in start.items()))
    assert changed == [False, False, True]

    folder = tiny_model_folder.parent / "merged"
    trained_model(checkpoint_of(config, 4)).save(folder)
    waveform = torch.randn(1, 16_000)
    with torch.no_grad():
        merged = load_model(str(folder), device="cpu").acoustic(waveform)
        torch.testing.assert_close(merged, trained.acoustic(waveform), rtol=1e-4, atol=1e-5)


def checkpoint_of(config, step):
    return Path(config.output, "checkpoints", f"step-{step:08d}")


@pytest.mark.slow
def test_a_unet_separator_is_trained_end_to_end(training_config, tiny_model_folder, tmp_path):
    """A whole run: the anchor's copy of the start, validation, a checkpoint, the trained model's folder."""
    start = load_model(str(tiny_model_folder), device="cpu")
    unet = {"network": "UNet", "n_fft": 1024, "bins": 256, "patch_frames": 64, "channels": [2, 2, 2]}
    start.separator = build_separator(unet)
    start.save(tmp_path / "start")
    config = replace(
        training_config,
        model=str(tmp_path / "start"),
        separator="",
        acoustic="",
        stages=[replace(STAGE, steps=2, anchor_weight=1.0)],
        validation_examples=1,
        checkpoint_every_steps=1,
    )
    loop.train(config, JsonLog(tmp_path / "log"))
    trained_model(checkpoint_of(config, 2)).save(tmp_path / "trained")
    state = load_model(str(tmp_path / "trained"), device="cpu").separator.state_dict()
    unchanged = {name for name, value in start.separator.state_dict().items() if torch.equal(state[name], value)}
    assert not unchanged
