"""The precision and the batch size that suit a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch

from lyrics_asr.options import AcousticOptions, SeparationOptions

_FAST_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""Of CPUs that multiply matrices in bfloat16 at least 1.4 times as fast as in float32, see docs/benchmarks.md."""

NetworkOptions = TypeVar("NetworkOptions", SeparationOptions, AcousticOptions)


def for_device(options: NetworkOptions, device: torch.device, *, gains_on_cpu: bool = False) -> NetworkOptions:
    """The same options with "auto" precision and a batch size of None replaced by what suits the device.

    Batches of 8 and, where it has that, bfloat16 on a GPU. On a CPU batches of 1: more is slower than one segment after
    the other, because the activations leave the caches.

    Args:
        options: of a network.
        device: where it runs.
        gains_on_cpu: whether bfloat16 makes the network faster on a CPU with instructions for it.

    Raises:
        ValueError: bfloat16 on a device without instructions for it, which would take 50 times as long.
    """
    precision = options.precision
    if precision == "auto":
        fast = gains_on_cpu and _has_fast_bfloat16() if device.type == "cpu" else has_bfloat16(device)
        precision = "bfloat16" if fast else "float32"
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


def _has_fast_bfloat16() -> bool:
    """Whether bfloat16 is known to be faster than float32 on this CPU."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) is True for name in _FAST_INSTRUCTIONS)
