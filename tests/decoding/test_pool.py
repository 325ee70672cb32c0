import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import DecodingPool, decode_all
from lyrics_asr.language_model import build_language_model
from lyrics_asr.options import DecodingOptions
from tests.emissions import ENGLISH, TINY, path_emissions, random_emissions


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


def test_a_process_that_dies_takes_no_other_song_with_it(search, monkeypatch):
    decode, songs = BeamSearch.decode, [path_emissions("MY_|" * count) for count in (1, 2, 3, 4, 5, 6)]
    expected = [search.decode(song) for song in songs]

    def crash(self, emissions, hot_words):
        if len(emissions.log_probs) == 4 * 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(self, emissions, hot_words)

    monkeypatch.setattr(BeamSearch, "decode", crash)
    with DecodingPool(search, 2) as pool, ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(pool.decode, song) for song in songs * 2]
        for number, future in enumerate(futures):
            if number % 6 == 2:
                with pytest.raises(RuntimeError, match="the beam search died"):
                    future.result()
            else:
                assert future.result() == expected[number % 6]


def test_an_error_in_a_process_reaches_the_caller(search):
    with pytest.raises(ValueError, match="a different vocabulary"):
        decode_all(search, [path_emissions("A|"), random_emissions(3, 0, TINY)], processes=2)


CALLER = """
import os, time
from lyrics_asr.options import DecodingOptions
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import DecodingPool
from tests.emissions import TINY, random_emissions

BeamSearch.decode = lambda *_: os.getpid()
with DecodingPool(BeamSearch(TINY, None, DecodingOptions()), 1) as pool:
    print(pool.decode(random_emissions(3, 0)), flush=True)
    time.sleep(100)
"""


def test_processes_end_with_a_caller_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True) as caller:
        status = Path(f"/proc/{int(caller.stdout.readline())}/stat")
        assert status.exists()
        caller.kill()
    deadline = time.monotonic() + 30
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline
