"""The model that ships in the package, on the demo songs: a regression of any stage shows here."""

from pathlib import Path

import pytest

from lyrics_asr.datasets.manifest import read_manifest
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import EvaluationConfig, evaluate, load_songs, make_predictor
from lyrics_asr.model import EMBEDDED_FOLDER, load_model

DEMO = Path(__file__).parent.parent / "data" / "demo"


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    config = EvaluationConfig(folder=DEMO, output=tmp_path_factory.mktemp("evaluation"))
    predictor = make_predictor(load_model("embedded", device="cpu"), config)
    return evaluate(load_songs(config), config, predictor.predict)


def test_it_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED_FOLDER.rglob("*") if path.is_file()) < 30e6


def test_it_times_the_words_of_every_demo_song(evaluation):
    assert evaluation.failed == evaluation.missing_audio == ()
    assert len(evaluation.songs) == 3
    for song in evaluation.songs:
        figures = estimates([song])
        assert figures["words_median_pooled"].value < 0.04, song.id
        assert figures["words_mean_over_songs"].value < 0.06, song.id


def test_it_hears_something_of_the_demo_songs(evaluation):
    # It gets 28 % of the letters wrong where 12 % are wanted (see README); the limit follows it as it learns.
    figures = estimates(evaluation.songs)
    assert figures["greedy_cer"].value < 0.31
    assert figures["wer"].value < figures["greedy_wer"].value  # its language model helps


def test_the_demo_lyrics_are_those_of_the_manifest():
    for song in read_manifest(DEMO / "manifest.jsonl"):
        assert song.audio.with_suffix(".txt").read_text("utf-8").strip() == song.lyrics
