"""Hashes of weights."""

import hashlib

import torch
from torch import nn


def weights_fingerprint(network: nn.Module) -> str:
    """A SHA-256 of a network's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
