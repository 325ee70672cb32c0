"""Weights stored in int8, at a quarter of the size of float32; they are read back as float32.

Conventions
- A matrix or kernel is stored as int8 with bfloat16 scales, the largest magnitude of a block / 127, rounded up
  (symmetric quantization, as for weights in Jacob et al. 2018, "Quantization and Training of Neural Networks for
  Efficient Integer-Arithmetic-Only Inference"). The error of a weight is at most half a scale. A block is 64 weights of
  an output channel, as in QLoRA's format (Dettmers et al. 2023), or the whole channel if 64 does not divide its size.
- With fewer than 8 bits the numbers are smaller, and files in a zip archive, such as a wheel, too.
- Small tensors, vectors, and buffers stay as they are: norms and biases are sensitive and take little room.
- Networks compute in float32: this is a format for storage, not for speed.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lyrics_asr.files import atomic_path

SUFFIX = ".int8.safetensors"
_SCALE = ".int8_scale"
_FEWEST_WEIGHTS = 4096
_BLOCK = 64


def save_int8(state: Mapping[str, Tensor], path: Path, bits: int = 8) -> None:
    """Write weights in int8.

    Args:
        state: a state dict.
        path: its name ends in `SUFFIX`.
        bits: of a weight, at most 8; 6 are 63 levels.

    Raises:
        OutputError: the file cannot be written.
    """
    largest = 2 ** (bits - 1) - 1
    stored: dict[str, Tensor] = {}
    for name, weight in state.items():
        weight = weight.detach().cpu()
        if weight.dim() < 2 or weight.numel() < _FEWEST_WEIGHTS or not weight.is_floating_point():
            stored[name] = weight.contiguous()
            continue
        channels = weight.float().flatten(1)
        block = _BLOCK if channels.shape[1] % _BLOCK == 0 else channels.shape[1]
        blocks = channels.view(len(channels), -1, block)
        scale = (blocks.abs().amax(2, keepdim=True) / largest).clamp(min=torch.finfo(torch.float32).tiny)
        scale = (scale * (1 + 2**-8)).bfloat16()  # rounded up, so that no number passes the largest
        stored[name] = (blocks / scale.float()).round().to(torch.int8).view(weight.shape)
        stored[name + _SCALE] = scale
    with atomic_path(path) as temporary:
        save_file(stored, temporary, {"format": "pt"})


def load_int8(folder: Path) -> dict[str, Tensor]:
    """Read the weights that `save_int8` wrote to a folder, as one state dict in float32; empty if there are none.

    Raises:
        SafetensorError: a file is damaged.
    """
    state: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        stored = load_file(path)
        for name, weight in stored.items():
            if name.endswith(_SCALE):
                continue
            scale = stored.get(name + _SCALE)
            if scale is not None:
                weight = (weight.float().view(*scale.shape[:2], -1) * scale.float()).view(weight.shape)
            state[name] = weight.float() if weight.is_floating_point() else weight
    return state
