"""Beam search over many songs in several processes that share one language model in memory.

The processes are forks of the caller's: the language model, the letter tree and the lexicon are there once, whatever
their number. They use no accelerator and one thread each.
"""

import multiprocessing
import os
from collections.abc import Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lyrics_asr.decoding import BeamSearch
from lyrics_asr.types import Emissions, TimedWord

_search: BeamSearch | None = None
"""What a process decodes with."""


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
        songs: in any order; the longest are decoded first.
        processes: as many as there are cores for this process when None.
        hot_words: of every song.

    Raises:
        ValueError: emissions of another vocabulary.
        RuntimeError: a process was killed.
    """
    expected = [frozenset[str]() for _ in songs] if hot_words is None else [frozenset(each) for each in hot_words]
    longest_first = sorted(range(len(songs)), key=lambda i: -len(songs[i].log_probs))
    processes = len(os.sched_getaffinity(0)) if processes is None else processes
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_adopt, initargs=(search,)) as pool:
        # As NumPy arrays: PyTorch would send tensors through shared memory, a file descriptor each.
        futures = {i: pool.submit(_decode, *_packed(songs[i]), expected[i]) for i in longest_first}
        try:
            return [futures[i].result() for i in range(len(songs))]
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a decoding process was killed, as the system does when memory is short; use fewer processes"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _adopt(search: BeamSearch) -> None:
    global _search
    _search = search
    torch.set_num_threads(1)


def _packed(emissions: Emissions) -> tuple[Any, ...]:
    return emissions.log_probs.numpy(), emissions.vocabulary, emissions.grid, emissions.duration_seconds


def _decode(log_probs: NDArray[np.float32], *others: Any) -> tuple[TimedWord, ...]:
    *song, hot_words = others
    assert _search is not None  # `_adopt` has run
    return _search.decode(Emissions(torch.from_numpy(log_probs), *song), hot_words)
