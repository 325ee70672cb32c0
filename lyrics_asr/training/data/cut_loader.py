"""Batches for training from Lhotse cuts: in an order that can be resumed, read ahead by worker processes.

Conventions
- What a process gets follows from cuts, options, seed, rank and number of processes (see `cut_order`, `cut_rows`),
  whatever the number of workers, and wherever a run was interrupted and goes on.
- The state is that of the batches that were handed out, whatever has been read ahead.
- A cut whose audio cannot be read is left out of its batch, named in the log and counted; a batch with no cut left is
  passed over.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset

from lyrics_asr.training.config import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.data.batch import Batch, SoundFormat, concatenated
from lyrics_asr.training.data.cut_reader import UNREADABLE, Row, read_row, remix
from lyrics_asr.training.data.cut_sampler import CutOrder, Position, Share
from lyrics_asr.training.data.lhotse_io import our_decoder
from lyrics_asr.training.signals import leave_to_parent
from lyrics_asr.types import Vocabulary

_logger = logging.getLogger(__name__)


class CutLoader:
    """This process's batches of what is left of the epochs.

    Args:
        options: which cuts, in which batches.
        vocabulary: what labels are spelled with.
        sample_rate_hz: of the separator.
        channels: of the separator.
        seed: of the order and of the augmentation.
        rank: number of this process, from 0.
        world_size: how many processes there are.
        epochs: after which there are no more batches; None for never.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or none.
    """

    def __init__(
        self,
        options: CutLoaderOptions,
        vocabulary: Vocabulary,
        *,
        sample_rate_hz: int,
        channels: Literal[1, 2],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
    ) -> None:
        self._options = options
        self._order = CutOrder(options, seed=seed, rank=rank, world_size=world_size, epochs=epochs)
        self._reader = _Reader(SoundFormat(sample_rate_hz, channels), vocabulary, options.augmentation, seed)
        self._position = Position()
        self._failures: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Batch]:
        """Go on from where the state is; what a former iterator has read ahead is read again."""
        workers = self._options.workers
        loader = DataLoader(
            self._reader,
            batch_size=None,
            sampler=self._order.shares(self._position),
            num_workers=workers,
            prefetch_factor=self._options.prefetch_batches if workers else None,
            worker_init_fn=leave_to_parent,
            # spawn: a forked child of a process whose OpenMP threads are running hangs at its first parallel region.
            multiprocessing_context="spawn" if workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else a number is drawn from the model's
        )
        started = self._position.epoch
        for read in loader:
            self._position = read.after
            self._tell(read.failures)
            if read.batch is not None:
                started = read.after.epoch
                yield read.batch
            elif read.after.epoch > started + 1:
                raise ValueError(
                    f"{', '.join(self._options.cuts)}: no cut's audio can be read; the first says: "
                    f"{next(iter(read.failures.values()))}"
                )

    def state_dict(self) -> dict[str, int]:
        """Where the order goes on after the batch that was handed out last; the same for every process."""
        return vars(self._position).copy()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state of the same cuts, options and seed; the number of processes may be another.

        Raises:
            ValueError: not a state of this class.
        """
        if set(state) != {"epoch", "batch"} or not all(isinstance(n, int) and n >= 0 for n in state.values()):
            raise ValueError(f"{dict(state)} is no position in an order of cuts; the checkpoint is of other data")
        self._position = Position(**state)

    @property
    def failures(self) -> Mapping[str, int]:
        """How often the audio of each cut could not be read, by its id."""
        return dict(self._failures)

    def _tell(self, failures: Mapping[str, str]) -> None:
        for cut_id, cause in failures.items():
            if cut_id not in self._failures:
                _logger.warning("cut %s is left out: %s", cut_id, cause)
            self._failures[cut_id] += 1


@dataclass(frozen=True, eq=False)
class _Read:
    """A batch, None where no cut of it can be read, and why each cut that is not in it cannot."""

    batch: Batch | None
    failures: Mapping[str, str]
    after: Position

    def pin_memory(self) -> "_Read":
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True)
class _Reader(Dataset[_Read]):
    """What a worker process does."""

    sound: SoundFormat
    vocabulary: Vocabulary
    augmentation: AugmentationOptions
    seed: int

    def __getitem__(self, share: Share) -> _Read:
        rows, failures = [], {}
        with our_decoder():
            for cut in share.cuts:
                try:
                    rows.append(self._row(cut, share.epoch))
                except UNREADABLE as error:
                    failures[cut.id] = str(error).partition("\n[extra info]")[0]  # Lhotse adds whole recordings
        batch = make_batch(remix(rows, self.augmentation.remix_prob)) if rows else None
        return _Read(batch, failures, share.after)

    def _row(self, cut: Any, epoch: int) -> Row:
        return read_row(
            cut,
            sound=self.sound,
            vocabulary=self.vocabulary,
            augmentation=self.augmentation,
            seed=self.seed,
            epoch=epoch,
        )


def make_batch(rows: Sequence[Row]) -> Batch:
    """Rows as a batch: of stems where all have them, of separated vocals, else of songs.

    Raises:
        ValueError: separated vocals beside songs.
    """
    of_vocals = [row.id for row in rows if row.mixture is None]
    if 0 < len(of_vocals) < len(rows):
        raise ValueError(f"cut {of_vocals[0]!r} is of separated vocals, others are of songs; train on one of both")
    if any(row.unseparated is not None for row in rows):
        rows = [replace(row, vocals=None, accompaniment=None, unseparated=row.mixture) for row in rows]
    letters, letter_spans, letter_counts = concatenated([row.labels for row in rows])
    phones, phone_spans, phone_counts = concatenated([[] for _ in rows])  # cuts know none
    return Batch(
        tuple(row.id for row in rows),
        _padded([row.vocals for row in rows]),
        _padded([row.accompaniment for row in rows]),
        _padded([row.unseparated for row in rows]),
        torch.tensor([row.samples for row in rows]),
        letters,
        letter_spans,
        letter_counts,
        phones,
        phone_spans,
        phone_counts,
    )


def _padded(signals: Sequence[Tensor | None]) -> Float[Tensor, "batch channels samples"] | None:
    present = [signal for signal in signals if signal is not None]
    if not present:
        return None
    longest = max(signal.shape[1] for signal in present)
    return torch.stack([pad(signal, (0, longest - signal.shape[1])) for signal in present])
