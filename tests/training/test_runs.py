"""Whole runs: killed and started again, in two processes, on one chunk, with losses that are not finite."""

import json
import multiprocessing
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.cut import MultiCut

from lyrics_asr.cli.main import main
from lyrics_asr.config import dump_config
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.models.registry import load_model
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import best_checkpoint, load_checkpoint, newest_checkpoint, read_run
from lyrics_asr.training.data import cut_loader
from lyrics_asr.training.data.cut_loader import CutLoader
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.export import export
from lyrics_asr.training.losses import Losses
from lyrics_asr.training.setup import starting_model
from lyrics_asr.training.stages import FreezingPhase, LoraOptions, OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog
from tests import fork_server

pytestmark = pytest.mark.slow

MOVED = OptimizerOptions(learning_rate=2e-3, warmup_steps=3)
PARTS = tuple(Losses.__dataclass_fields__)
NO_DROPOUT = {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj", "final")}


@pytest.fixture
def cuts(training_corpus, tmp_path):
    """Six windows of two songs, three words each."""
    found = []
    for song in read_manifest(training_corpus):
        recording = Recording.from_file(song.audio, recording_id=song.id)
        for first in range(0, 9, 3):
            words = song.words[first : first + 3]
            start, duration = words[0].start_seconds, words[-1].end_seconds - words[0].start_seconds
            text = " ".join(word.text for word in words)
            spoken = SupervisionSegment(f"{song.id}-{first}", song.id, 0.0, duration, text=text, language="en")
            found.append(
                MultiCut(f"{song.id}-{first}", start, duration, [0, 1], supervisions=[spoken], recording=recording)
            )
    path = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(found).to_file(path)
    return path


@pytest.fixture
def on_cuts(training_config, cuts):
    """Both parts trained on cuts, an epoch being six batches; with all that a checkpoint has to restore."""
    stage = StageOptions(
        "end to end",
        steps=10,
        input="mixture",
        separator=replace(MOVED, learning_rate=1e-3),
        acoustic=replace(MOVED, schedule="plateau", plateau_patience=0),
        head_learning_rate=4e-3,
        frame_weight=0.5,
    )
    loader = CutLoaderOptions(
        [str(cuts)], batch_cuts=1, buckets=2, workers=0, augmentation=AugmentationOptions([0.95, 1.0, 1.05], 6.0, 0.0)
    )
    return replace(
        training_config,
        cuts=loader,
        development=[],
        development_cuts=str(cuts),
        validation_examples=2,
        stages=[stage],
        log_every_steps=1,
        validate_every_steps=3,
        checkpoint_every_steps=4,
        keep_checkpoints=1,
        threads=1,
    )


MEASURED = {"steps_per_second", "audio_seconds_per_second", "eta_seconds", "peak_memory_gib"}
"""What a log has of the computer, and not of the run."""


def curve(output):
    """Losses, learning rates and gradient norms by step, of the entries written last."""
    entries = [json.loads(line) for line in Path(output, "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry for entry in entries if "ctc" in entry}


def assert_same_curve(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for step, entry in theirs.items():
        for name in entry.keys() - MEASURED:
            assert ours[step][name] == pytest.approx(entry[name], abs=tolerance), (step, name)


def train_as_rank(rank, port, config):
    """A process of two, with the environment that torchrun gives it."""
    processes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), **processes}
    sys.exit(main(["train", str(config)]))


def train_in_two_processes(config, folder):
    (folder / "config.yaml").write_text(dump_config(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with fork_server.forked() as context:
        ranks = [context.Process(target=train_as_rank, args=(i, port, folder / "config.yaml")) for i in range(2)]
        for process in ranks:
            process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0, 0]


def train_for_five_steps(config):
    """What a process does that is killed."""
    log = JsonLog(Path(config.output))

    def killed(entry):
        log(entry)
        if entry.get("step") == 5 and "ctc" in entry:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.train(config, killed)


def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_as_the_uninterrupted_one(on_cuts, tmp_path):
    whole = loop.train(on_cuts, JsonLog(Path(on_cuts.output)))
    expected = curve(on_cuts.output)
    assert list(expected) == [*range(1, 11)]

    broken = replace(on_cuts, output=str(tmp_path / "broken"))
    with fork_server.forked() as context:
        process = context.Process(target=train_for_five_steps, args=(broken,))
        process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(curve(broken.output)) == [1, 2, 3, 4, 5]
    assert read_run(newest_checkpoint(Path(broken.output))).step == 4

    resumed = loop.train(broken, JsonLog(Path(broken.output)))
    assert_same_curve(curve(broken.output), expected, 1e-5)
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_ends_with_a_checkpoint_of_its_last_step(training_config, number):
    """Its data loader's worker gets the signal too, as from a terminal or a scheduler."""
    cuts = replace(training_config.cuts, workers=1)
    stages = [replace(training_config.stages[0], steps=4)]
    config = replace(training_config, cuts=cuts, stages=stages, log_every_steps=1)
    log, asked = JsonLog(Path(config.output)), []

    def interrupt(entry):
        log(entry)
        if "ctc" in entry and entry["step"] == 1:
            asked.extend(multiprocessing.active_children())
            for process in [*asked, multiprocessing.current_process()]:
                os.kill(process.pid, number)

    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), fork_server.forked(cut_loader):
        loop.train(config, interrupt)
    assert asked
    assert read_run(newest_checkpoint(Path(config.output))).step == 1
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    loop.train(replace(config, cuts=training_config.cuts), log)
    assert list(curve(config.output)) == [1, 2, 3, 4]


def test_a_run_that_is_asked_to_stop_while_it_waits_for_songs_ends_with_a_checkpoint(training_config, monkeypatch):
    config = replace(training_config, stages=[replace(training_config.stages[0], steps=4)], log_every_steps=1)
    log, given = JsonLog(Path(config.output)), CutLoader.__iter__

    def waiting(source):
        batches = given(source)
        yield next(batches)
        yield next(batches)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it waited on")

    with monkeypatch.context() as patch:
        patch.setattr(CutLoader, "__iter__", waiting)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, log)
    assert read_run(newest_checkpoint(Path(config.output))).step == 2
    loop.train(config, log)
    resumed = curve(config.output)
    assert list(resumed) == [1, 2, 3, 4]
    whole = replace(config, output=config.output + "-whole")
    loop.train(whole, JsonLog(Path(whole.output)))
    assert_same_curve(resumed, curve(whole.output), 1e-5)


def test_a_run_that_is_asked_to_stop_right_after_a_validation_keeps_what_it_found(training_config, monkeypatch):
    config = replace(training_config, stages=[replace(training_config.stages[0], steps=4)], validate_every_steps=1)
    log, given = JsonLog(Path(config.output)), CutLoader.__iter__

    def waiting(source):
        yield next(given(source))
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it waited on")

    monkeypatch.setattr(CutLoader, "__iter__", waiting)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, log)
    run = read_run(newest_checkpoint(Path(config.output)))
    assert (run.step, run.wer is None) == (1, False)


def test_two_processes_give_the_loss_curve_of_one_with_the_same_batches(on_cuts, tmp_path):
    stage = replace(on_cuts.stages[0], steps=6)
    one = replace(on_cuts, stages=[replace(stage, accumulation=2)])
    loop.train(one, JsonLog(Path(one.output)))
    two = replace(on_cuts, stages=[stage], output=str(tmp_path / "two"))
    train_in_two_processes(two, tmp_path)
    assert_same_curve(curve(two.output), curve(one.output), 1e-4)
    ours, theirs = (read_run(newest_checkpoint(Path(each.output))) for each in (two, one))
    assert ours == theirs  # with the same WER
    assert load_model(str(Path(two.output, "model")), device="cpu").separator.networks


def test_shares_of_the_weights_are_trained_as_copies_are(on_cuts, tmp_path):
    """With parts that are frozen first, and an average of the weights; each run resumes as the other kind."""
    freezing = [FreezingPhase(0, separator_last_layers=0, frozen_layers=1), FreezingPhase(2)]
    stage = replace(on_cuts.stages[0], steps=4, freezing=freezing)
    config = replace(
        on_cuts,
        acoustic={**on_cuts.acoustic, **NO_DROPOUT, "num_hidden_layers": 2},
        stages=[stage],
        ema_decay=0.9,
        validate_every_steps=2,
        checkpoint_every_steps=0,
    )
    copies, shares = (replace(config, output=str(tmp_path / name)) for name in ("copies", "shares"))
    for steps, sharded in ((4, (False, True)), (6, (True, False))):
        for each, is_sharded in zip((copies, shares), sharded, strict=True):
            stages = [replace(stage, steps=steps)]
            train_in_two_processes(replace(each, stages=stages, sharded=is_sharded), tmp_path)
        ours, theirs = (load_checkpoint(newest_checkpoint(Path(each.output))) for each in (shares, copies))
        assert ours.run == theirs.run  # with the same WERs
        moments = [each.optimizers["acoustic"]["optimizer"]["state"] for each in (ours, theirs)]
        for our, their in ((ours.model, theirs.model), (ours.average, theirs.average), moments):
            torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-5)
    assert list(curve(shares.output)) == [1, 2, 3, 4, 5, 6]
    assert_same_curve(curve(shares.output), curve(copies.output), 1e-3)


def test_shares_of_the_weights_take_adapters_and_accumulated_batches(on_cuts, tmp_path):
    config = replace(
        on_cuts,
        acoustic={**on_cuts.acoustic, **NO_DROPOUT},
        lora=LoraOptions(rank=2),
        stages=[replace(on_cuts.stages[0], steps=3, accumulation=2)],
        validate_every_steps=3,
        checkpoint_every_steps=0,
    )
    outputs = {sharded: str(tmp_path / str(sharded)) for sharded in (False, True)}
    for sharded, output in outputs.items():
        train_in_two_processes(replace(config, sharded=sharded, output=output), tmp_path)
    assert_same_curve(curve(outputs[True]), curve(outputs[False]), 1e-3)
    ours, theirs = (load_checkpoint(newest_checkpoint(Path(outputs[each]))).model for each in (True, False))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    start = starting_model(config).state_dict()
    assert {name for name in start if "lora_B" in name and not torch.equal(start[name], ours[name])}


def test_one_chunk_is_learnt_by_heart(training_config):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "conv_dim": [64, 64, 64]}
    norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    constant = OptimizerOptions(3e-3, warmup_steps=10, schedule="plateau", plateau_patience=9)
    stage = StageOptions("overfit", steps=120, input="vocals", acoustic=constant)
    config = replace(
        training_config,
        acoustic={**training_config.acoustic, **sizes, **norms, **NO_DROPOUT},
        stages=[stage],
        spec_augment=None,
        overfit_chunks=1,
        validate_every_steps=120,
        threads=1,
    )
    loop.train(config, JsonLog(Path(config.output)))
    assert read_run(best_checkpoint(Path(config.output))).wer == 0


def test_a_run_whose_newest_checkpoint_is_damaged_resumes_from_the_one_before(training_config):
    stage = replace(training_config.stages[0], steps=3)
    config = replace(training_config, stages=[stage], checkpoint_every_steps=1, log_every_steps=1, keep_checkpoints=9)
    output = Path(config.output)
    loop.train(config, JsonLog(output))
    expected = curve(output)
    (newest_checkpoint(output) / "training.pt").write_bytes(b"damaged")
    (output / "log.jsonl").unlink()
    loop.train(config, JsonLog(output))
    assert_same_curve(curve(output), {3: expected[3]}, 1e-5)
    assert (output / "checkpoints" / "damaged-step-00000003").is_dir()


def test_losses_that_are_not_finite_skip_the_step_and_end_the_run(training_config, monkeypatch):
    stage = replace(
        training_config.stages[0], steps=20, acoustic=OptimizerOptions(1e30, warmup_steps=1, clip_norm=1e30)
    )
    config = replace(training_config, stages=[stage], max_skipped_steps=3, checkpoint_every_steps=1, log_every_steps=1)
    given, seen = CutLoader.__iter__, []

    def recorded(loader):
        for each in given(loader):
            seen.append(each.chunk_ids)
            yield each

    monkeypatch.setattr(CutLoader, "__iter__", recorded)
    with pytest.raises(
        loop.TrainingError, match=r"3 steps in a row were not finite, the last with the chunks "
    ) as error:
        loop.train(config, JsonLog(Path(config.output)))
    assert f"chunks {', '.join(seen[-1])}; " in str(error.value)
    lines = Path(config.output, "log.jsonl").read_text().splitlines()
    entries = [json.loads(line, parse_constant=pytest.fail) for line in lines]  # NaN is no JSON
    assert any(entry.get("ctc", 0.0) is None for entry in entries)
    skipped = [entry for entry in entries if "skipped" in entry]
    assert len(skipped) == 3
    assert [tuple(entry["skipped"]) for entry in skipped] == seen[-3:]


def test_the_newest_checkpoints_and_the_best_are_kept_and_exported(on_cuts, tmp_path, monkeypatch):
    wers = iter([0.9, 0.2, 0.5, 0.6])
    measured = loop.measure
    monkeypatch.setattr(
        loop,
        "measure",
        lambda *args, **options: (replace((given := measured(*args, **options))[0], wer=next(wers)), given[1]),
    )
    stage = replace(on_cuts.stages[0], steps=8)
    config = replace(on_cuts, stages=[stage], validate_every_steps=2, checkpoint_every_steps=0)
    loop.train(config, JsonLog(Path(config.output)))
    output = Path(config.output)
    assert [folder.name for folder in sorted(output.glob("checkpoints/*"))] == ["step-00000004", "step-00000008"]
    assert best_checkpoint(output).name == "step-00000004"

    export(output, tmp_path / "exported")
    exported = load_model(str(tmp_path / "exported"), device="cpu")
    weights = load_checkpoint(best_checkpoint(output)).model
    for name, value in exported.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert "| WER, greedy | 20.0% |" in (tmp_path / "exported" / "README.md").read_text()


def test_a_checkpoint_of_other_data_or_another_model_is_refused(on_cuts, cuts):
    once = replace(on_cuts, stages=[replace(on_cuts.stages[0], steps=1)])
    loop.train(once, JsonLog(Path(once.output)))
    with pytest.raises(ValueError, match=r"step-00000001: is of another model or adapter rank"):
        loop.train(replace(once, letters="abc"), JsonLog(Path(once.output)))
    CutSet.from_file(cuts).subset(first=3).to_eager().to_file(cuts)
    with pytest.raises(ValueError, match=r"step-00000001: the training data has changed since"):
        loop.train(once, JsonLog(Path(once.output)))
