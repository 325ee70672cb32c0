"""The order in which training hears cuts: batches of cuts of like length, dealt out to the processes of a run.

Conventions
- There is one order of batches, which follows from cuts, options and seed: epoch after epoch, each with an order of its
  own. Process r of W takes batches r, r + W, r + 2 W, ... of it, over the ends of epochs, so that W processes with a
  batch each see what one process with W batches a step does.
- A position in it counts the batches of an epoch that all processes together have taken. To go on from there the epoch
  is begun anew and that many batches are passed over: cuts are read for it, but no sound, but for Shar.
- Buckets and shuffling are Lhotse's (`DynamicBucketingSampler`). Its own state counts the batches that were chosen and
  not those that were handed out by prefetching workers, and its choice of buckets depends on the number of processes;
  so it is told of one process, and its state is not used.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler
from lhotse.dataset.sampling.base import TimeConstraint
from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

from lyrics_asr.training.config import CutLoaderOptions
from lyrics_asr.training.data.lhotse_io import manifest_files

_CUTS_FOR_BUCKETS = 10_000


@dataclass(frozen=True)
class Position:
    """How many batches of an epoch have been taken; those before it all have."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Share:
    """A process's batch of cuts.

    Args:
        epoch: that it belongs to.
        cuts: `lhotse.cut.Cut`.
        after: where the order goes on once all processes have had theirs.
    """

    epoch: int
    cuts: Sequence[Any]
    after: Position


class CutOrder:
    """The batches of one process.

    Args:
        options: of the cuts and batches.
        seed: of the order.
        rank: number of the process, from 0.
        world_size: how many processes there are.
        epochs: after which the order ends; None for never.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or none.
    """

    def __init__(
        self, options: CutLoaderOptions, *, seed: int, rank: int = 0, world_size: int = 1, epochs: int | None = None
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"there is no process {rank} among {world_size}; ranks count from 0")
        self._options = options
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epochs = epochs
        self._paths = [Path(path) for path in options.cuts]
        self._manifests = [manifest_files(path) for path in self._paths]
        self._buckets = self._find_buckets()

    def shares(self, start: Position) -> Iterator[Share]:
        """The batches of this process from `start` on."""
        turn: list[tuple[Position, Sequence[Any]]] = []
        for position, cuts in self._batches(start):
            turn.append((position, cuts))
            if len(turn) == self._world_size:
                yield self._share(turn)
                turn = []
        if len(turn) > self._rank:
            yield self._share(turn)

    def _share(self, turn: Sequence[tuple[Position, Sequence[Any]]]) -> Share:
        position, cuts = turn[self._rank]
        last, _ = turn[-1]
        return Share(position.epoch, cuts, Position(last.epoch, last.batch + 1))

    def _batches(self, start: Position) -> Iterator[tuple[Position, Sequence[Any]]]:
        for epoch in count(start.epoch) if self._epochs is None else range(start.epoch, self._epochs):
            taken = start.batch if epoch == start.epoch else 0
            for number, cuts in islice(enumerate(self._epoch(epoch)), taken, None):
                yield Position(epoch, number), list(cuts)

    def _epoch(self, epoch: int) -> Iterator[Any]:
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        sampler: Iterator[Any] = iter(
            DynamicBucketingSampler(
                self._cuts(seed),
                constraint=_PaddedSeconds(
                    self._options.batch_seconds, self._options.batch_cuts, bucket_seconds=self._buckets
                ),
                duration_bins=list(self._buckets[:-1]),
                buffer_size=self._options.buffer_cuts,
                shuffle=self._options.shuffle,
                seed=seed,
                sync_buckets=True,  # without it, Lhotse 1.33 ends an epoch at the first empty bucket that it draws
                rank=0,
                world_size=1,
            )
        )
        return sampler

    def _cuts(self, seed: int) -> Iterable[Any]:
        shuffling = {"shuffle_shards": self._options.shuffle, "seed": seed, "stateful_shuffle": False}
        sets = [
            CutSet.from_shar(in_dir=path, **shuffling) if path.is_dir() else CutSet.from_jsonl_lazy(path)
            for path in self._paths
        ]
        if len(sets) == 1:
            cuts = sets[0]
        else:  # mixed evenly over the epoch, however long each is
            sizes = [sum(len(CutSet.from_jsonl_lazy(file)) for file in files) for files in self._manifests]
            cuts = CutSet.mux(*sets, weights=[max(1, size) for size in sizes], seed=seed)
        return cuts if self._options.limit is None else list(islice(cuts, self._options.limit))

    def _find_buckets(self) -> tuple[float, ...]:
        """The longest cut of each bucket, so that each holds as much sound; from the cuts at the beginning."""
        names = ", ".join(map(str, self._paths))
        files = chain.from_iterable(self._manifests)
        most = min(self._options.limit or _CUTS_FOR_BUCKETS, _CUTS_FOR_BUCKETS)
        try:
            cuts = list(islice((cut for file in files for cut in CutSet.from_jsonl_lazy(file)), most))
            longest_seconds = max((cut.duration for cut in cuts), default=0.0)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
            message = f"{names}: not cuts as Lhotse writes them ({error}); make them again with `lyrics-asr data`"
            raise ValueError(message) from error
        if not cuts:
            raise ValueError(f"{names}: no cut in it; make it again from songs with words")
        buckets = min(self._options.buckets, len(cuts))
        bounds = estimate_duration_buckets(cuts, buckets) if buckets > 1 else []
        return (*map(float, bounds), longest_seconds)


@dataclass
class _PaddedSeconds(TimeConstraint):  # type: ignore[misc]  # Lhotse has no types
    """The most sound in a batch, where each cut counts as the longest of its bucket.

    Lhotse's own constraint finds out that a cut is too long for a batch when it is in it.
    """

    longest_seen: float = 0.0
    bucket_seconds: Sequence[float] = ()

    def add(self, example: Any) -> None:
        bucket = bisect_left(self.bucket_seconds, example.duration, hi=len(self.bucket_seconds) - 1)
        self.longest_seen = max(self.longest_seen, self.bucket_seconds[bucket], example.duration)
        self.num_cuts += 1
