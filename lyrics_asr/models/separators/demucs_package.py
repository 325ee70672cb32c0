"""Read and write the weights file of a Demucs network.

It is a safetensors file, or an older Demucs `.th` package, which is read with `torch.load(weights_only=True)`. Both
name the class of their network. Only Demucs' own network classes are ever built, whatever a file names.
"""

import hashlib
import importlib.util
import json
import pickle
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import demucs.states
import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lyrics_asr.files import atomic_path
from lyrics_asr.models.separators.demucs import DemucsNetwork


def load_network(path: Path) -> DemucsNetwork:
    """Load a network from its weights file.

    Raises:
        ValueError: the weights are damaged, or name a class that is not a Demucs network.
    """
    if path.suffix == ".safetensors":
        package = _read_safetensors(path)
    elif path.suffix == ".th":
        package = _read_pickle(path)
    else:
        raise ValueError(f"{path}: separator weights must be .safetensors or .th files")
    if package["klass"] not in (Demucs, HDemucs, HTDemucs):
        raise ValueError(f"{path}: names the class {package['klass']!r}, which is not a Demucs network")
    if package["state"].get("__quantized") and importlib.util.find_spec("diffq") is None:
        raise ValueError(f"{path}: these weights are quantized with DiffQ; `pip install diffq`, or use another model")
    try:
        return cast(DemucsNetwork, demucs.states.load_model(package))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: the weights do not fit the network they name: {error}") from error


def save_network(network: DemucsNetwork, folder: Path, *, half: bool) -> str:
    """Write a network to `SIGNATURE.safetensors` in a folder, and return the signature.

    Args:
        network: to write.
        folder: created if missing.
        half: store the weights in float16, like the published ones.
    """
    args, kwargs = cast(tuple[Any, Any], network._init_args_kwargs)
    state = {key: _storable(value, half) for key, value in network.state_dict().items()}
    metadata = {
        "klass": f"{type(network).__module__}.{type(network).__qualname__}",
        "args": json.dumps(args, default=_encode_fraction),
        "kwargs": json.dumps({**kwargs, "segment": network.segment}, default=_encode_fraction),
    }
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for key in sorted(state):
        digest.update(state[key].numpy().tobytes())
    signature = digest.hexdigest()[:8]
    with atomic_path(folder / f"{signature}.safetensors") as path:
        save_file(state, path, metadata)
    return signature


def _allowed_classes() -> list[type]:
    """All classes that a weights file may name."""
    classes: list[type] = [Demucs, HDemucs, HTDemucs]
    if importlib.util.find_spec("diffq") is not None:
        diffq = importlib.import_module("diffq")
        classes += [diffq.DiffQuantizer, diffq.UniformQuantizer]
    return classes


def _class_named(path: Path, name: str) -> type:
    allowed = []
    for each in _allowed_classes():
        allowed.append(f"{each.__module__}.{each.__qualname__}")
        if name == allowed[-1]:
            return each
    raise ValueError(f"{path}: names the class {name!r}; only {', '.join(allowed)} are loaded")


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file whose metadata has the network's class and arguments as JSON (`demucs.hf`)."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = dict(zip(file.keys(), map(file.get_tensor, file.keys()), strict=True))
        package = {
            "klass": _class_named(path, metadata["klass"]),
            "args": json.loads(metadata["args"], object_hook=_decode_fraction),
            "kwargs": json.loads(metadata["kwargs"], object_hook=_decode_fraction),
        }
        structure = json.loads(metadata["structure"]) if "structure" in metadata else None
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged, or not a Demucs safetensors file ({error!r}); download it again") from error
    package["state"] = tensors if structure is None else _nested_state(path, structure, tensors)
    return package


def _nested_state(path: Path, node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild a nested state (quantized weights) from flat tensors and the tree in the metadata."""
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "_tensor":
        return tensors[value]
    if kind == "_dict":
        return {key: _nested_state(path, item, tensors) for key, item in value}
    if kind == "_list":
        return [_nested_state(path, item, tensors) for item in value]
    if kind == "_tuple":
        return tuple(_nested_state(path, item, tensors) for item in value)
    if kind == "_class":
        return _class_named(path, value)
    raise ValueError(f"{path}: unknown entry {kind!r} in the structure of the weights")


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([*_allowed_classes(), Fraction]):
            package = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        cause = next((line for line in str(error).splitlines() if "GLOBAL" in line), type(error).__name__)
        raise ValueError(
            f"{path}: refused, or damaged: {cause.strip()}; use the safetensors weights of this model"
        ) from error
    if not isinstance(package, dict) or not {"klass", "args", "kwargs", "state"} <= package.keys():
        raise ValueError(f"{path}: not a Demucs package")
    return package


def _decode_fraction(value: dict[str, Any]) -> Any:
    return Fraction(value["numerator"], value["denominator"]) if value.get("_type") == "fraction" else value


def _encode_fraction(value: object) -> dict[str, object]:
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    raise TypeError(f"cannot store {value!r} among the arguments of a network")


def _storable(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() else value
