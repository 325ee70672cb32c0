"""Checkpoints on disk: what damage does to them, and in which order they are written."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lyrics_asr.training import checkpoints
from lyrics_asr.training.checkpoints import (
    Checkpoint,
    RunState,
    best_checkpoint,
    load_newest_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)


def save(output, config, steps, wer=None):
    run = RunState("tiny", 0, steps, steps, wer, {}, {})
    return save_checkpoint(output, Checkpoint(run, {"weight": torch.tensor([float(steps)])}, {}, {}, {}), config)


def names(output):
    return sorted(path.name for path in (output / "checkpoints").iterdir())


@pytest.fixture
def config(training_config):
    return replace(training_config, keep_checkpoints=2)


@pytest.mark.parametrize("content", ["", "{", "\0" * 300, "[]", '{"schema": "lyrics-asr/checkpoint/2", "step": 1}'])
def test_a_damaged_old_run_file_is_named_and_left_out(tmp_path, config, caplog, content):
    for steps, wer in ((1, 0.1), (2, 0.5), (3, 0.9)):
        save(tmp_path, config, steps, wer)
    damaged = tmp_path / "checkpoints" / "step-00000001" / "run.json"  # the best one
    damaged.write_text(content)
    with caplog.at_level(logging.WARNING):
        for steps in (4, 5):
            save(tmp_path, config, steps, 0.8)
    assert best_checkpoint(tmp_path).name == "step-00000002"
    assert newest_checkpoint(tmp_path).name == "step-00000005"
    assert names(tmp_path) == ["step-00000001", "step-00000002", "step-00000004", "step-00000005"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"left out: {damaged}: not a checkpoint of this version")


@pytest.mark.parametrize("file", ["run.json", "model.safetensors", "training.pt"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"\0" * 1000)])
def test_resuming_takes_the_checkpoint_before_a_damaged_one(tmp_path, config, caplog, file, damage):
    for steps in (1, 2, 3):
        save(tmp_path, config, steps, 1 / steps)
    damage(tmp_path / "checkpoints" / "step-00000003" / file)
    folder, checkpoint = load_newest_checkpoint(tmp_path)
    assert (folder.name, checkpoint.run.step, checkpoint.model["weight"].item()) == ("step-00000002", 2, 2.0)
    assert "step-00000003" in caplog.text
    assert "renamed to damaged-step-00000003, resuming from step-00000002" in caplog.text
    assert best_checkpoint(tmp_path).name == "step-00000002"
    save(tmp_path, config, 3, 0.3)
    assert names(tmp_path) == ["damaged-step-00000003", "step-00000002", "step-00000003"]


def test_a_run_without_a_readable_checkpoint_does_not_start_again_silently(tmp_path, config):
    assert load_newest_checkpoint(tmp_path) is None
    folder = save(tmp_path, config, 1)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint can be read; the newest: .*step-00000001"):
        load_newest_checkpoint(tmp_path)
    assert names(tmp_path) == ["step-00000001"]


def test_everything_is_on_the_disk_before_the_name_appears_and_before_older_ones_are_deleted(
    tmp_path, config, monkeypatch
):
    once = replace(config, keep_checkpoints=1)
    save(tmp_path, once, 1)
    events, fsync, rename, rmtree = [], os.fsync, Path.rename, checkpoints.shutil.rmtree

    def record_sync(descriptor):
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def record_rename(path, target):
        events.append(("rename", target.name))
        return rename(path, target)

    def record_delete(path, **options):
        if path.exists():
            events.append(("delete", path.name))
        rmtree(path, **options)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", record_rename)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", record_delete)
    save(tmp_path, once, 2)
    at = events.index(("rename", "step-00000002"))
    *files, scratch = [name for _, name in events[:at]]
    assert sorted(files) == ["config.yaml", "model.safetensors", "run.json", "training.pt"]
    assert scratch.startswith(".")
    assert events[at + 1 :] == [("sync", "checkpoints"), ("sync", tmp_path.name), ("delete", "step-00000001")]
