"""Training on a GPU, against a step on the CPU in fp32."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch._dynamo.utils import counters

from lyrics_asr.models.registry import load_model
from lyrics_asr.training import loop
from lyrics_asr.training.data import cut_loader
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.freezing import freeze, phase_at
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import build_optimizers
from lyrics_asr.training.processes import TrainingAccelerator
from lyrics_asr.training.setup import prepare_networks, starting_model, trained_model
from lyrics_asr.training.step import take_step
from lyrics_asr.training.trackers import JsonLog
from tests import fork_server
from tests.training.test_options import STAGE, gradients, rows, without_chance

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def forget_precision(monkeypatch):
    """Accelerate remembers the precision of the process' first run."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def model(tiny_model_folder):
    model = load_model(str(tiny_model_folder), device="cpu")
    without_chance(model)
    return model


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("precision", "tolerance", "similarity"), [("no", 1e-3, 0.9999), ("bf16", 0.03, 0.95), ("fp16", 0.01, 0.99)]
)
def test_a_step_on_the_gpu_is_that_of_the_cpu(model, precision, tolerance, similarity):
    batches = [rows(0, 1), rows(2)]
    losses, expected = gradients(model, STAGE, batches)
    AcceleratorState._reset_state(reset_partial_state=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**8) if precision == "fp16" else None
    on_gpu = [batch.to(CUDA) for batch in batches]
    ours, got = gradients(model.to(CUDA), STAGE, on_gpu, precision=precision, scaler=scaler)
    assert ours["ctc"] == pytest.approx(losses["ctc"], rel=tolerance)
    assert torch.cosine_similarity(got.cpu(), expected, dim=0) > similarity


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_run_in_mixed_precision_learns_and_its_model_runs_on_the_cpu(training_config, precision):
    options = replace(training_config.stages[0].acoustic, learning_rate=3e-3, warmup_steps=1)
    config = replace(
        training_config,
        precision=precision,
        stages=[replace(training_config.stages[0], steps=30, input="vocals", acoustic=options)],
        overfit_chunks=1,
        validate_every_steps=30,
        log_every_steps=1,
        ema_decay=0.5,
    )
    start = starting_model(config).state_dict()
    loop.train(config, JsonLog(Path(config.output)))
    entries = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "ctc" in entry and entry["loss"] is not None]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert len([entry for entry in entries if "skipped" in entry]) < 8  # until the scale is small enough
    trained = trained_model(Path(config.output))
    assert all(value.isfinite().all() for value in trained.state_dict().values() if value.is_floating_point())
    assert any(not torch.equal(value, start[name]) for name, value in trained.state_dict().items())


@pytest.mark.gpu
def test_a_step_that_overflows_is_skipped_and_the_scale_halved(model):
    model.to(CUDA)
    freeze(model, STAGE, phase_at(STAGE, 0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accelerator = TrainingAccelerator("fp16")
    accelerator.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**120)
    optimizers = build_optimizers(model, STAGE)
    report = take_step(accelerator, LossGraph(model), STAGE, [rows(0, 1).to(CUDA)], optimizers, (0,))
    assert report.skipped == ("0", "1")
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert accelerator.scaler.get_scale() == 2.0**119


@pytest.mark.gpu  # compiling takes minutes on a CPU
def test_compiled_networks_give_the_losses_of_the_others(model, training_config):
    model.to(CUDA).eval()
    batch, graph = rows(0, 1).to(CUDA), LossGraph(model)

    def loss_and_gradient():
        targets = graph.targets(STAGE, batch)
        loss = graph(STAGE, batch, targets, targets.counts).ctc
        model.zero_grad()
        loss.backward()
        return float(loss), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    expected_loss, expected = loss_and_gradient()
    torch._dynamo.reset()
    counters.clear()
    prepare_networks(replace(training_config, compile=True), model)
    loss, gradient = loss_and_gradient()
    assert counters["stats"]["unique_graphs"] >= 2
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert torch.cosine_similarity(gradient, expected, dim=0) > 0.9999


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_in_pinned_memory_and_arrive_whole(device, model, training_config, workers):
    labeller, options = Labeller(model.acoustic.vocabulary), replace(training_config.cuts, workers=workers)
    with fork_server.forked(cut_loader):
        batch = next(iter(CutLoader(options, labeller, sample_rate_hz=44_100, channels=2, seed=0)))
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    pinned = {value.is_pinned() for value in tensors.values() if value.numel()}  # an empty tensor has no memory
    assert pinned == {torch.cuda.is_available()}
    arrived = batch.to(device)
    for name, value in tensors.items():
        assert getattr(arrived, name).device.type == device.type
        torch.testing.assert_close(getattr(arrived, name).cpu(), value, rtol=0, atol=0, equal_nan=True)
