import json
import math
from pathlib import Path

import pytest

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.predictions import Prediction
from lyrics_asr.evaluation.results import collect, compare, read_results, write_results
from lyrics_asr.evaluation.run import Evaluation, FailedSong
from lyrics_asr.evaluation.scores import score_song


def scored(song_id, text, language="en", genre=None):
    song = Song(song_id, Path("x.mp3"), "one two three four", (), language, genre=genre)
    return score_song(song, Prediction(10.0, text))


def collected(*songs, name="model"):
    evaluation = Evaluation(songs, (FailedSong("f", "ValueError: no"),), ("m",))
    return collect(evaluation, EvaluationConfig(transcripts=Path(name)))


def test_results_are_read_as_they_were_written(tmp_path):
    results = collected(scored("a", "one two three four"), scored("ä/b", "one"), scored("c", ""))
    write_results(results, tmp_path / "results.json")
    read = read_results(tmp_path)
    assert read.name == "model"
    assert {song_id: dict(statistics) for song_id, statistics in read.statistics.items()} == {
        song.id: {key: tuple(map(float, each)) for key, each in song.statistics.items()} for song in results.songs
    }


def test_groups_hold_their_songs_alone(tmp_path):
    songs = [
        scored("a", "one two three four", "en", "Rock"),
        scored("b", "", "de", "Rock"),
        scored("c", "one two", "de"),
    ]
    results = collected(*songs)
    assert results.by_language["en"]["wer"].value == 0
    assert results.by_language["de"]["wer"].value == 6 / 8
    assert results.by_language["de"]["wer"].songs == 2
    # A single genre tells nothing beside all songs.
    assert results.by_genre == {}
    write_results(results, tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["by_language"]["de"]["wer"]["value"] == 6 / 8
    assert document["metrics"]["wer"]["unit"] == "share"
    assert document["failed"] == [{"id": "f", "reason": "ValueError: no"}]
    assert document["songs"][2]["metrics"]["wer"] == 0.5


def test_a_comparison_is_over_the_songs_that_both_have(tmp_path):
    all_words = "one two three four"
    write_results(collected(*(scored(i, all_words) for i in "abcd"), name="good"), tmp_path / "good.json")
    write_results(collected(*(scored(i, "one two three") for i in "bcde"), name="bad"), tmp_path / "bad.json")
    found = compare(read_results(tmp_path / "good.json"), read_results(tmp_path / "bad.json"))
    assert (found.first, found.second) == ("good", "bad")
    assert (found.songs, found.only_first, found.only_second) == (3, 1, 1)
    wer = found.differences["wer"]
    assert (wer.first, wer.second, wer.difference, wer.low, wer.high) == (0, 0.25, -0.25, -0.25, -0.25)
    assert wer.p < 0.01
    assert "words_mean_pooled" not in found.differences
    write_results(collected(scored("a", all_words), name="good"), tmp_path / "one.json")
    with pytest.raises(ValueError, match="good and good have 1 songs in common"):
        compare(read_results(tmp_path / "good.json"), read_results(tmp_path / "one.json"))


SCHEMA = "lyrics-asr/evaluation/3"


def with_statistics(key, values):
    return {"schema": SCHEMA, "name": "x", "songs": [{"id": "a", "statistics": {key: values}}]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not results of this version"),
        ({"schema": "lyrics-asr/evaluation/1"}, "not results of this version"),
        ({"schema": SCHEMA}, "damaged"),
        ({"schema": SCHEMA, "name": "x", "songs": [1]}, "damaged"),
        (with_statistics("wer", [1]), "do not fit"),
        (with_statistics("wer", [1, math.nan]), "do not fit"),
        (with_statistics("words_median_pooled", []), "do not fit"),
        (with_statistics("wer", "12"), "must be a list, not str"),
        (with_statistics("luck", [1, 2]), "unknown metric 'luck'"),
    ],
)
def test_results_that_are_not_ours_are_named(tmp_path, document, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_results_that_are_not_there_or_not_json_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such results"):
        read_results(tmp_path / "none.json")
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"results\.json: not JSON"):
        read_results(tmp_path)
