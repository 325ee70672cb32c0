"""GPU memory of a training step of htdemucs and wav2vec2-large, computed on a CPU.

    python benchmarks/memory.py

A forward pass of both networks, with random weights and bfloat16 autocast, tells what PyTorch keeps for the backward
pass: every storage counts once, at two lengths, which gives a constant and a slope. Weights in float32, gradients and
the two moments of AdamW come on top. The table has the constant, the slope, and the largest `cuts.batch_seconds` for
which both fill 80 % of a GPU; the rest is for temporary tensors and fragmentation. Beyond 300 s, temporary tensors
matter more than what is kept, so that no number is given. Computed, not measured: `python benchmarks/gpu.py` measures.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from benchmarks.training import ACOUSTICS, LETTERS, SEPARATORS
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.training.freezing import add_adapters
from lyrics_asr.training.stages import LoraOptions

GPUS_GB = (24, 40, 80, 141)
USED_SHARE = 0.8
MAX_SECONDS = 300
LENGTHS_SECONDS = (4, 8)
KINDS = {  # separator trained, checkpointing, adapters
    "everything trained": (True, False, False),
    "everything, `gradient_checkpointing`": (True, True, False),
    "separator frozen": (False, False, False),
    "separator frozen, `gradient_checkpointing`": (False, True, False),
    "separator frozen, `lora: {rank: 16}`, `gradient_checkpointing`": (False, True, True),
}


def main() -> int:
    """Print the table."""
    print("| | weights and states | per second of audio |", " | ".join(f"{size} GB" for size in GPUS_GB), "|")
    print("|---|" + "---:|" * (2 + len(GPUS_GB)))
    for name, (separates, checkpoints, adapts) in KINDS.items():
        constant, slope = step_memory_gb(separates, checkpoints, adapts)
        batches = [batch_seconds((USED_SHARE * size - constant) / slope) for size in GPUS_GB]
        print(f"| {name} | {constant:.1f} GB | {slope:.2f} GB |", " | ".join(batches), "|", flush=True)
    return 0


def batch_seconds(seconds: float) -> str:
    """The largest batch, in words."""
    return f"over {MAX_SECONDS} s" if seconds > MAX_SECONDS else f"{max(0, int(seconds))} s"


def step_memory_gb(separates: bool, checkpoints: bool, adapts: bool) -> tuple[float, float]:
    """What a step needs whatever its batch, and per second of the batch.

    Args:
        separates: whether the separator is trained.
        checkpoints: whether layers of the acoustic model are computed again in the backward pass.
        adapts: whether only adapters and the CTC head of the acoustic model are trained.
    """
    torch.manual_seed(0)
    separator = build_separator({"network": "HTDemucs", **SEPARATORS["full"]})
    model = LyricsModel(separator, build_acoustic(ACOUSTICS["full"], LETTERS), name="full")
    model.separator.requires_grad_(separates)
    if adapts:
        model.acoustic.network.requires_grad_(False)
        add_adapters(model.acoustic, LoraOptions(rank=16))
        model.acoustic.head.requires_grad_(True)
    if checkpoints:
        model.acoustic.network.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    counts = [parameter.numel() for parameter in model.parameters()]
    trained = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    states = 4 * sum(counts) + 12 * sum(trained)  # float32: weights; gradients and two moments
    short, long = (kept_bytes(model, seconds, checkpoints) for seconds in LENGTHS_SECONDS)
    slope = (long - short) / (LENGTHS_SECONDS[1] - LENGTHS_SECONDS[0])
    return (states + short - slope * LENGTHS_SECONDS[0]) / 1e9, slope / 1e9


def kept_bytes(model: LyricsModel, seconds: int, checkpoints: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the weights."""
    mixture = torch.randn(1, model.separator.audio_channels, seconds * model.separator.sample_rate_hz)
    with counted(model) as storages:
        hooks = []
        for layer in model.acoustic.layers if checkpoints else []:  # each keeps its input
            hooks.append(layer.register_forward_pre_hook(lambda _, inputs: storages.add(inputs[0])))
        with torch.autocast("cpu", torch.bfloat16):
            model(mixture)
        for hook in hooks:
            hook.remove()
    return storages.total


class Storages:
    """The sizes of different storages; one that has been freed may come back as another."""

    def __init__(self, left_out: nn.Module) -> None:
        self._seen: dict[int, StorageWeakRef] = {}
        self.total = 0
        for parameter in left_out.parameters():
            self.add(parameter)
        self.total = 0

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, unless it is counted already."""
        storage = tensor.untyped_storage()
        known = self._seen.get(storage._cdata)
        if known is None or known.expired():
            self._seen[storage._cdata] = StorageWeakRef(storage)
            self.total += storage.nbytes()


@contextmanager
def counted(model: nn.Module) -> Iterator[Storages]:
    """Count what a forward pass keeps, and free it at once."""
    storages = Storages(model)

    def pack(tensor: Tensor) -> None:
        storages.add(tensor)

    def unpack(_: None) -> Tensor:
        raise AssertionError("there is no backward pass")

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield storages


if __name__ == "__main__":
    raise SystemExit(main())
