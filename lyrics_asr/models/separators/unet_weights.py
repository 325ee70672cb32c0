"""Read and write U-Net separators: a folder with `unet.yaml`, the `UNetConfig`, and `unet.safetensors`, the weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lyrics_asr.config import dump_config, load_config
from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.models.int8 import load_int8
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator

CONFIG_FILE = "unet.yaml"
_WEIGHTS_FILE = "unet.safetensors"


def load_unet(name: str, folder: Path) -> UNetSeparator:
    """Load a separator on the CPU, in evaluation mode.

    Args:
        name: name of the separator.
        folder: that `save_unet` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the weights do not fit the configuration.
    """
    with torch.device("meta"):  # random weights would take longer than reading those of the folder
        separator = UNetSeparator(name, load_config(UNetConfig, folder / CONFIG_FILE))
    path = folder / _WEIGHTS_FILE
    try:
        state = load_int8(folder)
        if not (state or path.is_file()):
            raise FileNotFoundError(f"{path}: the weights of the separator are missing; copy them there")
        separator.load_state_dict(state or _in_float32(load_file(path)), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: damaged, or not the weights of {CONFIG_FILE} beside it: {error}") from error
    for network in separator.networks:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return separator.eval()


def save_unet(separator: UNetSeparator, folder: Path, *, half: bool = True) -> None:
    """Write a separator.

    Args:
        separator: to write.
        folder: created if missing.
        half: store kernels in float16. Norms stay in float32: variances of magnitudes exceed float16's range.

    Raises:
        OutputError: the folder cannot be written.
    """
    state = {}
    for key, value in separator.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[key] = value.half() if half and value.dim() == 4 else value
    with atomic_path(folder / _WEIGHTS_FILE) as path:
        save_file(state, path)
    write_text(folder / CONFIG_FILE, dump_config(separator.config))


def _in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
