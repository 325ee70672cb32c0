"""Configurations by name: those that ship with this package, or files."""

from pathlib import Path

import lyrics_asr

_PACKAGE = Path(lyrics_asr.__file__).parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""In a wheel, and in a checkout."""


def find_config(name: str) -> Path:
    """A file, or the shipped configuration of this name, such as "finetune_dali".

    Raises:
        FileNotFoundError: neither; the message lists the names.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = _shipped()
    if name in shipped:
        return shipped[name]
    raise FileNotFoundError(f"{name}: no such file, and not one of {', '.join(shipped)}; check the path")


def _shipped() -> dict[str, Path]:
    return {path.stem: path for folder in _FOLDERS for path in sorted(folder.glob("*.yaml"))}
