"""What options of training change, and what they must not change."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import wandb
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import WandBTracker
from tensorboardX.proto.event_pb2 import Event

from lyrics_asr.audio import Audio, leveling_gain, write_audio
from lyrics_asr.console import steps as step_counter
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.evaluation.metrics import si_sdr
from lyrics_asr.inference.pipeline import transcribe
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training import loop
from lyrics_asr.training.config import TrackingOptions
from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.examples import examples_of
from lyrics_asr.training.freezing import freeze, phase_at
from lyrics_asr.training.losses import LossGraph
from lyrics_asr.training.optimizers import build_optimizers, restore, state_of
from lyrics_asr.training.processes import TrainingAccelerator, create_accelerator
from lyrics_asr.training.setup import prepare_networks, starting_model
from lyrics_asr.training.stages import OptimizerOptions, SpecAugmentOptions, StageOptions
from lyrics_asr.training.step import take_step
from lyrics_asr.training.trackers import JsonLog, Tracker
from lyrics_asr.training.validation import MAX_SI_SDR_DB, measure

MOVED = OptimizerOptions(learning_rate=1e-3, warmup_steps=1, clip_norm=1e9)
STAGE = StageOptions("end to end", steps=60, input="mixture", separator=MOVED, acoustic=MOVED, anchor_weight=0.0)


@pytest.fixture(autouse=True)
def forget_precision():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder), device="cpu")


def rows(*numbers):
    """Rows of one set of three, each with a voice and an accompaniment."""
    samples, labels = 22_050, {0: [5, 6], 1: [7], 2: [5, 5, 8]}
    signals = [torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(n)) * 0.1 for n in numbers]
    tokens = [token for n in numbers for token in labels[n]]
    counts = torch.tensor([len(labels[n]) for n in numbers])
    spans = torch.tensor([[0.1 * i, 0.1 * i + 0.1] for n in numbers for i in range(len(labels[n]))])
    return Batch(
        tuple(map(str, numbers)),
        torch.stack([signal[0] for signal in signals]),
        torch.stack([signal[1] for signal in signals]),
        None,
        torch.tensor([samples - 4000 * n for n in numbers]),
        torch.tensor(tokens),
        spans,
        counts,
        torch.tensor([], dtype=torch.int64),
        torch.zeros(0, 2),
        torch.zeros(len(numbers), dtype=torch.int64),
    )


def gradients(model, stage, batches, start=None, precision="no", scaler=None):
    """Losses of a step and its gradients, without dropout."""
    model, seen = copy.deepcopy(model), {}
    freeze(model, stage, phase_at(stage, 0))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):  # of attention
            module.dropout = 0.0

    def see(optimizer):
        owned = (p for group in optimizer.param_groups for p in group["params"])
        seen.update((p, p.grad.clone()) for p in owned if p.grad is not None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", see)
        optimizers = build_optimizers(model, stage)
        accelerator = TrainingAccelerator(precision)
        accelerator.scaler = scaler
        report = take_step(accelerator, LossGraph(model, None, start), stage, batches, optimizers, (0,))
    assert not report.skipped
    return report.losses, torch.cat([seen[p].flatten() for p in model.parameters() if p in seen])


def disturbed(separator):
    other = copy.deepcopy(separator).requires_grad_(False)
    for parameter in other.parameters():
        parameter.mul_(1.05)
    return other


def test_accumulation_changes_nothing(model):
    """Uneven batches too: the losses are means over all rows, frames and samples of a step."""
    without_chance(model)
    stage = replace(STAGE, separation_weight=0.7, frame_weight=0.5, anchor_weight=0.3)
    start = disturbed(model.separator)
    losses, whole = gradients(model, stage, [rows(0, 1, 2)], start)
    assert min(losses[name] for name in ("separation", "anchor", "ctc", "frames")) > 0
    parts, summed = gradients(model, stage, [rows(0, 1), rows(2)], start)
    assert parts == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(summed, whole, rtol=1e-3, atol=1e-5)


def test_accumulation_set_for_accelerate_changes_nothing(model, monkeypatch):
    """The losses are means over a step already; `accelerate launch` sets this variable."""
    without_chance(model)
    losses, expected = gradients(model, STAGE, [rows(0, 1)])
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    ours, got = gradients(model, STAGE, [rows(0, 1)])
    assert ours == pytest.approx(losses)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    "variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_PARALLELISM_CONFIG"]
)
def test_other_parallelism_than_of_data_is_refused(training_config, monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=rf"is not supported \({variable} is set\); .* --multi_gpu"):
        loop.train(training_config, JsonLog(Path(training_config.output)))


def test_scaled_losses_are_not_sharded(training_config):
    with pytest.raises(ValueError, match="sharded: the loss scales of processes would differ with fp16"):
        replace(training_config, sharded=True, precision="fp16")


def test_compiled_networks_are_not_sharded(training_config):
    with pytest.raises(ValueError, match="sharded: networks are not compiled when they are sharded"):
        replace(training_config, sharded=True, compile=True)


def test_what_the_environment_says_and_the_configuration_does_not_is_named(training_config, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert create_accelerator(training_config).mixed_precision == "no"
    said = capsys.readouterr().err
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 is ignored; set `accumulation` of a stage" in said
    assert "ACCELERATE_MIXED_PRECISION=fp16 is ignored; set `precision`" in said


def without_chance(model):
    model.acoustic.network.config.apply_spec_augment = False
    model.acoustic.network.config.layerdrop = 0.0


def test_bf16_is_near_fp32(model):
    without_chance(model)
    losses, exact = gradients(model, STAGE, [rows(0, 1, 2)])
    AcceleratorState._reset_state(reset_partial_state=True)
    rounded, near = gradients(model, STAGE, [rows(0, 1, 2)], precision="bf16")
    assert rounded["ctc"] == pytest.approx(losses["ctc"], rel=0.03)
    assert rounded["ctc"] != losses["ctc"]
    assert torch.cosine_similarity(near, exact, dim=0) > 0.95


def test_scaled_losses_give_the_same_gradients(model):
    """What `precision: fp16` adds to a step, in fp32."""
    without_chance(model)
    losses, expected = gradients(model, STAGE, [rows(0, 1), rows(2)])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    ours, got = gradients(model, STAGE, [rows(0, 1), rows(2)], scaler=scaler)
    assert ours == pytest.approx(losses)
    torch.testing.assert_close(got, expected)
    assert scaler.get_scale() == 2.0**12


def test_a_step_that_overflows_is_skipped_and_the_scale_halved(model):
    without_chance(model)
    model = copy.deepcopy(model)
    freeze(model, STAGE, phase_at(STAGE, 0))
    before = copy.deepcopy(model.state_dict())
    accelerator = TrainingAccelerator()
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    optimizers = build_optimizers(model, STAGE)
    report = take_step(accelerator, LossGraph(model), STAGE, [rows(0, 1)], optimizers, (0,))
    assert report.skipped
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert accelerator.scaler.get_scale() == pytest.approx(0.5e38)


def test_precision_is_set_up(training_config, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    try:
        create_accelerator(replace(training_config, precision="tf32"))
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
    create_accelerator(training_config)
    assert not torch.backends.cudnn.allow_tf32
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="precision: fp16 needs a GPU; set it to bf16 or fp32"):
            create_accelerator(replace(training_config, precision="fp16"))


def test_metrics_are_written_for_tensorboard(training_config, tmp_path):
    config = replace(training_config, tracking=TrackingOptions(tensorboard=True, project="songs"))
    AcceleratorState._reset_state(reset_partial_state=True)
    tracker = Tracker(create_accelerator(config), config)
    tracker.log_metrics({"loss": 1.5, "wer": 0.25, "text": "left out"}, 3)
    tracker.close()
    (file,) = Path(config.output, "songs").glob("events.*")
    content, scalars = file.read_bytes(), []
    while content:  # records of TensorFlow: length, checksum, data, checksum
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        scalars += [(value.tag, value.simple_value, event.step) for value in event.summary.value]
        content = content[16 + size :]
    assert sorted(scalars) == [("loss", 1.5, 3), ("wer", 0.25, 3)]


def test_a_resumed_run_continues_its_run_of_mlflow(training_config, tmp_path, monkeypatch):
    """Read back with MLflow's own client."""
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    config = replace(training_config, tracking=TrackingOptions(mlflow=True, project="songs"))
    for step, loss in ((3, 1.5), (4, 1.25)):
        AcceleratorState._reset_state(reset_partial_state=True)
        tracker = Tracker(create_accelerator(config), config)
        tracker.log_metrics({"loss": loss, "text": "left out"}, step)
        tracker.close()
    (experiment,) = mlflow.search_experiments(filter_string="name = 'songs'")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([experiment.experiment_id])
    assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "loss")] == [
        (3, 1.5),
        (4, 1.25),
    ]
    assert run.data.params["output"] == config.output
    assert run.info.run_name == Path(config.output).name


def test_a_tracker_that_is_not_installed_is_named(training_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    config = replace(training_config, tracking=TrackingOptions(mlflow=True))
    with pytest.raises(ModuleNotFoundError, match="mlflow"):
        Tracker(create_accelerator(config), config)


def test_a_range_test_ends_at_the_peak(model):
    options = OptimizerOptions(1e-2, schedule="range")
    acoustic = build_optimizers(model, replace(STAGE, steps=5, acoustic=options))["acoustic"]
    rates = []
    for _ in range(5):
        rates.append(acoustic.learning_rates["acoustic"])
        acoustic.step(update=True)
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])


def test_a_plateau_lowers_the_rates_of_its_part_by_the_factor_after_patience_runs_out(model):
    plateau = OptimizerOptions(1e-3, warmup_steps=2, schedule="plateau", plateau_factor=0.5, plateau_patience=1)
    stage = replace(STAGE, acoustic=plateau, head_learning_rate=4e-3)

    def rates(optimizers):
        return [optimizers["acoustic"].learning_rates[name] for name in ("acoustic", "acoustic head")]

    optimizers = build_optimizers(model, stage)
    separator = optimizers["separator"].learning_rates
    assert rates(optimizers) == pytest.approx([5e-4, 2e-3])
    for _ in range(5):  # the rise takes two steps, and no number of steps lowers the rate again
        optimizers["acoustic"].step(update=True)
    seen = []
    for wer in (0.9, 0.8, 0.8, 0.8, 0.7, 0.9):
        for each in optimizers.values():
            each.step_validation(wer)
        seen.append(rates(optimizers)[0])
    assert seen == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4])
    resumed = build_optimizers(model, stage)
    restore(resumed, state_of(optimizers))
    for each in (optimizers, resumed):
        each["acoustic"].step_validation(0.9)  # the second in a row that is no better than 0.7
        assert rates(each) == pytest.approx([2.5e-4, 1e-3])
    assert optimizers["separator"].learning_rates == separator


def test_gradient_checkpointing_gives_the_same_gradients(model):
    without_chance(model)
    _, kept = gradients(model, STAGE, [rows(0, 1, 2)])
    model.acoustic.network.gradient_checkpointing_enable({"use_reentrant": False})
    _, again = gradients(model, STAGE, [rows(0, 1, 2)])
    torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-6)


def test_spec_augment_is_on_or_off(training_config):
    waveform = torch.randn(1, 16_000)
    no_dropout = {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")}
    config = replace(training_config, acoustic={**training_config.acoustic, **no_dropout, "mask_time_prob": 0.0})
    for masks, masked in ((None, False), (SpecAugmentOptions(0.2), True)):
        model = starting_model(config)  # made without masks
        prepare_networks(replace(config, spec_augment=masks), model)
        with torch.no_grad():
            masked_output, plain = model.acoustic.train()(waveform), model.acoustic.eval()(waveform)
        assert torch.allclose(masked_output, plain, atol=1e-5) != masked


@pytest.mark.slow
def test_the_anchor_is_the_distance_to_the_vocals_of_the_start_and_pulls_back(model):
    start, inputs = copy.deepcopy(model.separator).requires_grad_(False), rows(0, 1)
    stage = replace(STAGE, anchor_weight=1.0, ctc_weight=0.0, acoustic=OptimizerOptions())
    graph, optimizers = LossGraph(model, None, start), build_optimizers(model, stage)
    freeze(model, stage, phase_at(stage, 0))

    def step():
        return take_step(Accelerator(), graph, stage, [inputs], optimizers, (0,)).losses["anchor"]

    assert step() == 0
    model.separator.load_state_dict(disturbed(start).state_dict())
    with torch.no_grad():
        now, before = model.separator(inputs.mixture), start.train()(inputs.mixture)
    distance = float((now - before).abs().mean() / (before.abs().mean() + 1e-4))
    first = step()
    assert first == pytest.approx(distance, rel=1e-4)
    for _ in range(12):
        last = step()
    assert last < 0.7 * first


@pytest.mark.slow
def test_drift_is_measured_against_the_start(model, training_corpus):
    songs = read_manifest(training_corpus)[:1]
    start = disturbed(model.separator)
    options = {"accelerator": Accelerator(), "with_text": False}
    same, _ = measure(model, examples_of(songs, model), start=copy.deepcopy(model.separator), **options)
    assert same.si_sdr_to_initial_db == MAX_SI_SDR_DB
    other, hypotheses = measure(model, examples_of(songs, model), start=start, kept=1, **options)
    mixture = examples_of(songs, model)[0].read()
    gain = leveling_gain(mixture)  # as at inference, and taken back
    ours, theirs = (
        (each.separate([mixture.samples * gain], SeparationOptions())[0] / gain).mean(0)
        for each in (model.separator, start)
    )
    assert other.si_sdr_to_initial_db == pytest.approx(si_sdr(ours, theirs))
    torch.testing.assert_close(hypotheses[0].vocals.samples.mean(0), ours)
    assert other.cer is other.wer is other.lm_wer is None


@pytest.mark.parametrize("acoustic_input", ["vocals", "mixture"])
def test_a_validation_hears_what_inference_hears(model, training_corpus, acoustic_input):
    model.acoustic_input = acoustic_input
    (song, *_) = read_manifest(training_corpus)
    _, (hypothesis,) = measure(model, examples_of([song], model), accelerator=Accelerator())
    assert hypothesis.greedy == transcribe(song.audio, model, greedy=True).text.replace("\n", " ")


def test_examples_that_cannot_be_read_are_named_counted_and_left_out(model, tmp_path, caplog):
    """A song with a sample that is not a number, a damaged file, and a good one."""
    rate_hz = model.separator.sample_rate_hz
    sound = 0.1 * torch.randn(2, rate_hz, generator=torch.Generator().manual_seed(0))
    broken = sound.clone()
    broken[1, 5] = torch.nan
    write_audio(tmp_path / "good.wav", Audio(sound, rate_hz))
    write_audio(tmp_path / "broken.wav", Audio(broken, rate_hz))
    (tmp_path / "damaged.wav").write_bytes(b"no sound")
    songs = [Song(name, tmp_path / f"{name}.wav", "one two", (), "en") for name in ("broken", "good", "damaged")]
    metrics, hypotheses = measure(model, examples_of(songs, model), accelerator=Accelerator())
    assert [each.id for each in hypotheses] == ["good"]
    assert metrics.unreadable_examples == 2
    assert metrics.wer is not None
    for name in ("broken", "damaged"):
        assert f"validation example {name} is left out: {tmp_path / name}.wav" in caplog.text
    with pytest.raises(ValueError, match="the audio of no validation example can be read"):
        measure(model, examples_of(songs[:1], model), accelerator=Accelerator())


@pytest.mark.slow
def test_a_run_is_followed_in_wandb(training_config, tiny_model_folder, monkeypatch):
    """Offline: what would be sent is on the disk."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged, log = {}, WandBTracker.log

    def recorded(self, values, step=None, **options):
        logged.setdefault(step, {}).update(values)
        log(self, values, step=step, **options)

    monkeypatch.setattr(WandBTracker, "log", recorded)
    stage = replace(STAGE, name="tuned", steps=2, anchor_weight=1.0)
    config = replace(
        training_config,
        model=str(tiny_model_folder),
        separator="",
        acoustic="",
        stages=[replace(stage, head_learning_rate=2e-3)],
        tracking=TrackingOptions("offline", examples=1),
        validation_examples=1,
        log_every_steps=1,
    )
    loop.train(config, JsonLog(Path(config.output)))
    assert set(logged) == {1, 2}
    rates = {f"{name} learning rate" for name in ("separator", "acoustic", "acoustic head")}
    norms = {"separator gradient norm", "acoustic gradient norm"}
    assert {"ctc", "anchor", "separation", "frames", "phones"} | rates | norms <= set(logged[1])
    assert {"cer", "wer", "lm_cer", "lm_wer", "si_sdr_to_initial_db", "si_sdr_improvement_db", "validation"} <= set(
        logged[2]
    )

    run = next(Path(config.output).glob("wandb/offline-run-*"))
    [[*_, vocals]] = logged[2]["validation"].data
    assert isinstance(vocals, wandb.Audio)
    assert Path(config.output, "wandb_id").read_text() in run.name
    table = json.loads(next(run.glob("files/media/table/validation*.table.json")).read_text())
    assert table["columns"] == ["id", "reference", "greedy", "with language model", "vocals"]
    [row] = table["data"]
    song = read_manifest(Path(config.development[0]))[0]
    assert row[0] == song.id
    assert row[1].split()[0] == song.words[0].text.lower()


def test_the_step_counter_shows_rate_and_time_left_on_a_terminal_alone(monkeypatch, capsys):
    times = iter([100.0, 110.0])
    monkeypatch.setattr("lyrics_asr.console.time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with step_counter("tuned", 20, 60) as show:
        show(40)
    assert "tuned: step 40 of 60, 2.00 steps/s, 10 s left" in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    times = iter([100.0])
    with step_counter("tuned", 20, 60) as show:
        show(40)
    assert capsys.readouterr().err == ""
