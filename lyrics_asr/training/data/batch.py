"""A batch of training chunks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lyrics_asr.training.data.labels import Label


@dataclass(frozen=True)
class SoundFormat:
    """The input format of a network."""

    sample_rate_hz: int
    channels: Literal[1, 2]


@dataclass(frozen=True, eq=False)
class Batch:
    """Chunks, padded with zeros to the longest; labels are concatenated.

    There are three kinds: stems (`vocals` and `accompaniment`), mixtures (`unseparated`), and separated vocals
    (`vocals` alone, mono at the acoustic model's rate).

    Args:
        chunk_ids: names of the rows, for messages.
        vocals: the vocals' stem, or separated vocals.
        accompaniment: the rest of the mixture.
        unseparated: the mixture, where its stems are not known.
        lengths: valid samples of each row.
        labels: token ids of all rows, concatenated.
        label_spans: estimated start and end of each label in seconds from the start of its row.
        label_lengths: number of labels of each row.
        phones: phone numbers of all rows, concatenated, see `labels.Labeller`.
        phone_spans: start and end of each phone, as `label_spans`.
        phone_lengths: number of phones of each row.
        words_known: which rows have labels, if only of pauses; the others add nothing to the losses of words and
            phones. None if all have.
        f0_hz: F0 of the lead vocals in each frame of `melody.pitch`: 0 where there is none, NaN where it is not known
            and after the end. None if it is known of no row.
        unpaired: other sounds for each discriminator step of an adversarial stage.
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
    words_known: Bool[Tensor, "batch"] | None = None
    f0_hz: Float[Tensor, "batch frames"] | None = None
    unpaired: tuple["Unpaired", ...] = ()

    @property
    def mixture(self) -> Float[Tensor, "batch channels samples"] | None:
        """The mixture, the sum of the stems if they are known; None of separated vocals.

        It is computed on the device of the stems, so that it need not be copied there.
        """
        if self.vocals is None or self.accompaniment is None:
            return self.unseparated
        return self.vocals + self.accompaniment

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device, copied asynchronously from pinned memory."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory; `torch.utils.data.DataLoader` calls this."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with all tensors changed."""
        changes: dict[str, Any] = {name: change(each) for name, each in vars(self).items() if isinstance(each, Tensor)}
        return replace(self, **changes, unpaired=tuple(each.map(change) for each in self.unpaired))


@dataclass(frozen=True, eq=False)
class Unpaired:
    """Solo recordings and mixtures of different songs, each as the `unseparated` of a batch."""

    vocals: Batch
    accompaniment: Batch
    mixture: Batch | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Unpaired":
        """The same sounds with all tensors changed."""
        return Unpaired(**{name: each and each.map(change) for name, each in vars(self).items()})


def concatenated(rows: Sequence[Sequence[Label]]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, spans, and the number of labels of each row."""
    labels = [label for row in rows for label in row]
    spans = torch.tensor([[label.start_seconds, label.end_seconds] for label in labels]).reshape(-1, 2)
    return torch.tensor([label.token_id for label in labels], dtype=torch.int64), spans, torch.tensor([*map(len, rows)])
