"""Hybrid Demucs for vocals alone: the last layers compute one source of four, and one spectrogram is inverted."""

import copy
from typing import Any

from demucs.hdemucs import HDecLayer, HDemucs
from demucs.htdemucs import HTDemucs
from torch import nn

VOCALS = "vocals"


def vocals_only(network: Any) -> Any:
    """A network with the source "vocals" alone, which shares the weights of a Demucs network.

    Networks whose last layers mix the sources, and those of waveforms alone, are returned as they are.
    """
    if not (isinstance(network, HDemucs | HTDemucs) and network.cac):
        return network
    branches = [name for name in ("decoder", "tdecoder") if len(getattr(network, name, ()))]
    last = {name: getattr(network, name)[-1] for name in branches}
    if not all(isinstance(each, HDecLayer) and isinstance(each.norm2, nn.Identity) for each in last.values()):
        return network
    alone: Any = _copy(network)
    alone.sources = [VOCALS]
    for name, layer in last.items():
        sliced: Any = _copy(layer)
        sliced.conv_tr = _slice(layer.conv_tr, network.sources.index(VOCALS), len(network.sources))
        setattr(alone, name, nn.ModuleList([*getattr(network, name)[:-1], sliced]))
    return alone


def _slice(layer: nn.Module, source: int, sources: int) -> nn.Module:
    """A transposed convolution with the output channels of one source."""
    sliced = _copy(layer)
    for name, axis in (("weight", 1), ("bias", 0)):
        del sliced._parameters[name]
        setattr(sliced, name, getattr(layer, name).chunk(sources, axis)[source])  # a view: gradients reach the layer
    return sliced


def _copy(module: nn.Module) -> nn.Module:
    """The same module, with its own lists of parameters and modules."""
    copied = copy.copy(module)
    copied._parameters, copied._modules = module._parameters.copy(), module._modules.copy()
    return copied
