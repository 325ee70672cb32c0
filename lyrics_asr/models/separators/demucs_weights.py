"""Read, build and write Demucs separators: published names, folders, bags and weights files.

Conventions
- A bag is a YAML file that lists the signatures of its networks and their weights per source. Only networks with a
  non-zero vocals weight are loaded.
- Weights are safetensors, or older Demucs `.th` packages, which are read with `torch.load(weights_only=True)`. Both
  name the class of their network. Only Demucs' own network classes are ever built, whatever a file names.
"""

import functools
import hashlib
import importlib.util
import json
import pickle
import urllib.request
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import demucs.pretrained
import demucs.states
import torch
import yaml
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
from demucs.htdemucs import HTDemucs
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.models.hub import (
    HUB_TIMEOUT_SECONDS,
    ModelNotFoundError,
    hub_snapshot,
    not_found,
    probe_hub,
)
from lyrics_asr.models.known_models import PUBLISHED_REPOSITORY, SEPARATOR_REVISIONS
from lyrics_asr.models.separators.demucs import VOCALS, DemucsNetwork, DemucsSeparator


def load_demucs(name: str) -> DemucsSeparator:
    """Load a Demucs separator on the CPU, in evaluation mode.

    Args:
        name: "none" (a cappella: the mixture is the vocals); a folder with a bag (NAME.yaml and SIGNATURE.safetensors)
            or with one weights file; a weights file; or a name that `demucs.pretrained.get_model` takes: "htdemucs",
            "htdemucs_ft", a signature such as "955717e8", "hf://namespace/name".

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or name a class that is not a Demucs network.
    """
    path = Path(name)
    if name == "none":
        separator = DemucsSeparator(name, [])
    elif path.is_dir():
        separator = _load_folder(name, path)
    elif path.is_file():
        separator = DemucsSeparator(name, [_load_network(path)])
    elif not name.startswith("hf://") and (path.suffix or len(path.parts) > 1):
        raise FileNotFoundError(f"{name}: no such separator folder or file; check the path")
    elif name in _legacy_packages():
        separator = DemucsSeparator(name, [_load_network(_legacy_file(name, download=True))])
    else:
        separator = _load_published_bag(name)
    return separator.eval()


def build_demucs(kwargs: Mapping[str, Any], name: str = "custom") -> DemucsSeparator:
    """Build a separator with random weights, to train from scratch.

    Args:
        kwargs: arguments of the network's class (sources, channels, depth, segment, ...) and, as `network`, the class:
            "HTDemucs" (the default), "HDemucs" or "Demucs".
        name: name of the separator.

    Raises:
        ValueError: no such class.
    """
    classes: dict[str, type[DemucsNetwork]] = {each.__name__: each for each in (HTDemucs, HDemucs, Demucs)}
    arguments = dict(kwargs)
    class_name = arguments.pop("network", "HTDemucs")
    if class_name not in classes:
        raise ValueError(f"separator network {class_name!r} is unknown; choose one of {', '.join(classes)}")
    return DemucsSeparator(name, [classes[class_name](**arguments)])


def save_demucs(separator: DemucsSeparator, folder: Path, *, half: bool = True) -> None:
    """Write a separator in Demucs' hub layout: `FOLDER.yaml`, and a `SIGNATURE.safetensors` per network.

    Args:
        separator: has at least one network.
        folder: created if missing; its name becomes the name of the bag.
        half: store the weights in float16, like the published ones.

    Raises:
        ValueError: the separator has no networks.
    """
    if not separator.networks:
        raise ValueError("the separator 'none' has no weights to save")
    signatures = []
    for index in range(len(separator.networks)):
        network = separator.network(index)
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
        signatures.append(digest.hexdigest()[:8])
        with atomic_path(folder / f"{signatures[-1]}.safetensors") as path:
            save_file(state, path, metadata)
    bag: dict[str, Any] = {"models": signatures}
    if len(signatures) > 1:
        bag["weights"] = [[weight] * len(separator.network(0).sources) for weight in separator.weights]
    write_text(folder / f"{folder.name}.yaml", yaml.safe_dump(bag))


def _load_folder(name: str, folder: Path) -> DemucsSeparator:
    bags = sorted(folder.glob("*.yaml"))
    named = folder / f"{folder.name}.yaml"
    if named in bags:
        bags = [named]
    if len(bags) == 1:
        return _load_bag(name, bags[0], functools.partial(_signature_file, folder))
    files = sorted(path for suffix in ("*.safetensors", "*.th") for path in folder.glob(suffix))
    if not bags and len(files) == 1:
        return DemucsSeparator(name, [_load_network(files[0])])
    raise FileNotFoundError(
        f"{folder}: found {len(bags)} bags (*.yaml) and {len(files)} weight files; "
        "a separator folder has one bag with its weight files, or one weight file"
    )


def _signature_file(folder: Path, signature: str) -> Path:
    for path in (folder / f"{signature}.safetensors", folder / f"{signature}.th", *folder.glob(f"{signature}-*.th")):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: weights {signature}.safetensors of the bag are missing; copy them there")


def _load_published_bag(name: str) -> DemucsSeparator:
    namespace, slash, short = name.removeprefix("hf://").partition("/")
    if not slash:
        namespace, short = DEFAULT_NAMESPACE, namespace
    repository = f"{namespace}/{hf_repo_name(short)}"
    revision = SEPARATOR_REVISIONS.get(repository)

    def fetch(file_name: str) -> Path:
        folder = hub_snapshot(
            repository,
            revision,
            [file_name],
            complete=lambda folder: (folder / file_name).is_file(),
            published=repository == PUBLISHED_REPOSITORY,
        )
        return folder / file_name

    try:
        return _load_bag(name, fetch(f"{short}.yaml"), lambda signature: fetch(f"{signature}.safetensors"))
    except ModelNotFoundError as error:
        bag = demucs.pretrained.REMOTE_ROOT / f"{name}.yaml"
        if not bag.is_file():
            raise
        # Demucs now publishes on the hub; the older server has names that the hub lacks, and its cache may be filled.
        download = isinstance(error.__cause__, RepositoryNotFoundError)
        try:
            return _load_bag(name, bag, lambda signature: _legacy_file(signature, download))
        except ModelNotFoundError:
            raise error from error.__cause__


def _legacy_packages() -> dict[str, str]:
    packages: dict[str, str] = demucs.pretrained._parse_remote_files(demucs.pretrained.REMOTE_ROOT / "files.txt")
    return packages


def _legacy_file(signature: str, download: bool) -> Path:
    url = _legacy_packages()[signature]
    file_name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir(), "checkpoints", file_name)
    if path.is_file():
        return path
    if not download or constants.HF_HUB_OFFLINE:
        raise not_found(file_name, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        probe_hub(lambda: urllib.request.urlopen(url, timeout=HUB_TIMEOUT_SECONDS).close())
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[1], progress=False)
    except OSError as error:
        raise not_found(url, error) from error
    return path


def _load_bag(name: str, bag_path: Path, find: Callable[[str], Path]) -> DemucsSeparator:
    """Load the networks of a bag with a non-zero vocals weight; the files of the others are not read."""
    bag = yaml.safe_load(bag_path.read_text(encoding="utf-8"))
    signatures = bag.get("models") if isinstance(bag, dict) else None
    if not isinstance(signatures, list) or not signatures or not all(map(_is_signature, signatures)):
        raise ValueError(f"{bag_path}: not a Demucs bag: 'models' must be a list of signatures")
    last = _load_network(find(signatures[-1]))  # all networks of a bag have the same sources
    rows = bag.get("weights") or [[1.0] * len(last.sources)] * len(signatures)
    weights: dict[str, float] = {}
    for signature, row in zip(signatures, rows, strict=True):
        weights[signature] = weights.get(signature, 0.0) + float(row[last.sources.index(VOCALS)])
    networks, vocals_weights, segment = [], [], bag.get("segment")
    for signature, weight in weights.items():
        if weight == 0:
            continue
        network = last if signature == signatures[-1] else _load_network(find(signature))
        if segment is not None and (not isinstance(network, HTDemucs) or segment <= network.segment):
            network.segment = segment
        networks.append(network)
        vocals_weights.append(weight)
    return DemucsSeparator(name, networks, vocals_weights)


def _is_signature(item: object) -> bool:
    return isinstance(item, str) and item.replace("-", "").replace("_", "").isalnum()


def _load_network(path: Path) -> DemucsNetwork:
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
