"""Load, build and save separators of any kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.demucs_weights import build_demucs, load_demucs, save_demucs


def load_separator(name: str) -> Separator:
    """Load a separator on the CPU, in evaluation mode.

    Args:
        name: a folder that `save_separator` wrote, or whatever `load_demucs` takes.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or of an unknown class.
    """
    return load_demucs(name)


def build_separator(kwargs: Mapping[str, Any], name: str = "custom") -> Separator:
    """Build a separator with random weights, to train from scratch.

    Args:
        kwargs: arguments of the network's class and, as `network`, the class, see `build_demucs`.
        name: name of the separator.

    Raises:
        ValueError: no such class.
    """
    return build_demucs(kwargs, name)


def save_separator(separator: Separator, folder: Path, *, half: bool = True) -> None:
    """Write a separator to a folder that `load_separator` takes.

    Args:
        separator: has at least one network.
        folder: created if missing.
        half: store the weights in float16, at half the size.

    Raises:
        ValueError: the separator has no networks.
    """
    save_demucs(cast(DemucsSeparator, separator), folder, half=half)
