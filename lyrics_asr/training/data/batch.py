"""A batch of training chunks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyrics_asr.training.data.labels import Label


@dataclass(frozen=True)
class SoundFormat:
    """What a network takes: its rate, mono or stereo."""

    sample_rate_hz: int
    channels: Literal[1, 2]


@dataclass(frozen=True, eq=False)
class Batch:
    """Chunks of equal length, padded with silence at the end; labels are concatenated.

    There are three kinds: stems (`vocals` and `accompaniment`), songs without stems (`unseparated`), and vocals that a
    separator made (`vocals` alone, mono at the acoustic model's rate).

    Args:
        chunk_ids: names of the rows, for messages.
        vocals: the voice.
        accompaniment: the rest.
        unseparated: the mixture, where its stems are not known.
        lengths: valid samples of each row.
        labels: token ids of all rows, one after the other.
        label_spans: where each of them is thought to be sung: start and end in seconds from the start of its row.
        label_lengths: how many labels belong to each row.
        phones: numbers of the phones of all rows, see `labels.Labeller`.
        phone_spans: when each of them is sung, like `label_spans`.
        phone_lengths: how many phones belong to each row.
    """

    chunk_ids: tuple[str, ...]
    vocals: Float[Tensor, "batch channels samples"] | None
    accompaniment: Float[Tensor, "batch channels samples"] | None
    unseparated: Float[Tensor, "batch channels samples"] | None
    lengths: Int[Tensor, "batch"]
    labels: Int[Tensor, "labels"]
    label_spans: Float[Tensor, "labels 2"]
    label_lengths: Int[Tensor, "batch"]
    phones: Int[Tensor, "phones"]
    phone_spans: Float[Tensor, "phones 2"]
    phone_lengths: Int[Tensor, "batch"]

    @property
    def mixture(self) -> Float[Tensor, "batch channels samples"] | None:
        """The whole song, which is the sum of its stems where these are known; None of vocals alone.

        The sum is made where the stems are, so that it does not travel to a device beside them.
        """
        if self.vocals is None or self.accompaniment is None:
            return self.unseparated
        return self.vocals + self.accompaniment

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; what is in pinned memory is copied while the program goes on."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory; `torch.utils.data.DataLoader` asks for it by this name."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changes: dict[str, Any] = {name: change(each) for name, each in vars(self).items() if isinstance(each, Tensor)}
        return replace(self, **changes)


def concatenated(rows: Sequence[Sequence[Label]]) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, spans and how many there are in each row."""
    labels = [label for row in rows for label in row]
    spans = torch.tensor([[label.start_seconds, label.end_seconds] for label in labels]).reshape(-1, 2)
    return torch.tensor([label.token_id for label in labels], dtype=torch.int64), spans, torch.tensor([*map(len, rows)])
