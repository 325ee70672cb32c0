"""What a run validates, when it stops, and what it exports."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.models.registry import load_model
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import best_checkpoint, load_checkpoint, newest_checkpoint
from lyrics_asr.training.examples import development_examples
from lyrics_asr.training.export import finish
from lyrics_asr.training.setup import starting_model
from lyrics_asr.training.trackers import JsonLog
from lyrics_asr.training.validation import Hypothesis, rates_by_group


def entries(config):
    return [json.loads(line) for line in Path(config.output, "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("wers", "patience", "stops"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, 0.4, 0.6, 0.5], 2, True),
        ([0.5, 0.4, 0.6, 0.3], 2, False),
        ([0.5, 0.6, 0.7], 0, False),
    ],
)
def test_a_stage_has_converged_when_no_validation_is_better(wers, patience, stops):
    assert loop.has_converged(wers, patience) is stops


@pytest.fixture
def config(training_config):
    stage = replace(training_config.stages[0], steps=9, patience=2)
    return replace(training_config, stages=[stage], validate_every_steps=1, validation_examples=1)


def test_a_stage_ends_early_and_stays_ended(config, monkeypatch):
    wers, measured = iter([0.9, 0.5, 0.6, 0.55, 0.4]), loop.measure

    def measure(*args, **options):
        metrics, hypotheses = measured(*args, **options)
        return replace(metrics, wer=next(wers)), hypotheses

    monkeypatch.setattr(loop, "measure", measure)
    log = JsonLog(Path(config.output))
    loop.train(config, log)
    assert newest_checkpoint(Path(config.output)).name == "step-00000004"
    assert best_checkpoint(Path(config.output)).name == "step-00000002"
    loop.train(config, log)  # resumed
    stopped = [entry for entry in entries(config) if "stopped" in entry]
    assert [entry["step"] for entry in stopped] == [4, 4]
    assert newest_checkpoint(Path(config.output)).name == "step-00000004"


def test_the_moving_average_is_validated_and_exported(config, monkeypatch):
    config = replace(config, ema_decay=0.9, stages=[replace(config.stages[0], steps=3)], validate_every_steps=3)
    validated, measured = {}, loop.measure

    def measure(model, *args, **options):
        validated.update({name: value.detach().clone() for name, value in model.named_parameters()})
        return measured(model, *args, **options)

    monkeypatch.setattr(loop, "measure", measure)
    log = JsonLog(Path(config.output))
    last = dict(loop.train(config, log).named_parameters())
    average = load_checkpoint(newest_checkpoint(Path(config.output))).average
    assert average.keys() == {name for name in last if name.startswith("acoustic")}
    exported = dict(load_model(str(finish(config, log)), device="cpu").named_parameters())
    for name, value in average.items():
        assert torch.equal(validated[name], value)
        torch.testing.assert_close(exported[name], value.half().float(), rtol=0, atol=0)
    assert any(not torch.equal(last[name], value) for name, value in average.items())


def test_some_songs_of_every_manifest_are_validated(config, tmp_path):
    manifests = []
    for name in ("pop", "folk"):
        songs = [Song(str(number), tmp_path / name / "song.wav", "la la", (), "en") for number in range(3)]
        (tmp_path / name).mkdir()
        manifests.append(tmp_path / name / "songs.jsonl")
        write_manifest(manifests[-1], songs)
    config = replace(config, development=[str(path) for path in manifests], validation_examples=3)
    examples = development_examples(config, starting_model(config))
    assert [example.corpus for example in examples] == ["pop/songs", "folk/songs", "pop/songs"]


def test_several_files_of_cuts_are_validated(config, training_cuts):
    config = replace(config, development=[], development_cuts=[str(training_cuts), str(training_cuts)])
    examples = development_examples(replace(config, validation_examples=2), starting_model(config))
    assert len(examples) == 2
    assert examples[0].corpus.endswith("/cuts")
    for shards in ("s3://bucket/train", str(training_cuts.parent)):
        on_shards = replace(config, development_cuts=shards)
        with pytest.raises(
            ValueError, match=rf"^{shards}: is not a file on disk; development_cuts needs files of cuts"
        ):
            development_examples(on_shards, starting_model(config))
    with pytest.raises(ValueError, match="development_cuts must be a file or a list of files, not"):
        replace(config, development_cuts={"file": "a"})


def test_rates_are_given_by_language_and_by_corpus():
    hypotheses = [
        Hypothesis("0", "a b", "en", "a b", None, None, None, None, "pop/songs"),
        Hypothesis("1", "a b", "en", "a c", None, None, None, None, "folk/songs"),
        Hypothesis("2", "a b", "en", "c d", None, None, None, None, "folk/songs"),
    ]
    rates = rates_by_group(hypotheses)
    assert (rates["wer pop/songs"], rates["wer folk/songs"]) == (0.0, 0.75)
    assert rates.keys() == {f"{metric} {corpus}/songs" for metric in ("cer", "wer") for corpus in ("pop", "folk")}
