"""The models that are known by name, and whether they are on this computer.

Imports no model library, so that listing them is fast.
"""

from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.models.checkpoint_files import is_complete
from lyrics_asr.models.hub import ModelNotFoundError, hub_snapshot

PUBLISHED = "published"
PUBLISHED_SEPARATOR = "htdemucs"
PUBLISHED_ACOUSTIC = "facebook/wav2vec2-large-960h-lv60-self"

PUBLISHED_REPOSITORY = "adefossez/HTDemucs"
"""Where the separator of the model "published" is, which `lyrics-asr models download` fetches."""
ASSETS_FOLDER = Path(__file__).parent.parent / "assets"
"""The models that are part of this package, each in a folder of its name."""

# Pinned commits on the Hugging Face hub; other repositories are used at their default branch.
SEPARATOR_REVISIONS = {
    "adefossez/HTDemucs": "cbc8a9b1a87023b7fd74e7b3412e6321c0eab003",
    "adefossez/HTDemucs-ft": "d74ac89c3a1e874fc78f152555cf4d8533f06cd4",
}
ACOUSTIC_REVISIONS = {PUBLISHED_ACOUSTIC: "54074b1c16f4de6a5ad59affb4caa8f2ea03a119"}


@dataclass(frozen=True)
class KnownModel:
    """A built-in model name, and the hub repositories that its weights come from."""

    name: str
    description: str
    repositories: tuple[str, ...]


KNOWN_MODELS = {
    PUBLISHED: KnownModel(
        PUBLISHED,
        f"{PUBLISHED_SEPARATOR} and {PUBLISHED_ACOUSTIC}; downloaded on first use",
        (PUBLISHED_REPOSITORY, PUBLISHED_ACOUSTIC),
    ),
    "embedded": KnownModel(
        "embedded", "Whisper base with a CTC head, and Spleeter's separator; part of this package, no download", ()
    ),
    "embedded-small": KnownModel(
        "embedded-small", "8 MB, trained on synthetic songs only: aligns fast, hardly transcribes", ()
    ),
}


def cached_paths(name: str) -> tuple[Path, ...]:
    """Folders with a built-in model's weights on this computer; empty if any weights are missing."""
    repositories = known_model(name).repositories
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


def known_model(name: str) -> KnownModel:
    """The built-in model of a name.

    Raises:
        ValueError: not a built-in name.
    """
    if name not in KNOWN_MODELS:
        raise ValueError(f"{name!r} is not a known model; choose one of {', '.join(KNOWN_MODELS)}")
    return KNOWN_MODELS[name]


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))
