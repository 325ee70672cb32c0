"""The benchmark of separators runs in small, resumes, and finds the intervals of known values."""

import json
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from benchmarks import separators
from lyrics_asr.synthesis import corpus as synthetic
from lyrics_asr.training.data.cut_reader import has_words
from lyrics_asr.training.failures import TrainingError
from tests.fork_server import forked


def test_the_interval_of_a_mean_is_that_over_seeds_and_songs():
    rng = np.random.default_rng(0)
    songs = np.tile(rng.normal(3, 1, 50), (4, 1))  # all seeds alike
    found = separators._interval(songs)
    standard_error = songs[0].std() / np.sqrt(50)
    assert found["mean"] == pytest.approx(songs.mean())
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert separators._interval(np.full((3, 5), 2.0)) == {"mean": 2.0, "low": 2.0, "high": 2.0}


def test_rows_are_compared_song_by_song(tmp_path, capsys):
    def result(offset):
        return {"songs": {"a": {"SI-SDR": 1.0 + offset}, "b": {"SI-SDR": 9.0 + offset}}}

    rows = {"U-Net": [result(0.0), result(1.0)], "few stems": [result(-2.0), result(-1.0)]}
    separators.write_report(tmp_path, rows)
    report = json.loads((tmp_path / "separators.json").read_text(encoding="utf-8"))
    difference = report["few stems"]["difference"]
    assert (difference["mean"], difference["low"], difference["high"]) == (-2.0, -2.0, -2.0)
    assert report["U-Net"]["SI-SDR"]["mean"] == 5.5
    assert "-2.0 (-2.0, -2.0) SI-SDR against U-Net" in capsys.readouterr().out


def test_a_training_that_fails_is_kept_and_the_seeds_that_both_rows_have_are_compared(tmp_path, monkeypatch):
    def collapse(config, log):
        raise TrainingError("the separator has collapsed")

    def result(offset):
        return {"songs": {"a": {"SI-SDR": 1.0 + offset}, "b": {"SI-SDR": 9.0 + offset}}}

    monkeypatch.setattr(separators, "train", collapse)
    cuts = dict.fromkeys(("few", "test", *separators.SOLO), tmp_path)
    failed = separators.run(separators.ROWS["few stems, wasserstein"], 0, cuts, [], 1.0)
    assert failed == {"failed": "the separator has collapsed"}
    rows = {"U-Net": [result(0.0), result(1.0)], "few stems": [failed, result(-1.0)], "Wave-U-Net": [failed]}
    separators.write_report(tmp_path, rows)
    report = json.loads((tmp_path / "separators.json").read_text(encoding="utf-8"))
    assert report["few stems"]["difference"]["mean"] == -2.0
    assert report["few stems"]["seeds"] == 1
    assert report["Wave-U-Net"] == {"seeds": 0, "failed": ["the separator has collapsed"]}
    table = (tmp_path / "separators.md").read_text(encoding="utf-8")
    assert "| few stems (1 of 2 trainings failed) |" in table
    assert "| Wave-U-Net (1 of 1 trainings failed) |" in table


@pytest.mark.slow
def test_a_small_run_measures_every_kind_of_row_and_resumes(tmp_path):
    rows = ["U-Net with F0", "U-Net, pairs, max rule", "Wave-U-Net and lyrics", "lyrics only", "few stems, wasserstein"]
    with forked(synthetic):
        separators.main([str(tmp_path), "--small", "--rows", *rows])
    report = json.loads((tmp_path / "separators.json").read_text(encoding="utf-8"))
    assert set(report) == {"mixture", *rows}
    measured = {name: {metric for metric in separators.METRICS if metric in report[name]} for name in report}
    separation = {"SDR", "SIR", "SAR", "SI-SDR", "F0, tracked"}
    assert measured == {
        "mixture": separation,
        "U-Net with F0": separation | {"F0, joint"},
        "U-Net, pairs, max rule": separation,
        "Wave-U-Net and lyrics": separation | {"CTC"},
        "lyrics only": {"CTC"},
        "few stems, wasserstein": separation,
    }
    true_stems = [
        (cut.id, cut.start, cut.duration, has_words(cut))
        for cut in CutSet.from_file(tmp_path / "cuts" / "all" / "cuts.jsonl.gz")
    ]
    targets = {}
    for name in ("subtracted", "max rule"):
        lines = (tmp_path / "songs" / "pairs" / name / "checks.jsonl").read_text(encoding="utf-8").splitlines()
        targets[name] = [json.loads(line)["target"] for line in lines]
        cuts = CutSet.from_file(tmp_path / "cuts" / name / "cuts.jsonl.gz")
        assert [(cut.id, cut.start, cut.duration, has_words(cut)) for cut in cuts] == true_stems
        assert {Path(cut.vocals.sources[0].source).parents[1].name for cut in cuts} == {"stems"}
    assert targets == {"subtracted": ["subtracted"] * 4, "max rule": ["max rule"] * 4}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    separators.main([str(tmp_path), "--small", "--rows", *rows])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()} == before
