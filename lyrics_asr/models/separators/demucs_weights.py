"""Read, build and write Demucs separators: published names, folders, bags and weights files.

Conventions
- A bag is a YAML file that lists the signatures of its networks and their weights per source. Only networks with a
  non-zero vocals weight are loaded.
- The weights file of a network is described in `demucs_package`.
"""

import functools
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import demucs.pretrained
import torch
import yaml
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
from demucs.htdemucs import HTDemucs

from lyrics_asr.files import write_text
from lyrics_asr.models.hub import (
    HUB_TIMEOUT_SECONDS,
    ModelNotFoundError,
    hub_snapshot,
    not_found,
    probe_hub,
)
from lyrics_asr.models.known_models import PUBLISHED_REPOSITORY, SEPARATOR_REVISIONS
from lyrics_asr.models.separators.demucs import DemucsNetwork, DemucsSeparator
from lyrics_asr.models.separators.demucs_package import load_network, save_network
from lyrics_asr.models.separators.vocals_only import VOCALS


def load_demucs(name: str) -> DemucsSeparator:
    """Load a Demucs separator on the CPU, in evaluation mode.

    Args:
        name: a folder with a bag (NAME.yaml and SIGNATURE.safetensors) or with one weights file; a weights file; or a
            name that `demucs.pretrained.get_model` takes: "htdemucs", "htdemucs_ft", a signature such as "955717e8",
            "hf://namespace/name".

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or name a class that is not a Demucs network.
    """
    path = Path(name)
    if path.is_dir():
        separator = _load_folder(name, path)
    elif path.is_file():
        separator = DemucsSeparator(name, [load_network(path)])
    elif not name.startswith("hf://") and (path.suffix or len(path.parts) > 1):
        raise FileNotFoundError(f"{name}: no such separator folder or file; check the path")
    elif name in _legacy_packages():
        separator = DemucsSeparator(name, [load_network(_legacy_file(name, download=True))])
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
        separator: to write.
        folder: created if missing; its name becomes the name of the bag.
        half: store the weights in float16, like the published ones.
    """
    signatures = [save_network(separator.network(index), folder, half=half) for index in range(len(separator.networks))]
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
        return DemucsSeparator(name, [load_network(files[0])])
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
        from huggingface_hub.errors import RepositoryNotFoundError

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
    from huggingface_hub import constants

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
    last = load_network(find(signatures[-1]))  # all networks of a bag have the same sources
    rows = bag.get("weights") or [[1.0] * len(last.sources)] * len(signatures)
    weights: dict[str, float] = {}
    for signature, row in zip(signatures, rows, strict=True):
        weights[signature] = weights.get(signature, 0.0) + float(row[last.sources.index(VOCALS)])
    networks, vocals_weights, segment = [], [], bag.get("segment")
    for signature, weight in weights.items():
        if weight == 0:
            continue
        network = last if signature == signatures[-1] else load_network(find(signature))
        if segment is not None and (not isinstance(network, HTDemucs) or segment <= network.segment):
            network.segment = segment
        networks.append(network)
        vocals_weights.append(weight)
    return DemucsSeparator(name, networks, vocals_weights)


def _is_signature(item: object) -> bool:
    return isinstance(item, str) and item.replace("-", "").replace("_", "").isalnum()
