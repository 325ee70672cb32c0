"""Where a stage's batches come from, with a position that can be saved and restored.

All sources are endless, and positions do not depend on the number of processes: a run can be resumed with more or
fewer.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from lyrics_asr.training.data.batch import Batch
from lyrics_asr.training.data.cut_loader import CutLoader


@runtime_checkable
class BatchSource(Protocol):
    """The batches of this process."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the current position on."""
        ...

    def state_dict(self) -> dict[str, int]:
        """The position after the last batch that was returned, the same in every process at the end of a step."""
        ...

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position that `state_dict` gave."""
        ...

    @property
    def unreadable_cuts(self) -> int:
        """How many cuts this process has left out so far because of their audio."""
        ...


class RoundCuts:
    """The cuts of a stream's rounds, each for a number of steps.

    Args:
        loader_of: gives the loader of a round by its number; it may wait for the round's songs.
        steps_per_round: optimizer steps per round.
        accumulation: batches per step and process.
    """

    def __init__(self, loader_of: Callable[[int], CutLoader], *, steps_per_round: int, accumulation: int) -> None:
        self._loader_of = loader_of
        self._batches_per_round = steps_per_round * accumulation
        self._accumulation = accumulation
        self._batches = 0  # of this process
        self._in_round: Mapping[str, int] | None = None
        self._loaders: list[CutLoader] = []

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the current position on."""
        while True:
            number = self._batches // self._batches_per_round
            loader = self._loader_of(number)
            self._loaders.append(loader)
            if self._in_round is not None:
                loader.load_state_dict(self._in_round)
            for batch in loader:
                self._batches += 1
                self._in_round = loader.state_dict()
                is_last = self._batches % self._batches_per_round == 0
                if is_last:
                    self._in_round = None
                yield batch
                if is_last:
                    break

    def state_dict(self) -> dict[str, int]:
        """Steps, and the position in the cuts of the round."""
        return {"step": self._batches // self._accumulation, **(self._in_round or {})}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position that `state_dict` gave at the end of a step; the number of processes may differ."""
        position = dict(state)
        self._batches = position.pop("step") * self._accumulation
        self._in_round = position or None

    @property
    def unreadable_cuts(self) -> int:
        """Those of all rounds."""
        return sum(loader.unreadable_cuts for loader in self._loaders)


class RepeatedBatch:
    """One batch, again and again."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        """The batch, endlessly."""
        while True:
            yield self._batch

    def state_dict(self) -> dict[str, int]:
        """Nothing: all positions are equal."""
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Nothing."""

    @property
    def unreadable_cuts(self) -> int:
        """None: the batch has been read."""
        return 0


def first_rows(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch, with their labels and phones."""
    labels, phones = int(batch.label_lengths[:rows].sum()), int(batch.phone_lengths[:rows].sum())
    cut: dict[str, Any] = {
        "chunk_ids": batch.chunk_ids[:rows],
        "labels": batch.labels[:labels],
        "label_spans": batch.label_spans[:labels],
        "phones": batch.phones[:phones],
        "phone_spans": batch.phone_spans[:phones],
        "unpaired": batch.unpaired,
    }
    whole: dict[str, Any] = {name: None if value is None else value[:rows] for name, value in vars(batch).items()}
    return Batch(**(whole | cut))
