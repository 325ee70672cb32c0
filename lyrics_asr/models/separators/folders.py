"""Read and write separators of our own: a folder with the configuration as YAML and the weights in safetensors.

U-Net         unet.yaml, `UNetConfig`, and unet.safetensors or int8 weights, see `models.int8`
Wave-U-Net    wave_unet.yaml, `WaveUNetConfig`, and wave_unet.safetensors
"""

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
from lyrics_asr.models.separators.wave_unet import WaveUNetConfig, WaveUNetSeparator

_UNET, _WAVE_UNET = "unet", "wave_unet"


def is_separator_folder(folder: Path) -> bool:
    """Whether `save_separator_folder` wrote a folder."""
    return any((folder / f"{stem}.yaml").is_file() for stem in (_UNET, _WAVE_UNET))


def load_separator_folder(name: str, folder: Path) -> UNetSeparator | WaveUNetSeparator:
    """Load a separator on the CPU, in evaluation mode.

    Args:
        name: name of the separator.
        folder: that `save_separator_folder` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the weights do not fit the configuration.
    """
    separator: UNetSeparator | WaveUNetSeparator
    stem = _UNET if (folder / f"{_UNET}.yaml").is_file() else _WAVE_UNET
    config_path, path = folder / f"{stem}.yaml", folder / f"{stem}.safetensors"
    with torch.device("meta"):  # random weights would take longer than reading those of the folder
        if stem == _UNET:
            separator = UNetSeparator(name, load_config(UNetConfig, config_path))
        else:
            separator = WaveUNetSeparator(name, load_config(WaveUNetConfig, config_path))
    try:
        state = load_int8(folder)
        if not (state or path.is_file()):
            raise FileNotFoundError(f"{path}: the weights of the separator are missing; copy them there")
        separator.load_state_dict(state or _in_float32(load_file(path)), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: damaged, or not the weights of {config_path.name} beside it: {error}") from error
    if stem == _UNET:
        for network in separator.networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return separator.eval()


def save_separator_folder(separator: UNetSeparator | WaveUNetSeparator, folder: Path, *, half: bool = True) -> None:
    """Write a separator.

    Args:
        separator: to write.
        folder: created if missing.
        half: store kernels in float16. Norms stay in float32: variances of magnitudes exceed float16's range.

    Raises:
        OutputError: the folder cannot be written.
    """
    stem = _UNET if isinstance(separator, UNetSeparator) else _WAVE_UNET
    state = {}
    for key, value in separator.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[key] = value.half() if half and value.dim() > 2 else value
    with atomic_path(folder / f"{stem}.safetensors") as path:
        save_file(state, path)
    write_text(folder / f"{stem}.yaml", dump_config(separator.config))


def _in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
