"""Where a stage's batches come from, for each of several processes, and from where on after a restart.

The batches of a stage have one global order. Process r of n takes every n-th of them from the r-th on; as a step takes
the next `accumulation` of each process, the same batches make up a step however they are shared out.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.stem_chunks import ChunkBatches
from lyrics_asr.training.signals import leave_to_parent

_PREFETCHED = 4  # batches of each worker


@runtime_checkable
class BatchSource(Protocol):
    """This process's batches."""

    def __iter__(self) -> Iterator[Batch]:
        """What is left of the epoch, or the next epoch when nothing is."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """How far the batches that were handed out go: numbers and texts alone."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        ...


class _Counted:
    """What hands out batches by their number knows how many of them are gone, by all processes."""

    _handed_out = 0

    def state_dict(self) -> dict[str, Any]:
        """How many batches were handed out by all processes."""
        return {"handed_out": self._handed_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._handed_out = int(state["handed_out"])


class NumberedBatches(_Counted):
    """Batches that are made by their number.

    Args:
        batches: of all steps and processes.
        rank: number of this process.
        world_size: number of processes.
        workers: processes that make batches ahead; 0 for none.
    """

    def __init__(self, batches: ChunkBatches, *, rank: int, world_size: int, workers: int) -> None:
        self._batches = batches
        self._rank = rank
        self._world_size = world_size
        self._workers = workers

    def __iter__(self) -> Iterator[Batch]:
        numbers = range(self._handed_out + self._rank, len(self._batches), self._world_size)
        loader = DataLoader(
            self._batches,
            batch_size=None,
            sampler=numbers,
            num_workers=self._workers,
            prefetch_factor=_PREFETCHED if self._workers else None,
            worker_init_fn=leave_to_parent,
            pin_memory=torch.cuda.is_available(),
        )
        for batch in loader:
            self._handed_out += self._world_size
            yield batch


class StreamedBatches(_Counted):
    """Batches of songs that come in rounds, each of as many batches, the last of what is left.

    Args:
        batches_of: gives the batches of a round, by its number; it may wait for its songs.
        batches: of all rounds, steps and processes.
        batches_a_round: a multiple of `world_size`.
        rank: number of this process.
        world_size: number of processes.
        workers: processes that make batches ahead; 0 for none.
    """

    def __init__(
        self,
        batches_of: Callable[[int], ChunkBatches],
        batches: int,
        batches_a_round: int,
        *,
        rank: int,
        world_size: int,
        workers: int,
    ) -> None:
        self._batches_of = batches_of
        self._batches = batches
        self._batches_a_round = batches_a_round
        self._rank = rank
        self._world_size = world_size
        self._workers = workers

    def __iter__(self) -> Iterator[Batch]:
        while self._handed_out < self._batches:
            number, done = divmod(self._handed_out, self._batches_a_round)
            in_round = NumberedBatches(
                self._batches_of(number), rank=self._rank, world_size=self._world_size, workers=self._workers
            )
            in_round.load_state_dict({"handed_out": done})
            for batch in in_round:
                self._handed_out += self._world_size
                yield batch


class RepeatedBatch:
    """One batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self._batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing: any position is like any other."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


def endless(source: BatchSource) -> Iterator[Batch]:
    """The batches of one epoch after the other.

    Raises:
        ValueError: an epoch without a batch.
    """
    empty_epochs = 0
    while empty_epochs < 2:  # a restart at the very end of an epoch finds nothing left of it
        empty_epochs += 1
        for batch in source:
            empty_epochs = 0
            yield batch
    raise ValueError("there is no batch to train on; look whether the data is there and long enough")


def first_rows(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch, with their labels and phones."""
    labels, phones = int(batch.label_lengths[:rows].sum()), int(batch.phone_lengths[:rows].sum())
    cut: dict[str, Any] = {
        "chunk_ids": batch.chunk_ids[:rows],
        "labels": batch.labels[:labels],
        "label_spans": batch.label_spans[:labels],
        "phones": batch.phones[:phones],
        "phone_spans": batch.phone_spans[:phones],
    }
    whole: dict[str, Any] = {name: None if value is None else value[:rows] for name, value in vars(batch).items()}
    return Batch(**(whole | cut))
