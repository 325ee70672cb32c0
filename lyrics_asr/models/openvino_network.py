"""Networks in OpenVINO, which runs U-Nets on a CPU faster than PyTorch does, see docs/benchmarks.md.

Converting a network takes seconds, so the compiled one is kept in the assets cache of the Hugging Face hub. Its name is
a hash of everything that it depends on.
"""

import hashlib
import io
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_ASSETS_CACHE
from jaxtyping import Float
from torch import Tensor, nn

from lyrics_asr.files import atomic_path
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.version import RESULTS_VERSION

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else its import reports usage
import openvino  # noqa: E402

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}

_compiled: dict[str, Any] = {}
"""The compiled networks of this process, by the names of their files."""


class OpenVINONetwork:
    """Computes what a network in evaluation mode does, on the CPU and without gradients.

    Args:
        network: takes one tensor and returns one; its weights stay as they are now.
        precision: "float32" or "bfloat16".
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        self._network = network
        self._config = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # else the workers of a computer share its first cores
        }
        self._core = openvino.Core()
        processor = [self._core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        self._key = [
            RESULTS_VERSION,
            openvino.get_version(),
            processor,
            precision,
            repr(network),
            weights_fingerprint(network),
        ]

    def __call__(self, inputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The output of the network, which is compiled for the shape of the inputs."""
        shape = list(inputs.shape)
        name = hashlib.sha256(repr([*self._key, shape]).encode()).hexdigest()
        if name not in _compiled:
            _compiled[name] = self._load(Path(HF_ASSETS_CACHE, "lyrics-asr", "openvino", f"{name}.blob"), shape)
        return torch.from_numpy(_compiled[name](inputs.numpy())[0])

    def _load(self, path: Path, shape: list[int]) -> Any:
        """Read the compiled network, or convert it."""
        with suppress(OSError, RuntimeError):  # there is no file, or it is damaged
            return self._core.import_model(io.BytesIO(path.read_bytes()), "CPU", self._config)
        with torch.autocast("cpu", enabled=False):
            model = openvino.convert_model(self._network, example_input=torch.zeros(shape), input=[shape])
        compiled = self._core.compile_model(model, "CPU", self._config)
        with suppress(OSError), atomic_path(path) as temporary:  # without a cache, it is converted each time
            temporary.write_bytes(compiled.export_model().getvalue())
        return compiled
