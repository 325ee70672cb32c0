"""Runs on songs that are made meanwhile."""

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
from lyrics_asr.training.config import MixOptions, OptimizerOptions, StageOptions, StreamOptions, TrainingConfig
from lyrics_asr.training.data.batch_sources import StreamedBatches
from lyrics_asr.training.data.stem_chunks import ChunkBatches
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.training.validation import Hypothesis, rates_by_language

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Round(ChunkBatches):
    """Stands for the batches of a round: each is its round and number."""

    def __init__(self, number, batches):
        self.batches = [f"{number}.{batch}" for batch in range(batches)]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def source(asked, rank=0, world_size=1):
    def batches_of(number):
        asked.append(number)
        return Round(number, min(4, 10 - 4 * number))

    return StreamedBatches(batches_of, 10, 4, rank=rank, world_size=world_size, workers=0)


def test_batches_go_on_from_any_step_as_if_they_had_not_stopped():
    asked = []
    everything = list(source(asked))
    assert everything == ["0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3", "2.0", "2.1"]
    assert asked == [0, 1, 2]
    for step in range(11):
        stopped = source([])
        batches = iter(stopped)
        for _ in range(step):
            next(batches)
        again = source(asked := [])
        again.load_state_dict(stopped.state_dict())
        assert list(again) == everything[step:]
        assert asked == list(range(step // 4, 3)) or step == 10
    of_two = [list(source([], rank, 2)) for rank in range(2)]
    assert [batch for pair in zip(*of_two, strict=True) for batch in pair] == everything


def entries(output):
    return [json.loads(line) for line in Path(output, "log.jsonl").read_text().splitlines()]


@pytest.fixture
def config(training_config, training_corpus, tmp_path):
    """Three rounds of two steps; songs to validate on in two languages."""
    songs = [replace(song, language="es", id=f"es {song.id}") for song in read_manifest(training_corpus)]
    spanish = training_corpus.with_name("spanish.jsonl")
    write_manifest(spanish, songs)
    moved = OptimizerOptions(1e-3, warmup_steps=1)
    yield replace(
        training_config,
        training=[],
        stream=StreamOptions(
            songs_per_round=2, steps_per_round=2, seed=8, lines=1, lyrics=str(ROOT / "data" / "lyrics")
        ),
        mix=MixOptions(silence_prob=0.2),
        development=[str(training_corpus), str(spanish)],
        validation_examples=2,
        validate_every_steps=100,
        checkpoint_every_steps=1,
        log_every_steps=1,
        workers=0,
        stages=[StageOptions("heard", 6, batch_size=2, chunk_seconds=2.0, input="separated", acoustic=moved)],
    )
    assert not multiprocessing.active_children()


def test_a_run_killed_in_the_middle_of_a_round_goes_on_as_the_uninterrupted_one(config, tmp_path):
    whole = loop.train(config, JsonLog(Path(config.output)))
    log = entries(config.output)
    assert [entry["round"] for entry in log if "waited for songs" in entry] == [0, 1, 2]
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
    rates = rates_by_language(hypotheses)
    assert rates["wer en"] == rates["cer en"] == 0
    assert rates["wer es"] == 1 / 4
    assert rates_by_language(hypotheses[1:]) == {}


def test_the_config_of_a_stream_is_valid():
    config = load_config(TrainingConfig, ROOT / "configs" / "stream.yaml")
    assert config.stream is not None
    assert not config.training
    with pytest.raises(ValueError, match="give either training, manifests of songs with stems, or stream, or cuts"):
        replace(config, training=["songs.jsonl"])
    with pytest.raises(ValueError, match=r"stream\.languages\.es -1\.0 is out of range"):
        load_config(TrainingConfig, ROOT / "configs" / "stream.yaml", ["stream.languages.es=-1"])
