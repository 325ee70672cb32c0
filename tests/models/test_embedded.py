"""The models that ship in the package, on the demo songs and on real ones: a regression of any stage shows here."""

from dataclasses import replace

import pytest

from lyrics_asr.audio import read_audio, write_audio
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import evaluate, load_songs
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from tests.paths import DEMO, JAMENDO

pytestmark = pytest.mark.slow

real = pytest.mark.skipif(not JAMENDO.is_dir(), reason="needs JamendoLyrics; name its folder in LYRICS_ASR_JAMENDO")


@pytest.mark.parametrize("model", ["embedded", "embedded-small"])
def test_they_time_the_words_of_every_demo_song(model, tmp_path):
    config = EvaluationConfig(folder=DEMO, output=tmp_path, model=model, transcriber="none", device="cpu")
    evaluation = evaluate(load_songs(config), config)
    assert evaluation.failed == evaluation.missing_audio == ()
    assert len(evaluation.songs) == 3
    for song in evaluation.songs:
        figures = estimates([song])
        assert figures["words_median_pooled"].value < 0.04, song.id
        assert figures["words_mean_over_songs"].value < 0.06, song.id


@real
def test_the_small_one_times_most_words_of_a_real_song(tmp_path):
    config = EvaluationConfig(corpus="jamendo", folder=JAMENDO, output=tmp_path, model="embedded-small", device="cpu")
    songs = [song for song in with_audio(config) if song.language == "fr"]
    figures = estimates(evaluate(songs, config).songs)
    assert figures["words_within_0.3"].value > 0.7
    assert figures["words_median_pooled"].value < 0.1
    assert figures["words_mean_over_songs"].value < 0.6


@real
def test_the_larger_one_writes_down_and_times_the_first_minute_of_a_real_song(tmp_path):
    config = EvaluationConfig(corpus="jamendo", folder=JAMENDO, output=tmp_path, model="embedded", device="cpu")
    (song,) = (song for song in with_audio(config) if song.language == "fr")
    figures = estimates(evaluate([beginning(song, 60, tmp_path)], config).songs)
    assert figures["words_within_0.3"].value > 0.95
    assert figures["words_median_pooled"].value < 0.06
    assert figures["wer"].value < 0.7
    assert figures["wer"].value < figures["greedy_wer"].value - 0.2


def beginning(song, seconds, folder):
    """The lines that end within the first seconds, and the sound until then."""
    lines = [line for line in song.lines if line.end_seconds < seconds]
    lyrics = "\n".join(line.text for line in lines)
    audio = read_audio(song.audio, sample_rate_hz=44_100, channels=2)
    audio = replace(audio, samples=audio.samples[:, : round(lines[-1].end_seconds * audio.sample_rate_hz)])
    write_audio(folder / "beginning.flac", audio)
    words = song.words[: sum(len(line.words) for line in parse_corpus_lyrics(lyrics).lines)]
    return replace(song, audio=folder / "beginning.flac", lyrics=lyrics, lines=tuple(lines), words=words)


def with_audio(config):
    return [song for song in load_songs(config) if song.audio.exists()]


def test_the_demo_lyrics_are_those_of_the_manifest():
    for song in read_manifest(DEMO / "manifest.jsonl"):
        assert song.audio.with_suffix(".txt").read_text("utf-8").strip() == song.lyrics
