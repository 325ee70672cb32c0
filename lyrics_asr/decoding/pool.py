"""Beam searches in processes of their own that share one language model in memory.

The processes are forks of the caller's: the language model, the letter tree and the lexicon are there once, whatever
their number. They use no accelerator, and one thread each: a parallel region of OpenMP would hang in a fork.
"""

import multiprocessing
import os
import time
from collections.abc import Sequence, Set
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Lock, Thread
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.types import Emissions, TimedWord

_search: BeamSearch | None = None
"""What a process decodes with."""


class DecodingPool:
    """Processes that decode for any number of threads.

    A process that dies, because the system kills it when memory is short or because a decoder crashes, takes no other
    song with it: all songs that were being decoded are decoded again, each in a process of its own.

    Args:
        search: what to decode with.
        processes: at least 1. They are there when the constructor returns, so that threads begun later are not forked.
    """

    def __init__(self, search: BeamSearch, processes: int) -> None:
        self._search = search
        self._processes = processes
        self._lock = Lock()
        self._pool = self._started(processes)

    def decode(self, emissions: Emissions, hot_words: Set[str] = frozenset()) -> tuple[TimedWord, ...]:
        """See `BeamSearch.decode`; returns when it is done.

        Raises:
            ValueError: emissions of another vocabulary.
            RuntimeError: the process died, twice.
        """
        pool = self._pool
        try:
            return _submit(pool, emissions, hot_words).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._started(self._processes)
        with self._started(1) as alone:
            try:
                return _submit(alone, emissions, hot_words).result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    "the beam search died: it crashed, or was killed as memory ran out; a narrower "
                    "decoding.beam_width needs less"
                ) from error

    def __enter__(self) -> "DecodingPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def _started(self, processes: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("fork")
        pool = ProcessPoolExecutor(processes, context, initializer=_adopt, initargs=(self._search, os.getpid()))
        pool.submit(int).result()  # with the first task, all processes are forked
        return pool


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def decode_all(
    search: BeamSearch,
    songs: Sequence[Emissions],
    *,
    processes: int | None = None,
    hot_words: Sequence[Set[str]] | None = None,
) -> list[tuple[TimedWord, ...]]:
    """The words of the best hypothesis of every song, as `BeamSearch.decode` gives them.

    Args:
        search: what to decode with.
        songs: in any order.
        processes: as many as there are cores for this process when None.
        hot_words: of every song.

    Raises:
        ValueError: emissions of another vocabulary.
        RuntimeError: a process died.
    """
    processes = usable_cores() if processes is None else processes
    with DecodingPool(search, processes) as pool, ThreadPoolExecutor(processes) as threads:
        return list(threads.map(pool.decode, songs, [frozenset()] * len(songs) if hot_words is None else hot_words))


def end_with(parent: int) -> None:
    """End this process, in a thread of it, when its parent is killed, which closes no queue that it waits on."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _submit(pool: ProcessPoolExecutor, song: Emissions, hot_words: Set[str]) -> Future[tuple[TimedWord, ...]]:
    # As a NumPy array: PyTorch would send a tensor through shared memory, with a file descriptor for each.
    packed = song.log_probs.numpy(), song.vocabulary, song.grid, song.duration_seconds
    return pool.submit(_decode, frozenset(hot_words), *packed)


def _adopt(search: BeamSearch, parent: int) -> None:
    global _search
    _search = search
    torch.set_num_threads(1)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def _decode(hot_words: Set[str], log_probs: NDArray[np.float32], *others: Any) -> tuple[TimedWord, ...]:
    assert _search is not None  # `_adopt` has run
    return _search.decode(Emissions(torch.from_numpy(log_probs), *others), hot_words)
