"""Weights stored in int8, at a quarter of the size of float32; they are read back as float32.

Conventions
- A matrix or kernel is stored as int8 with bfloat16 scales, the largest magnitude of a block / 127, rounded up
  (symmetric quantization, as for weights in Jacob et al. 2018, "Quantization and Training of Neural Networks for
  Efficient Integer-Arithmetic-Only Inference"). The error of a weight is at most half a scale. A block is 64 weights of
  an output channel, as in QLoRA's format (Dettmers et al. 2023), or the whole channel if 64 does not divide its size.
- With fewer than 8 bits the numbers are smaller, and files in a zip archive, such as a wheel, too.
- Small tensors, vectors, and buffers stay as they are: norms and biases are sensitive and take little room.
- Networks compute in float32: this is a format for storage. `Int8Logits` is for speed.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lyrics_asr.files import atomic_path

SUFFIX = ".int8.safetensors"
_SCALE = ".int8_scale"
_FEWEST_WEIGHTS = 4096
_BLOCK = 64
_EXACT_LOGITS = 32


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


class Int8Logits(nn.Module):
    """An output layer for the CPU, which reads most of its weights in int8; the logits that decide are exact.

    For a few rows, reading the weights is most of the time. The input is quantized with one scale for all of it, and
    the weights with one per logit. The largest logits of each row are then computed again in float.

    Args:
        weight: of the layer, which has no bias.
        float_start: logits from this one on are computed in float, for callers that need their sum.
    """

    def __init__(self, weight: Float[Tensor, "vocab width"], float_start: int) -> None:
        super().__init__()
        self._int8, self._float = weight.detach()[:float_start], weight.detach()[float_start:]
        scales = (self._int8.abs().amax(1).double() / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(float_start, dtype=torch.long)
        quantized = torch.quantize_per_channel(self._int8, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(quantized, None)

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        """The logits. Inputs have 7 bits: sums of products of 8 bits overflow 16 bits on CPUs without VNNI."""
        logits: Tensor = torch.ops.quantized.linear_dynamic(hidden, self._packed, reduce_range=True)
        largest = logits.topk(_EXACT_LOGITS).indices
        exact = (self._int8[largest] @ hidden[..., None])[..., 0]
        return torch.cat([logits.scatter(-1, largest, exact), hidden @ self._float.T], -1)
