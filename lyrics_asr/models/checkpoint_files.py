"""Which files a Hugging Face checkpoint of an acoustic model has. Imports no model library, so that looking is fast."""

import json
from pathlib import Path
from typing import Any


def is_complete(folder: Path) -> bool:
    """Whether a folder has all files that `load_acoustic` reads, apart from language adapters."""
    return has_network(folder) and has_tokenizer(folder)


def has_network(folder: Path) -> bool:
    """Whether a folder has all files of a network: configuration, feature extractor and weights."""
    extractors = ("preprocessor_config.json", "processor_config.json")  # before transformers 5, and since then
    return (
        (folder / "config.json").is_file()
        and any((folder / name).is_file() for name in extractors)
        and any(_has_weights(folder / name) for name in ("model.safetensors", "pytorch_model.bin"))
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a vocabulary."""
    return any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _has_weights(path: Path) -> bool:
    """Whether a weights file exists, or all shards that its index names."""
    shards = read_json(path.with_name(f"{path.name}.index.json")).get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    return path.is_file() or (bool(names) and all((path.parent / name).is_file() for name in names))
