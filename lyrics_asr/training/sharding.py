"""Fully sharded data parallelism (FSDP) of the acoustic model.

Each process keeps a share of the weights, gradients and optimizer states (Zhao et al. 2023, "PyTorch FSDP: Experiences
on Scaling Fully Sharded Data Parallel"), by `fully_shard` of PyTorch, whose sharded weights are `DTensor`s. Layers are
gathered one after the other, forward and backward. So every process has to run the model equally often, except in a
`gathered` block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.wave_unet_ctc import WaveUNetForCTC

T = TypeVar("T")


def shard(acoustic: AcousticModel, device: torch.device) -> None:
    """Spread the weights of a model over all processes, in place.

    Args:
        acoustic: on the device, the same in all processes.
        device: of this process.

    Raises:
        ValueError: a Wave-U-Net, which may share its weights with the separator.
    """
    if isinstance(acoustic.network, WaveUNetForCTC):
        raise ValueError(f"sharded: {acoustic.name} is a Wave-U-Net, which cannot be sharded; set sharded to false")
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for module in (*acoustic.layers, acoustic.network):
        fully_shard(module, mesh=mesh)
    # transformers then runs layers that it drops (layerdrop) too, as other processes may run them.
    cast(Any, acoustic.network.base_model).encoder._is_fsdp_managed_module = True


def whole(state: T) -> T:
    """The same dictionary with whole tensors in place of sharded ones; all processes have to call it."""
    return cast(T, tree_map_only(DTensor, DTensor.full_tensor, state))


def sharded_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A tensor of a parameter's shape, such as its average, on its device and sharded as it is.

    Args:
        parameter: sharded or not; if it is, all processes have to call this.
        value: the same in all processes.
    """
    value = value.to(parameter.device, copy=True)
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


@contextmanager
def gathered(acoustic: nn.Module) -> Iterator[None]:
    """Every process has all weights in the block, so that it can run the model as often as it needs."""
    modules = [module for module in acoustic.modules() if isinstance(module, FSDPModule)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(True, recurse=False)
