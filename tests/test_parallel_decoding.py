import os
import signal

import pytest

from lyrics_asr.config import DecodingOptions
from lyrics_asr.decoding import BeamSearch
from lyrics_asr.language_model import build_language_model
from lyrics_asr.parallel_decoding import decode_all
from tests.emissions import ENGLISH, TINY, planted, random_emissions


@pytest.fixture
def search(tmp_path):
    path = tmp_path / "lm.arpa"
    build_language_model(["hello my love", "my heart", "love my dear heart"], 3, path)
    return BeamSearch(ENGLISH, path, DecodingOptions())


@pytest.mark.parametrize("processes", [1, 3, None])
def test_any_number_of_processes_gives_what_one_song_after_the_other_gives(search, processes):
    songs = [random_emissions(frames, frames, ENGLISH) for frames in (50, 0, 300, 20, 90)]
    hot_words = [{"zoe"}, set(), {"my"}, set(), {"e", "t"}]
    assert decode_all(search, songs, processes=processes) == [search.decode(song) for song in songs]
    expected = [search.decode(song, words) for song, words in zip(songs, hot_words, strict=True)]
    assert decode_all(search, songs, processes=processes, hot_words=hot_words) == expected
    assert decode_all(search, [], processes=processes) == []


def test_a_process_that_is_killed_is_told(search, monkeypatch):
    monkeypatch.setattr(BeamSearch, "decode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError, match=r"killed.*use fewer processes"):
        decode_all(search, [planted("A|")] * 3, processes=2)


def test_an_error_in_a_process_reaches_the_caller(search):
    with pytest.raises(ValueError, match="another vocabulary"):
        decode_all(search, [planted("A|"), random_emissions(3, 0, TINY)], processes=2)
