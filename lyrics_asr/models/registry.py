"""Load models by name or from a folder.

Conventions
- A model is a separator, an acoustic model, and optionally a language model and decoding options.
- Built-in names: "published" (downloaded) and the models in `lyrics_asr/assets`. A part of a model in assets is named
  by its path, such as "embedded/separator".
- `owner/name` is a model on the Hugging Face hub, unless there is such a folder.
- Weights of "published" are pinned to commits. The folder layout is described in `model_folder`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import load_acoustic
from lyrics_asr.models.checkpoint_files import is_complete
from lyrics_asr.models.ctc_checkpoint import Tokenizer
from lyrics_asr.models.devices import find_device
from lyrics_asr.models.hub import ModelNotFoundError, hub_snapshot
from lyrics_asr.models.known_models import (
    ASSETS_FOLDER,
    KNOWN_MODELS,
    PUBLISHED,
    PUBLISHED_ACOUSTIC,
    PUBLISHED_SEPARATOR,
    cached_paths,
    known_model,
)
from lyrics_asr.models.lyrics_model import AcousticInput, LyricsModel
from lyrics_asr.models.model_folder import LANGUAGE_MODEL_FILES, MODEL_FILES, SCHEMA, language_model_suffix
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.options import DEFAULT_MODEL

_MODEL_PATTERNS = (*MODEL_FILES, *map("{}/*".format, MODEL_FILES))  # what is downloaded of a model on the hub


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    separator: str | Separator | None = None,
    acoustic: str | AcousticModel | None = None,
    transcriber: str | None = None,
    language: str | None = None,
    vocabulary: str | Tokenizer | None = None,
    language_model: str | None = None,
    device: str = "auto",
) -> LyricsModel:
    """Load a model in evaluation mode.

    Args:
        name: "embedded" or "embedded-small" (part of this package), "published" (Demucs and Wav2Vec2 from the hub),
            a folder written by `LyricsModel.save`, or the name of such a folder on the Hugging Face hub.
        separator: replaces the model's separator, which is not loaded then; or a name that `load_separator` takes.
        acoustic: replaces the model's acoustic model, which is not loaded then; or a name that `load_acoustic` takes.
            With another separator or acoustic model, the acoustic model hears the vocals. Another acoustic model also
            finds the words itself, unless `transcriber` names a transcriber.
        transcriber: replaces the model's transcriber; a name that `load_transcriber` takes, "none" to use no
            transcriber.
        language: adapter of a multilingual acoustic model, such as MMS, by an ISO code, "en" or "eng".
        vocabulary: a new vocabulary for an acoustic model that is trained further, see `load_acoustic`.
        language_model: replaces the model's KenLM model; "none" to use no language model.
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:1", ...

    Raises:
        ModelNotFoundError: the weights are not on this computer and cannot be downloaded.
        FileNotFoundError: no such folder or file.
        ValueError: the model is damaged, or the device is unknown.
    """
    target = find_device(device)
    published = _Parts(PUBLISHED_SEPARATOR, PUBLISHED_ACOUSTIC, "vocals", None, None, None)
    parts = published if name == PUBLISHED else _read_folder(name)
    language_model_path = parts.language_model
    if language_model is not None:
        language_model_path = None if language_model == "none" else Path(_expanded(language_model))
        if language_model_path is not None and not language_model_path.is_file():
            raise FileNotFoundError(f"{language_model}: no such language model; check the path")
        if language_model_path is not None:
            language_model_suffix(language_model_path)
    if transcriber is None and acoustic is None:
        transcriber = parts.transcriber
    model = LyricsModel(
        _separator(separator or parts.separator),
        _acoustic(acoustic or parts.acoustic, language, vocabulary),
        name=name,
        language_model_path=language_model_path,
        decoding=parts.decoding,
        transcriber=None if transcriber in (None, "none") else _expanded(transcriber),
        acoustic_input=parts.acoustic_input if separator is None and acoustic is None else "vocals",
    )
    return model.to(target).eval()


def _separator(part: str | Separator) -> Separator:
    if isinstance(part, Separator):
        return part
    separator = load_separator(_expanded(part))
    separator.name = part
    return separator


def _acoustic(part: str | AcousticModel, language: str | None, vocabulary: str | Tokenizer | None) -> AcousticModel:
    if isinstance(part, AcousticModel):
        return part
    acoustic = load_acoustic(_expanded(part), language=language, vocabulary=vocabulary)
    acoustic.name = part
    return acoustic


def download(name: str) -> tuple[Path, ...]:
    """Download a built-in model's weights into the cache, check that they load, and return their folders.

    Raises:
        ValueError: not a built-in name.
        ModelNotFoundError: the weights cannot be downloaded.
    """
    known_model(name)
    load_model(name, device="cpu")
    return cached_paths(name)


@dataclass(frozen=True)
class _Parts:
    """The parts of a model, by the names that the loaders take."""

    separator: str
    acoustic: str
    acoustic_input: AcousticInput
    transcriber: str | None
    language_model: Path | None
    decoding: Path | None


def _read_folder(name: str) -> _Parts:
    folder = Path(_expanded(name))
    if not folder.exists() and _is_repository(name):
        folder = _hub_folder(name)
    path = folder / "model.json"
    if not path.is_file():
        names = ", ".join(f"--model {model.name}" for model in KNOWN_MODELS.values())
        raise ModelNotFoundError(
            f"{name}: not a model ({path} is missing); give the folder of a model, OWNER/NAME of one on the hub, or "
            f"{names}"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); the model is damaged, copy it again") from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a model of this version; its schema must be {SCHEMA!r}")
    separator, transcriber = description.get("separator"), description.get("transcriber")
    for key, value in (("separator", separator), ("transcriber", transcriber)):
        if not isinstance(value, str | None):
            raise ValueError(f"{path}: {key!r} must be a name or null, not {value!r}")
    acoustic_input = description.get("acoustic_input", "vocals")
    if acoustic_input not in get_args(AcousticInput):
        raise ValueError(f"{path}: 'acoustic_input' must be one of {get_args(AcousticInput)}, not {acoustic_input!r}")
    if (folder / "transcriber").is_dir():
        transcriber = f"{name.rstrip('/')}/transcriber"
    language_model = None
    for file_name in LANGUAGE_MODEL_FILES:
        if (folder / file_name).is_file():
            language_model = folder / file_name
            break
    decoder = folder / "decoder.yaml"
    return _Parts(
        separator=separator or f"{name.rstrip('/')}/separator",
        acoustic=f"{name.rstrip('/')}/acoustic",
        acoustic_input=acoustic_input,
        transcriber=transcriber,
        language_model=language_model,
        decoding=decoder if decoder.is_file() else None,
    )


def _expanded(name: str) -> str:
    """Replace the name of a model in assets, or of a part of a model in assets or on the hub, by its path."""
    model, *below = name.split("/")
    if model in KNOWN_MODELS and not KNOWN_MODELS[model].repositories:
        return str(ASSETS_FOLDER.joinpath(model, *below))
    repository, _, part = name.rpartition("/")
    if part in MODEL_FILES and not Path(name).exists() and _is_repository(repository):
        return str(_hub_folder(repository) / part)
    return name


def _is_repository(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def _hub_folder(repository: str) -> Path:
    """The local folder of a model on the hub."""

    def is_model(folder: Path) -> bool:
        return (folder / "model.json").is_file() and is_complete(folder / "acoustic")

    return hub_snapshot(repository, None, _MODEL_PATTERNS, complete=is_model)
