"""Load, build and save separators of any kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lyrics_asr.models.separators.base import Separator, Unseparated
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.demucs_weights import build_demucs, load_demucs, save_demucs
from lyrics_asr.models.separators.folders import is_separator_folder, load_separator_folder, save_separator_folder
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.models.separators.wave_unet import WaveUNetConfig, WaveUNetSeparator


def load_separator(name: str) -> Separator:
    """Load a separator on the CPU, in evaluation mode.

    Args:
        name: a folder that `save_separator` wrote, whatever `load_demucs` takes, or "none": see `Unseparated`.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or of an unknown class.
    """
    if name == "none":
        return Unseparated().eval()
    folder = Path(name)
    return load_separator_folder(name, folder) if is_separator_folder(folder) else load_demucs(name)


def build_separator(kwargs: Mapping[str, Any], name: str = "custom") -> Separator:
    """Build a separator with random weights, to train from scratch.

    Args:
        kwargs: as `network`, the class: "UNet", "WaveUNet" or one of those of `build_demucs`; and its arguments: the
            fields of `UNetConfig` or `WaveUNetConfig`, or those of the Demucs class.
        name: name of the separator.

    Raises:
        ValueError: no such class, or values that do not fit together.
    """
    network = kwargs.get("network")
    if network not in ("UNet", "WaveUNet"):
        return build_demucs(kwargs, name)
    arguments: dict[str, Any] = {key: tuple(value) if key == "channels" else value for key, value in kwargs.items()}
    del arguments["network"]
    try:
        if network == "UNet":
            return UNetSeparator(name, UNetConfig(**arguments))
        return WaveUNetSeparator(name, WaveUNetConfig(**arguments))
    except TypeError as error:  # an unknown argument
        raise ValueError(f"separator: {network}: {error}") from error


def save_separator(separator: Separator, folder: Path, *, half: bool = True) -> None:
    """Write a separator to a folder that `load_separator` takes.

    Args:
        separator: has at least one network.
        folder: created if missing.
        half: store the weights in float16, at half the size.

    Raises:
        ValueError: the separator has no networks.
    """
    if not separator.networks:
        raise ValueError("the separator 'none' has no weights to save")
    if isinstance(separator, UNetSeparator | WaveUNetSeparator):
        save_separator_folder(separator, folder, half=half)
    else:
        save_demucs(cast(DemucsSeparator, separator), folder, half=half)
