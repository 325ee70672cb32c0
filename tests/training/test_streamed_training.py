"""Runs on songs that are made during training."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import read_manifest, write_manifest
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import newest_checkpoint, read_run
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data import song_stream
from lyrics_asr.training.data.options import CutLoaderOptions, StreamOptions
from lyrics_asr.training.stages import OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.training.validation import Hypothesis, rates_by_group
from tests import fork_server

ROOT = Path(__file__).parents[2]


def entries(output):
    return [json.loads(line) for line in Path(output, "log.jsonl").read_text().splitlines()]


@pytest.fixture
def config(training_config, training_corpus, tmp_path):
    """Two rounds of two steps; songs to validate on in two languages."""
    songs = [replace(song, language="es", id=f"es {song.id}") for song in read_manifest(training_corpus)]
    spanish = training_corpus.with_name("spanish.jsonl")
    write_manifest(spanish, songs)
    moved = OptimizerOptions(1e-3, warmup_steps=1)
    with fork_server.forked(song_stream):
        yield replace(
            training_config,
            cuts=replace(training_config.cuts, cuts=[], silence_prob=0.2),
            stream=StreamOptions(
                songs_per_round=2,
                steps_per_round=2,
                seed=8,
                lines=1,
                lyrics=str(ROOT / "data" / "lyrics"),
                chunk_seconds=3.0,
            ),
            development=[str(training_corpus), str(spanish)],
            validation_examples=2,
            validate_every_steps=100,
            checkpoint_every_steps=1,
            log_every_steps=1,
            stages=[StageOptions("separated", 4, input="separated", acoustic=moved)],
        )
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_a_round_goes_on_as_the_uninterrupted_one(config, tmp_path):
    whole = loop.train(config, JsonLog(Path(config.output)))
    log = entries(config.output)
    assert [entry["round"] for entry in log if "waited for songs" in entry] == [0, 1]
    assert {"wer", "wer en", "wer es"} <= next(entry for entry in log if "wer" in entry).keys()
    assert len(list(Path(config.output, "stream").glob("round-*"))) == 1

    broken = replace(config, output=str(tmp_path / "broken"))

    def killer(entry):
        JsonLog(Path(broken.output))(entry)
        if entry.get("step") == 4 and "ctc" in entry:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(broken, killer)
    assert not multiprocessing.active_children()
    assert read_run(newest_checkpoint(Path(broken.output))).step == 3
    resumed = loop.train(broken, JsonLog(Path(broken.output)))
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="the training data has changed since"):
        loop.train(replace(broken, stream=replace(broken.stream, seed=9)), JsonLog(Path(broken.output)))


def test_rates_are_told_by_language():
    hypotheses = [
        Hypothesis(str(i), reference, language, text, None, None, None, None)
        for i, (reference, language, text) in enumerate(
            [("one two", "en", "one two"), ("tres cuatro", "es", "tres dos"), ("un dos", "es", "un dos")]
        )
    ]
    rates = rates_by_group(hypotheses)
    assert rates["wer en"] == rates["cer en"] == 0
    assert rates["wer es"] == 1 / 4
    assert rates_by_group(hypotheses[1:]) == {}


def test_the_config_of_a_stream_is_valid():
    config = load_config(TrainingConfig, ROOT / "configs" / "stream.yaml")
    assert config.stream is not None
    with pytest.raises(ValueError, match=r"give either cuts\.cuts \(files .*\) or stream"):
        replace(config, cuts=CutLoaderOptions(["cuts.jsonl.gz"]))
    with pytest.raises(ValueError, match=r"stream\.languages\.es -1\.0 is out of range"):
        load_config(TrainingConfig, ROOT / "configs" / "stream.yaml", ["stream.languages.es=-1"])
