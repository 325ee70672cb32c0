"""The models that ship in the package, on the demo songs and on real ones: a regression of any stage shows here."""

import pytest

from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import evaluate, load_songs
from tests.paths import DEMO, JAMENDO

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["embedded", "embedded-english"])
def model(request):
    return request.param


@pytest.fixture(scope="module")
def evaluation(model, tmp_path_factory):
    config = EvaluationConfig(folder=DEMO, output=tmp_path_factory.mktemp("evaluation"), model=model, device="cpu")
    return evaluate(load_songs(config), config)


def test_they_time_the_words_of_every_demo_song(evaluation):
    assert evaluation.failed == evaluation.missing_audio == ()
    assert len(evaluation.songs) == 3
    for song in evaluation.songs:
        figures = estimates([song])
        assert figures["words_median_pooled"].value < 0.04, song.id
        assert figures["words_mean_over_songs"].value < 0.06, song.id


def test_they_recognize_something_of_the_demo_songs(model, evaluation):
    # That for English gets 28 % of the letters wrong where 12 % are wanted (see README); the limits follow them.
    figures = estimates(evaluation.songs)
    assert figures["greedy_cer"].value < {"embedded": 0.4, "embedded-english": 0.31}[model]
    assert figures["wer"].value < figures["greedy_wer"].value  # its language model helps


@pytest.mark.skipif(not JAMENDO.is_dir(), reason="needs JamendoLyrics; name its folder in LYRICS_ASR_JAMENDO")
def test_the_one_for_four_languages_times_most_words_of_real_songs(tmp_path):
    config = EvaluationConfig(corpus="jamendo", folder=JAMENDO, output=tmp_path, model="embedded", device="cpu")
    songs = [song for song in load_songs(config) if song.audio.exists()]
    figures = estimates(evaluate(songs, config).songs)
    assert figures["words_within_0.3"].value > 0.6
    assert figures["words_median_pooled"].value < 0.25
    assert figures["words_mean_over_songs"].value < 1.5


def test_the_demo_lyrics_are_those_of_the_manifest():
    for song in read_manifest(DEMO / "manifest.jsonl"):
        assert song.audio.with_suffix(".txt").read_text("utf-8").strip() == song.lyrics
