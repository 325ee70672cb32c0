"""Beam search in worker processes.

The workers come from a fork server, a process without threads that has imported the decoder, and never from the caller,
whose PyTorch and OpenMP threads a fork would break. Each worker builds the beam search by itself, from the vocabulary,
the language model's path and the options. A KenLM binary (.bin) is mapped from disk, so that the workers share it in
memory; an ARPA file is loaded by each of them. They use no accelerator, and one thread each.
"""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from multiprocessing.forkserver import ensure_running
from threading import Lock, Thread
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.emissions import Emissions
from lyrics_asr.types import TimedWord

_make_search: Callable[[], BeamSearch] | None = None
"""Makes the beam search of a worker process."""


class DecodingPool:
    """Worker processes that decode for any number of threads of the caller.

    A worker that dies (it crashed, or was killed when memory ran out) breaks the pool. The pool is then replaced, and
    each song that was being decoded is decoded again, in a process of its own.

    As with every process that Python does not fork, a script that uses this needs `if __name__ == "__main__":`.

    Args:
        make_search: makes the decoder in a worker, such as `partial(BeamSearch, vocabulary, path, options)`; it is
            pickled.
        processes: at least 1; they are started when there is work for them.
    """

    def __init__(self, make_search: Callable[[], BeamSearch], processes: int) -> None:
        self._make_search = pickle.dumps(make_search)
        self._processes = processes
        self._lock = Lock()
        self._pool = self._start(processes)
        ensure_running()  # the imports of the fork server take seconds; the caller has other work until the first song
        self._pool.submit(_search)  # so does the language model

    def decode(self, emissions: Emissions, hot_words: Set[str] = frozenset()) -> tuple[TimedWord, ...]:
        """Decode a song in a worker and wait for the result; see `BeamSearch.decode`.

        Raises:
            ValueError: the emissions have a different vocabulary, or the language model cannot be read.
            RuntimeError: the worker died, twice.
        """
        pool = self._pool
        try:
            return _submit(pool, emissions, hot_words).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._start(self._processes)
        with self._start(1) as alone:
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

    def _start(self, processes: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([BeamSearch.__module__])
        return ProcessPoolExecutor(processes, context, initializer=_initialize, initargs=(self._make_search,))


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
    """Decode songs in parallel: the words of the best hypothesis of each, as `BeamSearch.decode` returns them.

    Args:
        search: the decoder.
        songs: in any order.
        processes: None for the number of cores that this process may use.
        hot_words: one set per song.

    Raises:
        ValueError: emissions with a different vocabulary.
        RuntimeError: a worker died twice on a song.
    """
    processes = usable_cores() if processes is None else processes
    make, arguments = search.__reduce__()
    with DecodingPool(partial(make, *arguments), processes) as pool, ThreadPoolExecutor(processes) as threads:
        return list(threads.map(pool.decode, songs, [frozenset()] * len(songs) if hot_words is None else hot_words))


def end_with_caller() -> None:
    """Wait for the end of the process that started this one, then end too. For a thread: a killed caller says nothing.

    By process id, the parent of a worker may be the fork server, which lives as long as its workers do.
    """
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)


def _submit(pool: ProcessPoolExecutor, song: Emissions, hot_words: Set[str]) -> Future[tuple[TimedWord, ...]]:
    # As a NumPy array: PyTorch would send a tensor through shared memory, with a file descriptor for each.
    packed = song.log_probs.numpy(), song.vocabulary, song.grid, song.duration_seconds
    return pool.submit(_decode, frozenset(hot_words), *packed)


def _initialize(make_search: bytes) -> None:
    """Prepare a worker process."""
    global _make_search
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the caller
    Thread(target=end_with_caller, daemon=True).start()
    torch.set_num_threads(1)
    _make_search = pickle.loads(make_search)


@cache
def _search() -> BeamSearch:
    """The beam search of this worker process; an error in making it is that of every song."""
    assert _make_search is not None  # `_initialize` has run
    return _make_search()


def _decode(hot_words: Set[str], log_probs: NDArray[np.float32], *others: Any) -> tuple[TimedWord, ...]:
    return _search().decode(Emissions(torch.from_numpy(log_probs), *others), hot_words)
