"""The splits of DALI, by how well a song's annotations match its audio; imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitThresholds:
    """Minimum NCC of each split; songs below `train` are in no split.

    With the defaults, the 5,358 songs of v1 are split into 4,768, 423 and 167, and its 4,018 English songs into 3,600,
    306 and 112. Songs with manually corrected times (the ground truth) are split like all others: of the 105 in v1, 93
    are in train, 10 in validation and 2 in test.
    """

    train: float = 0.80
    validation: float = 0.925
    test: float = 0.95

    def __post_init__(self) -> None:
        if not self.train <= self.validation <= self.test:
            raise ValueError(f"thresholds must not decrease from train to validation to test: {self}")

    def split(self, ncc: float) -> Split | None:
        """The split of a song; None below all thresholds, and for NaN, the NCC of songs that were never aligned."""
        if ncc >= self.test:
            return "test"
        if ncc >= self.validation:
            return "validation"
        return "train" if ncc >= self.train else None


@dataclass(frozen=True)
class SongScore:
    """What determines a song's split: its NCC, and its language by DALI's name ("english")."""

    id: str
    ncc: float
    language: str
