"""In which numbers the networks compute, and how many stretches of sound at once, by device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import TypeVar

import torch

Stretch = TypeVar("Stretch")


def computing(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Let networks on a device compute in a precision inside the block; weights and results stay float32.

    Args:
        device: where the networks are.
        precision: "float32"; "bfloat16", in which matrices are multiplied and convolved (PyTorch's autocast); "auto",
            which is bfloat16 on a GPU that has it and float32 elsewhere, so that all CPUs give the same result.

    Raises:
        ValueError: bfloat16 on a CPU without instructions for it, which would take 50 times as long.
    """
    native = has_bfloat16(device)
    if precision == "bfloat16" and not native:
        raise ValueError(
            f"precision bfloat16: {device} has no instructions for it, and would take 50 times as long; use float32"
        )
    enabled = precision == "bfloat16" or (precision == "auto" and native and device.type != "cpu")
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(value is True for name, value in capabilities.items() if name.endswith("bf16"))


def batch_on(device: torch.device, batch_size: int | None) -> int:
    """How many stretches of sound go through a network at once: what is asked for, else 1 on a CPU and 8 elsewhere.

    On a CPU a batch is slower than one stretch after the other: its activations leave the caches.
    """
    return batch_size or (1 if device.type == "cpu" else 8)


def batches(
    stretches: Sequence[Stretch], samples: Callable[[Stretch], int], device: torch.device, batch_size: int | None
) -> Iterator[list[Stretch]]:
    """Stretches of sound that are equally long, in batches that suit a device; the longest first.

    Args:
        stretches: of any songs.
        samples: how long each is, as a network takes it.
        device: where the network is.
        batch_size: see `batch_on`.
    """
    size = batch_on(device, batch_size)
    for _, group in groupby(sorted(stretches, key=samples, reverse=True), key=samples):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]
