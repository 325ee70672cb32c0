"""Devices by name, without the libraries of the networks, which start slowly."""

import torch


def find_devices(names: str) -> tuple[str, ...]:
    """The devices that share a run's songs, one worker each.

    Args:
        names: as in `find_device`, several parted by commas; "auto" stands for all CUDA devices.

    Raises:
        ValueError: no such device.
    """
    if names == "auto" and torch.cuda.is_available():
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    chosen = tuple(map(str.strip, names.split(",")))
    for name in chosen:
        find_device(name)
    return chosen


def find_device(name: str = "auto") -> torch.device:
    """Parse a device name, and check that the device exists.

    Args:
        name: "auto" for CUDA if available, or a device name of PyTorch.

    Raises:
        ValueError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown; use auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r}: this computer has {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device
