"""The order of training batches: cuts of similar length, distributed over the processes of a run.

Conventions
- There is one global order of batches, given by cuts, options and seed; every epoch has its own. Process r of W takes
  batches r, r + W, r + 2 W, ... of it, across epochs, so that W processes with one batch per step see what one process
  with W batches per step does.
- A position counts the batches of an epoch that all processes have taken, so that it does not depend on their number.
  To resume, the epoch is started again and that many batches are skipped; that reads cuts but no audio, but for Shar.
- An epoch has as many cuts as all files together. Of a file whose share is not its size (`weights`, `temperature`),
  cuts are used several times, with -1, -2 and so on after their ids, or a random part of them, drawn anew each epoch.
- Pauses, cuts without words, are drawn anew for each epoch, so that their expected share is `silence_prob`.
- Bucketing and shuffling are Lhotse's (`DynamicBucketingSampler`). Its state counts the batches that were sampled, not
  those that prefetching workers have returned, and its choice of buckets depends on the number of processes; so it is
  run for one process, and its state is not used.
"""

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any

import numpy as np
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler
from lhotse.dataset.sampling.base import TimeConstraint
from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

from lyrics_asr.training.data.cut_reader import is_pause
from lyrics_asr.training.data.lhotse_io import is_shar, manifest_files, shar_fields
from lyrics_asr.training.data.object_storage import CutsPath, cuts_path
from lyrics_asr.training.data.options import CutLoaderOptions

_CUTS_FOR_BUCKETS = 10_000


@dataclass(frozen=True)
class Position:
    """An epoch, and how many of its batches have been taken."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Share:
    """The cuts of a batch.

    Args:
        epoch: of the batch.
        cuts: `lhotse.cut.Cut`.
        after: the position once all processes have taken their batch.
    """

    epoch: int
    cuts: Sequence[Any]
    after: Position


class CutOrder:
    """The batches of one process.

    Args:
        options: the cuts, and how they are batched.
        seed: of the order.
        rank: number of the process, from 0.
        world_size: how many processes there are.
        epochs: how many there are; None for no limit.

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
        self._paths = [cuts_path(path) for path in options.cuts]
        self._shards = [shar_fields(path) if is_shar(path) else None for path in self._paths]
        self._manifests = [
            list[CutsPath](shards["cuts"]) if shards else manifest_files(path)
            for path, shards in zip(self._paths, self._shards, strict=True)
        ]
        if not options.cuts:
            raise ValueError("cuts is empty; name a file that `lyrics-asr data dali` or `data cuts` wrote")
        self._buckets = self._find_buckets()
        self._sizes = [1] if len(self._paths) == 1 else [_count(files) for files in self._manifests]
        self._passes = passes_of(self._sizes, options.weights, options.temperature)
        self._silence_share = self._find_silence_share(options.silence_prob)

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
        sets, sizes = [], []
        for path, shards, size, passes in zip(self._paths, self._shards, self._sizes, self._passes, strict=True):
            for number in range(math.ceil(passes)):
                cuts = CutSet.from_shar(shards, **shuffling) if shards else CutSet.from_jsonl_lazy(path)
                share = min(1.0, passes - number)
                if share < 1:
                    cuts = cuts.filter(partial(_is_drawn, seed=f"part {seed}", share=share))
                sets.append(cuts.map(partial(_numbered, number=number)) if number else cuts)
                sizes.append(share * size)
        # mixed evenly over the epoch, whatever their sizes
        cuts = sets[0] if len(sets) == 1 else CutSet.mux(*sets, weights=sizes, seed=seed)
        cuts = cuts.filter(partial(_is_used, seed=seed, silence_share=self._silence_share))
        return cuts if self._options.limit is None else list(islice(cuts, self._options.limit))

    def _find_buckets(self) -> tuple[float, ...]:
        """The longest cut of each bucket, so that all hold the same amount of audio; from the first cuts."""
        names = ", ".join(map(str, self._paths))
        files = chain.from_iterable(self._manifests)
        most = min(self._options.limit or _CUTS_FOR_BUCKETS, _CUTS_FOR_BUCKETS)
        try:
            every = (cut for file in files for cut in CutSet.from_jsonl_lazy(file))
            cuts = list(islice((cut for cut in every if self._options.silence_prob != 0 or not is_pause(cut)), most))
            longest_seconds = max((cut.duration for cut in cuts), default=0.0)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
            message = f"{names}: not cuts as Lhotse writes them ({error}); make them again with `lyrics-asr data`"
            raise ValueError(message) from error
        if not cuts:
            raise ValueError(f"{names}: no cut in it; make it again from songs with words")
        buckets = min(self._options.buckets, len(cuts))
        bounds = estimate_duration_buckets(cuts, buckets) if buckets > 1 else []
        return (*map(float, bounds), longest_seconds)

    def _find_silence_share(self, prob: float | None) -> float:
        """The share of the cuts without words that an epoch uses: all of them at most.

        Raises:
            ValueError: there are no cuts without words.
        """
        if not prob:
            return 1.0 if prob is None else 0.0
        counts: Counter[bool] = Counter()
        for files, passes in zip(self._manifests, self._passes, strict=True):
            own = Counter(is_pause(cut) for file in files for cut in CutSet.from_jsonl_lazy(file))
            counts.update({key: passes * number for key, number in own.items()})
        if not counts[True]:
            names = ", ".join(map(str, self._paths))
            raise ValueError(
                f"{names}: no cut without words, for silence_prob; make the cuts with `lyrics-asr data cuts` from "
                "songs with pauses, or set it to 0"
            )
        return min(1.0, prob / (1 - prob) * counts[False] / counts[True])


def passes_of(sizes: Sequence[int], weights: Sequence[float], temperature: float) -> list[float]:
    """How often the cuts of each file are used in an epoch, on average.

    A file of n cuts is sampled in proportion to weight * n ** (1 / temperature) (Arivazhagan et al. 2019, "Massively
    Multilingual Neural Machine Translation in the Wild", section 4.2), and an epoch has as many cuts as all files.

    Args:
        sizes: number of cuts of each file.
        weights: of each file; empty for equal weights.
        temperature: 1 for shares in proportion to the sizes, infinity for equal shares.
    """
    shares = np.array(weights or [1.0] * len(sizes)) * np.array(sizes, dtype=float) ** (1 / temperature)
    passes = shares / shares.sum() * sum(sizes) / np.array(sizes)
    return [round(each, 9) for each in passes.tolist()]


def _count(files: Sequence[CutsPath]) -> int:
    return max(1, sum(len(CutSet.from_jsonl_lazy(file)) for file in files))


def _numbered(cut: Any, number: int) -> Any:
    return cut.with_id(f"{cut.id}-{number}")


def _is_used(cut: Any, seed: int, silence_share: float) -> bool:
    return not is_pause(cut) or _is_drawn(cut, str(seed), silence_share)


def _is_drawn(cut: Any, seed: str, share: float) -> bool:
    return int(hashlib.sha256(f"{seed} {cut.id}".encode()).hexdigest()[:8], 16) < share * 2**32


@dataclass
class _PaddedSeconds(TimeConstraint):  # type: ignore[misc]  # Lhotse has no types
    """The size limit of a batch, where each cut counts as the longest of its bucket.

    Lhotse's own constraint notices that a batch is too long only once the cut is in it.
    """

    longest_seen: float = 0.0
    bucket_seconds: Sequence[float] = ()

    def add(self, example: Any) -> None:
        bucket = bisect_left(self.bucket_seconds, example.duration, hi=len(self.bucket_seconds) - 1)
        self.longest_seen = max(self.longest_seen, self.bucket_seconds[bucket], example.duration)
        self.num_cuts += 1
