"""Load, build and save separators of any kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.demucs_weights import build_demucs, load_demucs, save_demucs
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.models.separators.unet_weights import CONFIG_FILE, load_unet, save_unet


def load_separator(name: str) -> Separator:
    """Load a separator on the CPU, in evaluation mode.

    Args:
        name: a folder that `save_separator` wrote, or whatever `load_demucs` takes.

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or of an unknown class.
    """
    folder = Path(name)
    return load_unet(name, folder) if (folder / CONFIG_FILE).is_file() else load_demucs(name)


def build_separator(kwargs: Mapping[str, Any], name: str = "custom") -> Separator:
    """Build a separator with random weights, to train from scratch.

    Args:
        kwargs: as `network`, the class: "UNet" or one of those of `build_demucs`; and its arguments: the fields
            of `UNetConfig` for a U-Net, or those of the Demucs class.
        name: name of the separator.

    Raises:
        ValueError: no such class, or values that do not fit together.
    """
    if kwargs.get("network") == "UNet":
        arguments: dict[str, Any] = {key: tuple(value) if key == "channels" else value for key, value in kwargs.items()}
        del arguments["network"]
        return UNetSeparator(name, UNetConfig(**arguments))
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
    if isinstance(separator, UNetSeparator):
        save_unet(separator, folder, half=half)
    else:
        save_demucs(cast(DemucsSeparator, separator), folder, half=half)
