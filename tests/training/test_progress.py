import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lyrics_asr.training import loop
from lyrics_asr.training.progress import Progress
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog


def test_rates_are_of_the_steps_since_the_last_entry_and_the_time_left_is_of_all(monkeypatch):
    clock = iter([100.0, 104.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress(later_steps=10, device=torch.device("cpu"))
    for _ in range(2):
        progress.add(6.0)
    entry = progress.entry(left_steps=3)
    assert (entry["steps_per_second"], entry["audio_seconds_per_second"]) == (0.5, 3.0)
    assert entry["eta_seconds"] == 2 * 13  # 2 s per step
    progress.add(9.0)
    entry = progress.entry(left_steps=2)
    assert entry["steps_per_second"] == pytest.approx(1 / 6, abs=1e-3)
    assert entry["audio_seconds_per_second"] == 1.5
    assert entry["eta_seconds"] == round(10 / 3 * 12)
    assert 0.01 < entry["peak_memory_gib"] < 1000


def test_the_log_tells_loss_epoch_audio_and_time_left(training_config):
    """An epoch of four cuts in batches of two, and a weight for each of two losses."""
    stage = StageOptions("only", steps=3, acoustic=OptimizerOptions(1e-3), ctc_weight=0.5, frame_weight=2.0)
    config = replace(training_config, stages=[stage], log_every_steps=1, validate_every_steps=100)
    config = replace(config, cuts=replace(config.cuts, limit=4), validation_examples=1)
    loop.train(config, JsonLog(Path(config.output)))
    entries = [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "ctc" in entry]
    assert len(steps) == 3
    for entry in steps:
        assert entry["loss"] == pytest.approx(0.5 * entry["ctc"] + 2.0 * entry["frames"], rel=1e-5)
        assert 1 < entry["audio_seconds"] <= 6.1
        assert entry["unreadable_cuts"] == 0
    assert steps[0]["epoch"] == 0
    assert steps[-1]["epoch"] >= 1
    assert steps[-1]["eta_seconds"] == 0
    assert 0 <= steps[0]["eta_seconds"] < 600  # in whole seconds, which these steps may not fill
