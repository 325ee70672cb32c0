"""The precision and the batch size that suit a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch

from lyrics_asr.options import AcousticOptions, SeparationOptions

NetworkOptions = TypeVar("NetworkOptions", SeparationOptions, AcousticOptions)


def for_device(options: NetworkOptions, device: torch.device) -> NetworkOptions:
    """The same options with "auto" precision and a batch size of None replaced by what suits the device.

    Batches of 8 and, where it has that, bfloat16 on a GPU; batches of 1 in float32 on a CPU, so that all CPUs give the
    same result. On a CPU a batch is slower than one segment after the other: its activations leave the caches.

    Raises:
        ValueError: bfloat16 on a device without instructions for it, which would take 50 times as long.
    """
    precision = options.precision
    if precision == "auto":
        precision = "bfloat16" if device.type != "cpu" and has_bfloat16(device) else "float32"
    if precision == "bfloat16" and not has_bfloat16(device):
        raise ValueError(
            f"precision bfloat16: {device} has no instructions for it, and would take 50 times as long; use float32"
        )
    return replace(options, batch_size=options.batch_size or (1 if device.type == "cpu" else 8), precision=precision)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(value is True for name, value in capabilities.items() if name.endswith("bf16"))


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Run the networks in this precision.

    On a GPU, PyTorch rounds the inputs of float32 convolutions to the 10 bits of TF32 unless it is told not to.

    Args:
        precision: "float32", or "bfloat16" for mixed precision.
        device: of the networks.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
