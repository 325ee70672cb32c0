"""The state of a training run on disk: written atomically, read without running anything that the file says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lyrics_asr.files import atomic_path

FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run was.

    Args:
        architecture: what the weights belong to.
        stage: index of the stage.
        step: steps of it that are done.
        model: weights.
        sounds: weights of the sound classifier; empty when the songs know no sounds.
        optimizations: see `optimizers.state_of`.
    """

    architecture: str
    stage: int
    step: int
    model: dict[str, torch.Tensor]
    sounds: dict[str, torch.Tensor]
    optimizations: dict[str, dict[str, Any]]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`."""
    with atomic_path(folder / FILE_NAME) as path:
        torch.save(vars(checkpoint), path)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None.

    Raises:
        ValueError: the file is damaged or not a checkpoint.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ValueError(f"{path}: not a checkpoint of this version ({error}); move it away to start anew") from error
