"""The model that ships in the package, on the demo songs: a regression of any stage shows here."""

from pathlib import Path

import pytest

from lyrics_asr.datasets.manifest import read_manifest
from lyrics_asr.metrics import alignment_errors, character_errors
from lyrics_asr.model import EMBEDDED_FOLDER, load_model
from lyrics_asr.pipeline import align, transcribe
from lyrics_asr.text import normalize, parse_lyrics

DEMO = Path(__file__).parent.parent / "data" / "demo"
SONGS = read_manifest(DEMO / "manifest.jsonl")


@pytest.fixture(scope="module")
def model():
    return load_model("embedded", device="cpu")


def test_it_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED_FOLDER.rglob("*") if path.is_file()) < 30e6


@pytest.mark.parametrize("song", SONGS, ids=[song.id for song in SONGS])
def test_it_times_the_words_of_the_demo_songs(model, song):
    transcript = align(song.audio, parse_lyrics(song.lyrics), model)
    words = [word for line in transcript.lines for word in line.words]
    assert [word.text for word in words] == [word.text for word in song.words]
    onsets = [[word.start_seconds for word in timed] for timed in (song.words, words)]
    errors = alignment_errors(*onsets)
    assert errors.median_seconds < 0.04
    assert errors.mean_seconds < 0.06


def test_it_hears_something_of_the_demo_songs(model):
    # It gets 31 % of the letters wrong where 12 % are wanted (see README); the limit follows it as it learns.
    heard = [normalize(transcribe(song.audio, model, greedy=True).text) for song in SONGS]
    assert character_errors([normalize(song.lyrics) for song in SONGS], heard).rate < 0.35


def test_the_demo_lyrics_are_those_of_the_manifest():
    for song in SONGS:
        assert song.audio.with_suffix(".txt").read_text("utf-8").strip() == song.lyrics
