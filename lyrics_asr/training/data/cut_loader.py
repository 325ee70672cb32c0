"""Batches for training from Lhotse cuts: in an order that can be resumed, prefetched by worker processes.

Conventions
- The batches of a process depend on cuts, options, seed, rank and number of processes alone (see `cut_sampler`,
  `cut_reader`), not on the number of workers or on interruptions.
- The state is the position after the last batch that was returned; prefetched batches do not count.
- A cut whose audio cannot be read is left out of its batch, logged and counted; a batch with no cut left is skipped.
"""

import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from lyrics_asr.training.data.augment import augment
from lyrics_asr.training.data.batch import Batch, SoundFormat, concatenated
from lyrics_asr.training.data.cut_reader import UNREADABLE, Row, read_row, remix
from lyrics_asr.training.data.cut_sampler import CutOrder, Position, Share
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import our_decoder
from lyrics_asr.training.data.options import AugmentationOptions, CutLoaderOptions
from lyrics_asr.training.signals import leave_to_parent

_logger = logging.getLogger(__name__)


class CutLoader:
    """The batches of this process, from the current position on.

    Args:
        options: the cuts, and how they are batched.
        labeller: makes the labels.
        sample_rate_hz: of the separator.
        channels: of the separator.
        seed: of the order and of the augmentation.
        rank: number of this process, from 0.
        world_size: how many processes there are.
        epochs: how many there are; None for no limit.
        stem: "vocals", "accompaniment" or "mixture" to read that alone, as `Batch.unseparated`; cuts without stems are
            taken for it.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or none.
    """

    def __init__(
        self,
        options: CutLoaderOptions,
        labeller: Labeller,
        *,
        sample_rate_hz: int,
        channels: Literal[1, 2],
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
        stem: str | None = None,
    ) -> None:
        self._options = options
        self._order = CutOrder(options, seed=seed, rank=rank, world_size=world_size, epochs=epochs)
        self._reader = _Reader(SoundFormat(sample_rate_hz, channels), labeller, options.augmentation, seed, stem)
        self._position = Position()
        self._failures: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Batch]:
        """Start at the current position; what an earlier iterator has prefetched is read again."""
        workers = self._options.workers
        loader = DataLoader(
            self._reader,
            batch_size=None,
            sampler=self._order.shares(self._position),
            num_workers=workers,
            prefetch_factor=self._options.prefetch_batches if workers else None,
            worker_init_fn=leave_to_parent,
            # spawn: a forked child of a process whose OpenMP threads are running hangs at its first parallel region.
            multiprocessing_context=multiprocessing.get_context("spawn") if workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the default draws from the global generator
        )
        started = self._position.epoch
        for read in loader:
            self._position = read.after
            self._log_failures(read.failures)
            if read.batch is not None:
                started = read.after.epoch
                yield read.batch
            elif read.after.epoch > started + 1:
                raise ValueError(
                    f"{', '.join(self._options.cuts)}: no cut's audio can be read; the first says: "
                    f"{next(iter(read.failures.values()))}"
                )

    def state_dict(self) -> dict[str, int]:
        """The position after the last batch that was returned; the same in every process."""
        return vars(self._position).copy()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position in the same cuts, with the same options and seed; the number of processes may differ.

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

    @property
    def unreadable_cuts(self) -> int:
        """How many cuts could not be read."""
        return len(self._failures)

    def _log_failures(self, failures: Mapping[str, str]) -> None:
        for cut_id, cause in failures.items():
            if cut_id not in self._failures:
                _logger.warning("cut %s is left out: %s", cut_id, cause)
            self._failures[cut_id] += 1


@dataclass(frozen=True, eq=False)
class _Read:
    """A batch, None if none of its cuts can be read, and the error of each cut that was left out."""

    batch: Batch | None
    failures: Mapping[str, str]
    after: Position

    def pin_memory(self) -> "_Read":
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True)
class _Reader(Dataset[_Read]):
    """Reads the batches, in worker processes."""

    sound: SoundFormat
    labeller: Labeller
    augmentation: AugmentationOptions
    seed: int
    stem: str | None = None

    def __getitem__(self, share: Share) -> _Read:
        rows, failures = [], {}
        with our_decoder():
            for cut in share.cuts:
                try:
                    rows.append(self._row(cut, share.epoch))
                except UNREADABLE as error:
                    failures[cut.id] = str(error).partition("\n[extra info]")[0]  # Lhotse adds whole recordings
        if not rows:
            return _Read(None, failures, share.after)
        remixed = remix(rows, self.augmentation)
        augmented = [augment(row, self.augmentation, self.sound.sample_rate_hz) for row in remixed]
        return _Read(make_batch(augmented), failures, share.after)

    def _row(self, cut: Any, epoch: int) -> Row:
        row = read_row(
            cut,
            sound=self.sound,
            labeller=self.labeller,
            augmentation=self.augmentation,
            seed=self.seed,
            epoch=epoch,
        )
        return row if self.stem is None else only(self.stem, row)


def only(stem: str, row: Row) -> Row:
    """A row with one of its stems, or its mixture, in place of the mixture.

    Raises:
        ValueError: it has separated vocals.
    """
    if row.mixture is None:
        raise ValueError(f"cut {row.id!r} is of separated vocals; give recordings of {stem}")
    sound = row.unseparated if row.vocals is None else getattr(row, stem)
    return replace(row, vocals=None, accompaniment=None, unseparated=sound)


def make_batch(rows: Sequence[Row]) -> Batch:
    """Rows as a batch: with stems if all rows have them, of separated vocals, or of mixtures.

    Raises:
        ValueError: separated vocals together with songs.
    """
    of_vocals = [row.id for row in rows if row.mixture is None]
    if 0 < len(of_vocals) < len(rows):
        raise ValueError(f"cut {of_vocals[0]!r} is of separated vocals, others are of songs; train on one of both")
    if any(row.unseparated is not None for row in rows):
        rows = [replace(row, vocals=None, accompaniment=None, unseparated=row.mixture) for row in rows]
    letters, letter_spans, letter_counts = concatenated([row.labels for row in rows])
    phones, phone_spans, phone_counts = concatenated([row.phones for row in rows])
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
        torch.tensor([row.words_known for row in rows]),
        _padded_f0([row.f0_hz for row in rows]),
    )


def _padded_f0(rows: Sequence[Tensor | None]) -> Float[Tensor, "batch frames"] | None:
    known = [row for row in rows if row is not None]
    if not known:
        return None
    return pad_sequence([known[0][:0] if row is None else row for row in rows], True, torch.nan)


def _padded(signals: Sequence[Tensor | None]) -> Float[Tensor, "batch channels samples"] | None:
    present = [signal for signal in signals if signal is not None]
    if not present:
        return None
    longest = max(signal.shape[1] for signal in present)
    return torch.stack([pad(signal, (0, longest - signal.shape[1])) for signal in present])
