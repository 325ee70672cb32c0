import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import torch

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.pool import DecodingPool, decode_all
from lyrics_asr.language_model import build_language_model
from lyrics_asr.language_model.kenlm_tools import find_tool
from lyrics_asr.options import DecodingOptions
from tests.emissions import ENGLISH, TINY, path_emissions, random_emissions

pytestmark = pytest.mark.slow


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


class CrashingSearch(BeamSearch):
    """Dies on songs of 12 frames."""

    def decode(self, emissions, hot_words=frozenset()):
        if len(emissions.log_probs) == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(emissions, hot_words)


def test_a_worker_that_dies_loses_no_other_song(search):
    songs = [path_emissions("MY_|" * count) for count in (1, 2, 3, 4, 5, 6)]
    expected = [search.decode(song) for song in songs]
    with DecodingPool(partial(CrashingSearch, *search.__reduce__()[1]), 2) as pool, ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(pool.decode, song) for song in songs * 2]
        for number, future in enumerate(futures):
            if number % 6 == 2:
                with pytest.raises(RuntimeError, match="the beam search died"):
                    future.result()
            else:
                assert future.result() == expected[number % 6]


class ParallelSearch(BeamSearch):
    """Enters a parallel region of OpenMP before it decodes, which never ends in a fork of a process that did so too."""

    def decode(self, emissions, hot_words=frozenset()):
        torch.set_num_threads(2)
        parallel_region()
        return super().decode(emissions, hot_words)


def parallel_region():
    return torch.ones(1_000_000).exp().sum()


def test_workers_decode_while_threads_of_the_caller_are_busy(search):
    song = random_emissions(50, 50, ENGLISH)
    threads = torch.get_num_threads()
    finished = Event()

    def busy():
        torch.set_num_threads(2)
        while not finished.is_set():
            parallel_region()

    with ThreadPoolExecutor(1) as others:
        other = others.submit(busy)
        torch.set_num_threads(2)
        parallel_region()  # in the thread that starts the workers, too
        try:
            with DecodingPool(partial(ParallelSearch, *search.__reduce__()[1]), 2) as pool:
                assert pool.decode(song) == search.decode(song)
        finally:
            finished.set()
            torch.set_num_threads(threads)
        other.result()


class MappedFiles(BeamSearch):
    """Gives the files that its process has mapped to memory, and its parent's id."""

    def decode(self, emissions, hot_words=frozenset()):
        return Path("/proc/self/maps").read_text(), os.getppid()


@pytest.mark.skipif(
    find_tool("build_binary") is None, reason="KenLM's build_binary is neither on PATH nor in KENLM_BIN"
)
def test_a_binary_language_model_is_mapped_and_not_copied(tmp_path):
    binary = tmp_path / "lm.bin"
    build_language_model(["hello my love", "my heart", "love my dear heart"], 3, binary)
    with DecodingPool(partial(MappedFiles, ENGLISH, binary, DecodingOptions()), 1) as pool:
        files, parent = pool.decode(path_emissions("A|"))
    assert str(binary) in files
    assert parent != os.getpid()  # but the fork server


def test_an_error_in_a_process_reaches_the_caller(search):
    with pytest.raises(ValueError, match="a different vocabulary"):
        decode_all(search, [path_emissions("A|"), random_emissions(3, 0, TINY)], processes=2)


class ProcessIds(BeamSearch):
    """Gives the id of the process that decodes."""

    def decode(self, emissions, hot_words=frozenset()):
        return os.getpid()


CALLER = """
import time
from functools import partial
from lyrics_asr.options import DecodingOptions
from lyrics_asr.decoding.pool import DecodingPool
from tests.decoding.test_pool import ProcessIds
from tests.emissions import TINY, random_emissions

with DecodingPool(partial(ProcessIds, TINY, None, DecodingOptions()), 1) as pool:
    print(pool.decode(random_emissions(3, 0)), flush=True)
    time.sleep(100)
"""


def test_workers_end_with_a_caller_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True) as caller:
        worker = int(caller.stdout.readline())
        server = int(Path(f"/proc/{worker}/stat").read_text().split()[3])
        assert server != caller.pid
        caller.kill()
    deadline = time.monotonic() + 30
    while (is_running(worker) or is_running(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)
    assert not is_running(server)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
