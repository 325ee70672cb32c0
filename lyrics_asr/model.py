"""Separator and acoustic model as one differentiable network, and where such models are found.

    mixture (separator's rate) -> vocals -> mono -> 16 kHz -> log-probabilities

A model is a folder:

    model.json                  {"schema": "lyrics-asr/model/1", "separator"}; "separator" is null for the folder
                                below, else a name that `load_separator` takes, such as "none" or "htdemucs"
    separator/                  Demucs' hub layout
    acoustic/                   a Hugging Face `save_pretrained` folder
    language_model.arpa[.gz]    optional KenLM model, or language_model.bin
    decoder.yaml                optional `DecodingOptions`, tuned for this model
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchaudio.functional import resample

from lyrics_asr.acoustic import ACOUSTIC_REVISIONS, AcousticModel, is_complete, load_acoustic, save_acoustic
from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio
from lyrics_asr.config import AcousticOptions, DecodingOptions, SeparationOptions, dump_config, load_config
from lyrics_asr.files import OutputError, require_writable_folder, write_text
from lyrics_asr.language_model import LANGUAGE_MODEL_SUFFIXES
from lyrics_asr.separation import (
    SEPARATOR_REVISIONS,
    ModelNotFoundError,
    Separator,
    hub_snapshot,
    load_separator,
    save_separator,
)
from lyrics_asr.types import Emissions, ModelInfo

__all__ = ["KNOWN_MODELS", "KnownModel", "LyricsModel", "ModelNotFoundError", "cached_paths", "download", "load_model"]

SCHEMA = "lyrics-asr/model/1"
ASSETS_FOLDER = Path(__file__).parent / "assets"
"""Holds the models that are part of this package, each in a folder of its name."""
PUBLISHED_SEPARATOR = "htdemucs"
PUBLISHED_ACOUSTIC = "facebook/wav2vec2-large-960h-lv60-self"
_LANGUAGE_MODELS = tuple(f"language_model{suffix}" for suffix in LANGUAGE_MODEL_SUFFIXES)
_MODEL_FILES = ("model.json", "separator", "acoustic", "decoder.yaml", *_LANGUAGE_MODELS)


@dataclass(frozen=True)
class KnownModel:
    """A model that `load_model` finds by its name alone, and the hub repositories it comes from."""

    name: str
    description: str
    repositories: tuple[str, ...]


KNOWN_MODELS = (
    KnownModel(
        "published",
        f"{PUBLISHED_SEPARATOR} and {PUBLISHED_ACOUSTIC}, downloaded on first use",
        ("adefossez/HTDemucs", PUBLISHED_ACOUSTIC),
    ),
    KnownModel("embedded", "a small model in this package, needs no download: English, Spanish, French, German", ()),
    KnownModel("embedded-english", "its sibling for English alone, better where the band is plain", ()),
)


class LyricsModel(nn.Module):
    """A song's mixture in, CTC log-probabilities out.

    Args:
        name: what `load_model` would find it by.
        language_model_path: KenLM model to decode with.
        decoding: beam search options tuned for this model; the general defaults when None.
    """

    def __init__(
        self,
        separator: Separator,
        acoustic: AcousticModel,
        *,
        name: str,
        language_model_path: Path | None = None,
        decoding: DecodingOptions | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.separator = separator
        self.acoustic = acoustic
        self.language_model_path = language_model_path
        self.decoding = decoding or DecodingOptions()

    def forward(
        self, mixture: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of chunks of songs, differentiable from end to end.

        Args:
            mixture: at the separator's rate.
            lengths: valid samples of each row; whole rows when None.
        """
        return self.listen(self.separator(mixture), lengths)

    def listen(
        self, vocals: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames vocab"]:
        """Log-probabilities of what the separator gave: the second half of `forward`.

        Args:
            vocals: at the separator's rate.
            lengths: valid samples of each row; whole rows when None.
        """
        log_probs: Tensor = self.acoustic(
            self._voice(vocals), None if lengths is None else self._resampled_lengths(lengths)
        )
        return log_probs

    def frame_counts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Frames that `forward` gives for rows of so many samples at the separator's rate."""
        return self.acoustic.frame_counts(self._resampled_lengths(lengths))

    def vocals(
        self, songs: Sequence[Audio], options: SeparationOptions, progress: Callable[[float], None] | None = None
    ) -> list[Audio]:
        """The vocals of whole songs, on the model's device, at the separator's rate and with its channels."""
        rate = self.separator.sample_rate_hz
        mixtures = [song.resampled(rate).to_channels(self.mixture_channels).samples for song in songs]
        return [Audio(vocals, rate) for vocals in self.separator.separate(mixtures, options, progress)]

    def voice(self, vocals: Audio) -> Audio:
        """Vocals as the acoustic model takes them: mono at 16 kHz, where they are, resampled as in training."""
        return Audio(self._voice(vocals.samples[None]), ACOUSTIC_SAMPLE_RATE_HZ)

    def emissions(self, voices: Sequence[Audio], options: AcousticOptions) -> list[Emissions]:
        """Log-probabilities of whole songs.

        Args:
            voices: what `voice` gives.
            options: of the acoustic model.
        """
        return self.acoustic.emissions([voice.samples[0] for voice in voices], options)

    @property
    def mixture_channels(self) -> Literal[1, 2]:
        """Channels that the separator takes.

        Raises:
            ValueError: neither mono nor stereo.
        """
        channels = self.separator.audio_channels
        if channels not in (1, 2):
            raise ValueError(f"separator {self.separator.name!r} takes {channels} channels; use one for mono or stereo")
        return cast(Literal[1, 2], channels)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.acoustic.parameters()).device

    @property
    def info(self) -> ModelInfo:
        """Names for the transcripts that this model makes."""
        path = self.language_model_path
        if path is not None and path.is_relative_to(ASSETS_FOLDER):
            path = path.relative_to(ASSETS_FOLDER)
        return ModelInfo(self.name, self.separator.name, self.acoustic.name, None if path is None else path.as_posix())

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write the model as a folder that `load_model` takes, in place of a model that is there.

        Args:
            folder: made if need be; files there that are not a model's are kept.
            half: store the weights in float16: half the size, for models that are not trained further.

        Raises:
            OutputError: the folder cannot be written; a model that was there is still there.
        """
        with _replacing(folder.resolve()) as new:
            if self.separator.networks:
                save_separator(self.separator, new / "separator", half=half)
            save_acoustic(self.acoustic, new / "acoustic", half=half)
            if self.language_model_path is not None:
                suffix = _language_model_suffix(self.language_model_path)
                shutil.copyfile(self.language_model_path, new / f"language_model{suffix}")
            write_text(new / "decoder.yaml", dump_config(self.decoding))
            description = {"schema": SCHEMA, "separator": None if self.separator.networks else "none"}
            write_text(new / "model.json", json.dumps(description, indent=2) + "\n")

    def _voice(self, vocals: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch resampled"]:
        with torch.autocast(vocals.device.type, enabled=False):  # it would convolve the waveform in 8 bits
            mono: Tensor = resample(vocals.float().mean(1), self.separator.sample_rate_hz, ACOUSTIC_SAMPLE_RATE_HZ)
        return mono

    def _resampled_lengths(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        # torchaudio rounds up, in integers: ceil(a / b) = -(-a // b).
        return -(-lengths * ACOUSTIC_SAMPLE_RATE_HZ // self.separator.sample_rate_hz)


def load_model(
    name: str = "published",
    *,
    separator: str | None = None,
    acoustic: str | None = None,
    language: str | None = None,
    language_model: str | None = None,
    device: str = "auto",
) -> LyricsModel:
    """The model that is called `name`, in evaluation mode.

    Args:
        name: "published" (Demucs and Wav2Vec2 from the hub), "embedded" or "embedded-english" (parts of this package),
            or a folder that `LyricsModel.save` wrote.
        separator: another separator in place of the model's own, as `load_separator` takes it.
        acoustic: another acoustic model in place of the model's own, as `load_acoustic` takes it.
        language: adapter of a multilingual acoustic model, e.g. "eng" for MMS.
        language_model: another KenLM model in place of the model's own; "none" for none at all.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...

    Raises:
        ModelNotFoundError: weights are neither here nor within reach.
        FileNotFoundError: no such folder or file.
        ValueError: a damaged model, or an unknown device.
    """
    target = find_device(device)
    published = _Parts(PUBLISHED_SEPARATOR, PUBLISHED_ACOUSTIC, None, None)
    parts = published if name == "published" else _read_folder(name)
    language_model_path = parts.language_model
    if language_model is not None:
        language_model_path = None if language_model == "none" else Path(_expanded(language_model))
        if language_model_path is not None and not language_model_path.is_file():
            raise FileNotFoundError(f"{language_model}: no such language model; check the path")
        if language_model_path is not None:
            _language_model_suffix(language_model_path)
    separator = separator or parts.separator
    acoustic = acoustic or parts.acoustic
    model = LyricsModel(
        load_separator(_expanded(separator)),
        load_acoustic(_expanded(acoustic), language=language),
        name=name,
        language_model_path=language_model_path,
        decoding=parts.decoding,
    )
    model.separator.name, model.acoustic.name = separator, acoustic
    return model.to(target).eval()


def download(name: str) -> tuple[Path, ...]:
    """Fetch a known model's weights into the cache, check that they load, and say where they are.

    Raises:
        ValueError: not a known model.
        ModelNotFoundError: the weights are out of reach.
    """
    _known_model(name)
    load_model(name, device="cpu")
    return cached_paths(name)


def cached_paths(name: str) -> tuple[Path, ...]:
    """Folders that hold a known model's weights on this computer; empty when any of them is missing."""
    repositories = _known_model(name).repositories
    if not repositories:
        folder = ASSETS_FOLDER / name
        return (folder,) if (folder / "model.json").is_file() else ()
    revisions = SEPARATOR_REVISIONS | ACOUSTIC_REVISIONS
    try:
        return tuple(
            hub_snapshot(
                repository,
                revisions[repository],
                complete=is_complete if repository in ACOUSTIC_REVISIONS else _has_safetensors,
            )
            for repository in repositories
        )
    except ModelNotFoundError:
        return ()


def _known_model(name: str) -> KnownModel:
    known = {model.name: model for model in KNOWN_MODELS}
    if name not in known:
        raise ValueError(f"{name!r} is not a known model; choose one of {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class _Parts:
    """What a model is made of, by the names that the loaders take."""

    separator: str
    acoustic: str
    language_model: Path | None
    decoding: DecodingOptions | None


def _read_folder(name: str) -> _Parts:
    folder = Path(_expanded(name))
    path = folder / "model.json"
    if not path.is_file():
        names = ", ".join(f"--model {model.name}" for model in KNOWN_MODELS)
        raise ModelNotFoundError(f"{name}: no model there ({path} is missing); give a model's folder, or {names}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); the model is damaged, copy it again") from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a model of this version; its schema must be {SCHEMA!r}")
    separator = description.get("separator")
    if not isinstance(separator, str | None):
        raise ValueError(f"{path}: 'separator' must be a name or null, not {separator!r}")
    candidates = [folder / file_name for file_name in _LANGUAGE_MODELS]
    decoder = folder / "decoder.yaml"
    return _Parts(
        separator=separator or f"{name.rstrip('/')}/separator",
        acoustic=f"{name.rstrip('/')}/acoustic",
        language_model=next((candidate for candidate in candidates if candidate.is_file()), None),
        decoding=load_config(DecodingOptions, decoder) if decoder.is_file() else None,
    )


def _expanded(name: str) -> str:
    """`name`, as a path in this package where a model of the package is meant, or what is below one."""
    model, *below = name.split("/")
    if any(model == known.name and not known.repositories for known in KNOWN_MODELS):
        return str(ASSETS_FOLDER.joinpath(model, *below))
    return name


def _language_model_suffix(path: Path) -> str:
    for suffix in LANGUAGE_MODEL_SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise ValueError(f"{path}: a language model is one of {', '.join(LANGUAGE_MODEL_SUFFIXES)}")


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Lend an empty folder beside `folder`, whose model files take the place of those there when the block ends well.

    Whatever ends the block early leaves `folder` as it was. Files there that are not a model's move along.
    """
    require_writable_folder(folder.parent)
    if folder.exists():
        require_writable_folder(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error}; free some space, or choose another folder") from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for path in list(old.iterdir()) if old.exists() else []:
            if path.name not in _MODEL_FILES:
                path.rename(folder / path.name)
        shutil.rmtree(scratch, ignore_errors=True)


def find_device(name: str = "auto") -> torch.device:
    """The device that is called `name`, which is there.

    Raises:
        ValueError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown; use auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r}: this computer has {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device
