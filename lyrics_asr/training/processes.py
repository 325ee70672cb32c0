"""The processes of a training run, one per GPU, as started by torchrun or `accelerate launch`.

Conventions
- Collectives on tensors, such as summing gradients, time out after `COLLECTIVE_TIMEOUT`: then a process is gone.
- Work that takes minutes in one process (downloads, making songs, validation, checkpoints) has no such limit: the
  others wait in a second process group over CPU sockets (gloo). A process that fails or is gone still ends them.
- Parallelism is that of data, with copies of the model (DDP) or shares of the acoustic model (FSDP, `sharding`);
  `StageOptions.accumulation` sets the number of batches per step.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs, ProjectConfiguration
from torch import distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lyrics_asr.console import say
from lyrics_asr.training.config import TrainingConfig

COLLECTIVE_TIMEOUT = timedelta(hours=1)
_NO_TIMEOUT = timedelta(days=30)
_UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP by the environment",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration (tensor, context or sequence parallelism)",
}


class TrainingAccelerator(Accelerator):  # type: ignore[misc] # accelerate has no types
    """An Accelerator whose processes can wait for each other longer than the timeout of collectives.

    Args:
        precision: "no", "bf16" or "fp16".
        log_with: trackers.
        folder: of trackers that write files.
    """

    def __init__(self, precision: str = "no", log_with: list[str] | None = None, folder: Path | None = None) -> None:
        super().__init__(
            mixed_precision=precision,
            log_with=log_with,
            project_config=ProjectConfiguration(logging_dir=None if folder is None else str(folder)),
            cpu=not torch.cuda.is_available(),  # else processes of torchrun would run alone
            # The losses are means over a whole step already.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=COLLECTIVE_TIMEOUT)],
        )
        self._waiting: distributed.ProcessGroup | None = None
        if self.num_processes > 1:
            self._waiting = distributed.new_group(backend="gloo", timeout=_NO_TIMEOUT)

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block in the main process first, then in the others, which wait without a timeout.

        Raises:
            RuntimeError: in the other processes, if the block failed in the main process.
        """
        if not self.is_main_process:
            self._share_failure(None)
            yield
            return
        try:
            yield
        except BaseException as error:
            self._share_failure(f"{type(error).__name__}: {error}")
            raise
        self._share_failure(None)

    def wait_for_everyone(self) -> None:
        """Wait for all processes, without a timeout."""
        if self._waiting is not None:
            distributed.barrier(group=self._waiting)

    def in_parallel(self, graph: nn.Module) -> nn.Module:
        """The graph for this process; to be made anew when other weights are trained, for gradients are exchanged."""
        sharded = [name for name, parameter in graph.named_parameters() if isinstance(parameter, DTensor)]
        copied = [each for each in graph.parameters() if each.requires_grad and not isinstance(each, DTensor)]
        if self.num_processes == 1 or not copied:
            return graph
        ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model  # FSDP reduces theirs
        ignore(graph, sharded)
        return DistributedDataParallel(
            graph,
            device_ids=None if self.device.type == "cpu" else [self.device],
            broadcast_buffers=False,
            find_unused_parameters=True,  # layers that are dropped, masks that are not drawn
        )

    def _share_failure(self, failure: str | None) -> None:
        if self._waiting is None:
            return
        message = [failure]
        distributed.broadcast_object_list(message, src=0, group=self._waiting)
        if message[0] is not None and not self.is_main_process:
            raise RuntimeError(f"the main process failed: {message[0]}")


def create_accelerator(config: TrainingConfig) -> TrainingAccelerator:
    """Join the processes of a run.

    Args:
        config: options of the run; only precision and trackers are used.

    Raises:
        ValueError: the environment, as set by `accelerate launch`, requests unsupported parallelism; or fp16 without a
            GPU.
    """
    for variable, name in _UNSUPPORTED.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes"):
            raise ValueError(
                f"{name} is not supported ({variable} is set); training is data-parallel: start it with torchrun "
                "or `accelerate launch --multi_gpu`, or answer no to it in `accelerate config`. To save memory, set "
                "sharded=true (FSDP), precision=bf16 or gradient_checkpointing=true, or lower cuts.batch_seconds and "
                "raise accumulation"
            )
    if config.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision: fp16 needs a GPU; set it to bf16 or fp32")
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = config.precision == "tf32"  # of convolutions; PyTorch allows it
    precision = config.precision if config.precision in ("bf16", "fp16") else "no"
    for variable, used, option in (
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", "`accumulation` of a stage"),
        ("ACCELERATE_MIXED_PRECISION", precision, "`precision`"),
    ):
        if (value := os.environ.get(variable, used)) != used:
            say(f"{variable}={value} is ignored; set {option} in the configuration")
    return TrainingAccelerator(precision, config.tracking.trackers or None, Path(config.output))
