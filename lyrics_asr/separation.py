"""Mixture in, vocals out: Demucs separators, run over whole songs without a random number.

Conventions
- Samples are float32 at the separator's own rate, shaped `channels samples`.
- A separator keeps the networks of a Demucs bag that the bag's weights choose for the vocals, and no other.
- Weights are safetensors, or the older Demucs `.th` packages read with `torch.load(weights_only=True)`. Both name the
  class of their network; only Demucs' own network classes are ever built, whatever a file names.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import math
import pickle
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, cast

import demucs.pretrained
import demucs.states
import torch
import yaml
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import DEFAULT_NAMESPACE, hf_repo_name
from demucs.htdemucs import HTDemucs
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever httpx this version uses
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import pad

from lyrics_asr.audio import SEPARATOR_SAMPLE_RATE_HZ
from lyrics_asr.config import SeparationOptions
from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.precision import batches, computing

DemucsNetwork: TypeAlias = Demucs | HDemucs | HTDemucs

# Commits of the published weights on the Hugging Face hub; other names follow the head of their repository.
SEPARATOR_REVISIONS = {
    "adefossez/HTDemucs": "cbc8a9b1a87023b7fd74e7b3412e6321c0eab003",
    "adefossez/HTDemucs-ft": "d74ac89c3a1e874fc78f152555cf4d8533f06cd4",
}
_PUBLISHED_REPOSITORY = "adefossez/HTDemucs"  # of the pair that `lyrics-asr models download` fetches
VOCALS = "vocals"
_HUB_TIMEOUT_SECONDS = 4.0  # without a network, loading must fail within 10 s, imports included


class ModelNotFoundError(FileNotFoundError):
    """A model's weights are neither on this computer nor within reach."""


class Separator(nn.Module):
    """The vocals of a mixture, as the weighted mean of one or more Demucs networks; of none, the mixture itself.

    Args:
        name: what `load_separator` would find it by.
        networks: Demucs networks with a source named "vocals".
        weights: weight of each network in the mean; 1 for each when None.
    """

    def __init__(self, name: str, networks: Sequence[DemucsNetwork], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.name = name
        self.sample_rate_hz = int(networks[0].samplerate) if networks else SEPARATOR_SAMPLE_RATE_HZ
        self.audio_channels = int(networks[0].audio_channels) if networks else 2
        self.networks = nn.ModuleList(networks)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(networks)
        for network in networks:
            if VOCALS not in network.sources:
                raise ValueError(f"separator {name!r} gives {', '.join(network.sources)}: a source 'vocals' is needed")
        # HTDemucs would overwrite its own segment while it trains, and then cut songs differently: we pad in its place.
        self._pads_to_segment = tuple(getattr(network, "use_train_segment", False) for network in networks)
        for network in networks:
            if isinstance(network, HTDemucs):
                network.use_train_segment = False

    def forward(self, mixture: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels samples"]:
        """Vocals of one stretch of any length, in one piece and differentiable.

        In evaluation mode a stretch shorter than an HTDemucs segment is padded to it, as Demucs does; in training mode
        the network sees the stretch alone.
        """
        if not self.networks:
            return mixture
        self._check_channels(mixture.shape[-2])
        samples = mixture.shape[-1]
        vocals = torch.zeros_like(mixture)
        for index, weight in enumerate(self.weights):
            missing = self._padded_samples(index, samples) - samples
            padded = pad(mixture, (missing // 2, missing - missing // 2))
            vocals = vocals + weight * self._run(index, padded)[..., missing // 2 : missing // 2 + samples]
        return vocals / sum(self.weights)

    @torch.inference_mode()
    def separate(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None] | None = None,
    ) -> list[Float[Tensor, "channels _"]]:
        """Vocals of whole songs, by overlap-add of segments with triangular weights (`demucs.apply.apply_model`).

        Segments of different songs share batches. The same songs always give the same vocals.

        Args:
            mixtures: whole songs at the separator's rate, on any device.
            options: overlap, batch size and precision.
            progress: called with the share that is done, in 0..1.

        Returns:
            The vocals of each song, on the separator's device.
        """
        if not (self.networks and mixtures):
            return list(mixtures)
        for mixture in mixtures:
            self._check_channels(mixture.shape[0])
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        try:
            with computing(device, options.precision), _flash_attention():
                on_device = [mixture.detach().to(device) for mixture in mixtures]
                return self._overlap_add(on_device, options, progress or (lambda share: None))
        finally:
            self.train(was_training)

    def block_grid(self, options: SeparationOptions) -> tuple[int, int]:
        """How a song can be separated in blocks as if in one piece.

        Returns:
            What the first sample of a block must be a multiple of, and how many samples at either end of a block, other
            than an end of the song, differ from those of the whole song and are to be left out.
        """
        segments = [self.segment_samples(index) for index in range(len(self.networks))]
        return math.lcm(*(_stride(segment, options) for segment in segments)), max(segments, default=0)

    def segment_samples(self, index: int) -> int:
        """Samples that network `index` of this separator takes at once in `separate`."""
        network = self.network(index)
        return int(network.samplerate * network.segment)

    def network(self, index: int) -> DemucsNetwork:
        """Network `index` of this separator."""
        return cast(DemucsNetwork, self.networks[index])

    def _overlap_add(
        self,
        mixtures: Sequence[Float[Tensor, "channels _"]],
        options: SeparationOptions,
        progress: Callable[[float], None],
    ) -> list[Float[Tensor, "channels _"]]:
        vocals = [torch.zeros_like(mixture) for mixture in mixtures]
        for index, weight in enumerate(self.weights):
            segment = self.segment_samples(index)
            triangle = _triangle(segment).to(vocals[0].device)
            estimates = [torch.zeros_like(mixture) for mixture in mixtures]
            totals = [torch.zeros_like(mixture[0]) for mixture in mixtures]
            pieces = [
                _Piece(song, offset, length, self._padded_samples(index, length))
                for song, mixture in enumerate(mixtures)
                for offset, length in _segments(mixture.shape[-1], segment, options)
            ]
            done = 0
            for batch in batches(pieces, lambda piece: piece.padded, vocals[0].device, options.batch_size):
                stretches = [_stretch(mixtures[each.song], each.offset - each.left, each.padded) for each in batch]
                outputs = self._run(index, torch.stack(stretches)).float()
                for each, output in zip(batch, outputs, strict=True):
                    span = slice(each.offset, each.offset + each.length)
                    weighted = triangle[: each.length] * output[:, each.left : each.left + each.length]
                    estimates[each.song][:, span] += weighted
                    totals[each.song][span] += triangle[: each.length]
                done += len(batch)
                progress((index + done / len(pieces)) / len(self.weights))
            for song, (estimate, total) in enumerate(zip(estimates, totals, strict=True)):
                vocals[song] += weight / sum(self.weights) * estimate / total
        return vocals

    def _run(
        self, index: int, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch channels samples"]:
        network = self.network(index)
        vocals: Tensor = network(mixture)[:, network.sources.index(VOCALS)]
        return vocals

    def _padded_samples(self, index: int, samples: int) -> int:
        network = self.network(index)
        if isinstance(network, Demucs):
            return int(network.valid_length(samples))
        if isinstance(network, HDemucs) and not network.hybrid:
            return max(samples, int(network.nfft) // 2 + 1)  # its spectrogram mirrors half a window beyond both ends
        if self._pads_to_segment[index] and not self.training:
            return max(samples, self.segment_samples(index))
        return samples

    def _check_channels(self, channels: int) -> None:
        if channels != self.audio_channels:
            raise ValueError(
                f"separator {self.name!r} takes {self.audio_channels} channels, the mixture has {channels}"
            )


def build_separator(kwargs: Mapping[str, Any], name: str = "custom") -> Separator:
    """A new Demucs network with random weights, to train from nothing.

    Args:
        kwargs: arguments of the network's class (sources, channels, depth, segment, ...) and, as `network`, the class:
            "HTDemucs" (the default), "HDemucs" or "Demucs".
        name: what the separator is to be called.

    Raises:
        ValueError: no such class.
    """
    classes: dict[str, type[DemucsNetwork]] = {each.__name__: each for each in (HTDemucs, HDemucs, Demucs)}
    arguments = dict(kwargs)
    class_name = arguments.pop("network", "HTDemucs")
    if class_name not in classes:
        raise ValueError(f"separator network {class_name!r} is unknown; choose one of {', '.join(classes)}")
    return Separator(name, [classes[class_name](**arguments)])


def load_separator(name: str) -> Separator:
    """The separator that is called `name`, on the CPU and in evaluation mode.

    Args:
        name: "none" (a cappella: the mixture is the vocals); a folder with a bag (NAME.yaml and SIGNATURE.safetensors)
            or with one weights file; a weights file; or whatever `demucs.pretrained.get_model` takes: "htdemucs",
            "htdemucs_ft", a signature such as "955717e8", "hf://namespace/name".

    Raises:
        ModelNotFoundError: the weights are not here and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the weights are damaged, or name a class that is not a Demucs network.
    """
    path = Path(name)
    if name == "none":
        separator = Separator(name, [])
    elif path.is_dir():
        separator = _load_folder(name, path)
    elif path.is_file():
        separator = Separator(name, [_load_network(path)])
    elif not name.startswith("hf://") and (path.suffix or len(path.parts) > 1):
        raise FileNotFoundError(f"{name}: no such separator folder or file; check the path")
    elif name in _legacy_packages():
        separator = Separator(name, [_load_network(_legacy_file(name, download=True))])
    else:
        separator = _load_published_bag(name)
    return separator.eval()


def save_separator(separator: Separator, folder: Path, *, half: bool = True) -> None:
    """Write a separator as Demucs' hub layout, `FOLDER.yaml` and a `SIGNATURE.safetensors` for each network.

    Args:
        separator: one that has networks.
        folder: made if need be; its name becomes the bag's.
        half: store the weights in float16, as the published ones are.
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


def hub_snapshot(
    repository: str,
    revision: str | None,
    *downloads: Sequence[str],
    complete: Callable[[Path], bool],
    published: bool = False,
) -> Path:
    """Folder of a Hugging Face repository's files, from the cache where it is complete, else downloaded.

    Args:
        repository: its name, `owner/name`.
        revision: commit, tag or branch; the head when None.
        downloads: sets of file patterns, fetched one after the other until `complete` is true of the folder.
        complete: whether a folder has all that is needed.
        published: whether `lyrics-asr models download` fetches this, and is thus the remedy when it is missing.

    Raises:
        ModelNotFoundError: neither the cache nor the hub has what is needed.
    """
    cause: Exception | None = None
    with contextlib.suppress(OSError):
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if complete(folder):
            return folder
    try:
        if downloads and not constants.HF_HUB_OFFLINE:
            # Asked first because it asks but once: a download would go on trying for half a minute without a network.
            _probe(lambda: HfApi().model_info(repository, revision=revision, timeout=_HUB_TIMEOUT_SECONDS))
            for patterns in downloads:
                folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
                if complete(folder):
                    return folder
    except (OSError, httpx.HTTPError) as error:
        cause = error
    raise _not_found(f"{repository} (Hugging Face)", cause, published) from cause


def _probe(ask: Callable[[], object]) -> None:
    """Ask a server, for `_HUB_TIMEOUT_SECONDS` in all.

    A timeout of the request itself starts anew with each address and each piece of the answer, and does not hold for
    the name lookup; so the asking goes on beside us, and is left to itself when the time is up.

    Raises:
        TimeoutError: no answer in time; any error of `ask` comes as it is.
    """
    answer: futures.Future[object] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # handed to whoever waits for the answer
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not futures.wait([answer], timeout=_HUB_TIMEOUT_SECONDS).done:
        raise TimeoutError(f"no answer within {_HUB_TIMEOUT_SECONDS:g} s")
    answer.result()


def _not_found(what: str, cause: Exception | None, published: bool = False) -> ModelNotFoundError:
    reason = "files are missing there"
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    elif cause is not None:
        reason = " ".join([f"{type(cause).__name__}:", *str(cause).splitlines()[:1]])
    remedy = "Check the name, and run the same command once while online; or give a folder that holds the weights."
    if published:
        remedy = "Run `lyrics-asr models download` while online, or choose `--model embedded`, which needs no download."
    return ModelNotFoundError(
        f"{what}: the weights are not on this computer and could not be downloaded ({reason}). {remedy}"
    )


def _load_folder(name: str, folder: Path) -> Separator:
    bags = sorted(folder.glob("*.yaml"))
    named = folder / f"{folder.name}.yaml"
    if named in bags:
        bags = [named]
    if len(bags) == 1:
        return _load_bag(name, bags[0], lambda signature: _signature_file(folder, signature))
    files = sorted(path for suffix in ("*.safetensors", "*.th") for path in folder.glob(suffix))
    if not bags and len(files) == 1:
        return Separator(name, [_load_network(files[0])])
    raise FileNotFoundError(
        f"{folder}: found {len(bags)} bags (*.yaml) and {len(files)} weight files; "
        "a separator folder has one bag with its weight files, or one weight file"
    )


def _signature_file(folder: Path, signature: str) -> Path:
    for path in (folder / f"{signature}.safetensors", folder / f"{signature}.th", *folder.glob(f"{signature}-*.th")):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: weights {signature}.safetensors of the bag are missing; copy them there")


def _load_published_bag(name: str) -> Separator:
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
            published=repository == _PUBLISHED_REPOSITORY,
        )
        return folder / file_name

    try:
        return _load_bag(name, fetch(f"{short}.yaml"), lambda signature: fetch(f"{signature}.safetensors"))
    except ModelNotFoundError as error:
        bag = demucs.pretrained.REMOTE_ROOT / f"{name}.yaml"
        if not bag.is_file():
            raise
        # The hub is the publisher's present place; the older one serves names that the hub lacks, or an older cache.
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
        raise _not_found(file_name, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _probe(lambda: urllib.request.urlopen(url, timeout=_HUB_TIMEOUT_SECONDS).close())
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[1], progress=False)
    except OSError as error:
        raise _not_found(url, error) from error
    return path


def _load_bag(name: str, bag_path: Path, find: Callable[[str], Path]) -> Separator:
    """The networks of a bag that have a say in the vocals; the files of the others are not even read."""
    bag = yaml.safe_load(bag_path.read_text(encoding="utf-8"))
    signatures = bag.get("models") if isinstance(bag, dict) else None
    if not isinstance(signatures, list) or not signatures or not all(_is_signature(item) for item in signatures):
        raise ValueError(f"{bag_path}: 'models' must be a list of signatures; this is no Demucs bag")
    load = functools.cache(lambda signature: _load_network(find(signature)))
    rows = bag.get("weights") or [[1.0] * len(load(signatures[-1]).sources)] * len(signatures)
    column = load(signatures[-1]).sources.index(VOCALS)
    weights: dict[str, float] = {}
    for signature, row in zip(signatures, rows, strict=True):
        weights[signature] = weights.get(signature, 0.0) + float(row[column])
    chosen = {signature: weight for signature, weight in weights.items() if weight != 0}
    networks = [load(signature) for signature in chosen]
    segment = bag.get("segment")
    for network in networks:
        if segment is not None and (not isinstance(network, HTDemucs) or segment <= network.segment):
            network.segment = segment
    return Separator(name, networks, list(chosen.values()))


def _is_signature(item: object) -> bool:
    return isinstance(item, str) and item.replace("-", "").replace("_", "").isalnum()


def _load_network(path: Path) -> DemucsNetwork:
    if path.suffix == ".safetensors":
        package = _read_safetensors(path)
    elif path.suffix == ".th":
        package = _read_pickle(path)
    else:
        raise ValueError(f"{path}: separator weights are .safetensors or .th files")
    if package["klass"] not in (Demucs, HDemucs, HTDemucs):
        raise ValueError(f"{path}: names the class {package['klass']!r}, which is not a Demucs network")
    if package["state"].get("__quantized") and importlib.util.find_spec("diffq") is None:
        raise ValueError(f"{path}: these weights are quantised with DiffQ; `pip install diffq`, or use another model")
    try:
        return cast(DemucsNetwork, demucs.states.load_model(package))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: the weights do not fit the network they name: {error}") from error


def _allowed_classes() -> dict[str, type]:
    """Every class that a weights file may name."""
    classes: list[type] = [Demucs, HDemucs, HTDemucs]
    if importlib.util.find_spec("diffq") is not None:
        diffq = importlib.import_module("diffq")
        classes += [diffq.DiffQuantizer, diffq.UniformQuantizer]
    return {f"{each.__module__}.{each.__qualname__}": each for each in classes}


def _class_named(path: Path, name: str) -> type:
    allowed = _allowed_classes()
    if name not in allowed:
        raise ValueError(f"{path}: names the class {name!r}; only {', '.join(allowed)} are loaded")
    return allowed[name]


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The package of a file whose metadata holds the network's class and arguments as JSON (`demucs.hf`)."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
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
    """A state with nested containers (quantised weights) from flat tensors and the tree kept in the metadata."""
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
        with torch.serialization.safe_globals([*_allowed_classes().values(), Fraction]):
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


@contextlib.contextmanager
def _flash_attention() -> Iterator[None]:
    """Do without PyTorch's fast path of transformer layers, which writes out whole attention matrices and is slower."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _triangle(samples: int) -> Float[Tensor, " samples"]:
    rising = torch.arange(1, samples // 2 + 1)
    falling = torch.arange(samples - samples // 2, 0, -1)
    weight = torch.cat([rising, falling])
    return weight / weight.max()


@dataclass(frozen=True)
class _Piece:
    """A segment of one of several songs, with silence around it where the network takes more samples than it has."""

    song: int
    offset: int
    length: int
    padded: int

    @property
    def left(self) -> int:
        return (self.padded - self.length) // 2


def _segments(samples: int, segment: int, options: SeparationOptions) -> Iterator[tuple[int, int]]:
    """Where the segments of a song begin, and how long they are: the last ones are shorter."""
    for offset in range(0, samples, _stride(segment, options)):
        yield offset, min(segment, samples - offset)


def _stride(segment: int, options: SeparationOptions) -> int:
    return max(1, int((1 - options.overlap) * segment))


def _stretch(mixture: Float[Tensor, "channels samples"], start: int, samples: int) -> Float[Tensor, "channels stretch"]:
    """`samples` samples from `start` on, with silence before and after the song."""
    total = mixture.shape[-1]
    end = start + samples
    inside = mixture[:, max(0, start) : min(total, end)]
    return pad(inside, (max(0, -start), max(0, end - total)))
