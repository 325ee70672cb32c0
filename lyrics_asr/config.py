"""Options of every stage, composed; YAML and dotlist in, resolved YAML out.

The only module that knows OmegaConf. Unknown keys, wrong types, wrong choices and values out of range fail with the
name of the key.
The defaults live here; the files in configs/ hold departures from them only.
"""

import re
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")

_RENAMED = {
    "acoustic.border_seconds": "acoustic.context_seconds",
    "decoding.unknown_word_letter_log10": "decoding.unk_char_log10",
    "unknown_word_letter_log10": "unk_char_log10",
    "most_skipped_steps": "max_skipped_steps",
}
"""Old names of options that files may still have, and the new ones."""


def load_config(schema: type[T], path: Path | None = None, overrides: list[str] | None = None) -> T:
    """Build a frozen option dataclass from its defaults, a YAML file and `key.sub=value` overrides, in this order.

    What stands in a list is overridden by `key[0].sub=value`.

    Raises:
        ValueError: a key that `schema` lacks, a value of the wrong type or out of its range, or a file that is not a
            YAML mapping; the message begins with the file's name or "command line" and names the key.
        FileNotFoundError: no such YAML file.
    """
    source = "command line" if path is None else str(path)
    try:
        given = OmegaConf.create() if path is None else OmegaConf.load(path)
        if not isinstance(given, DictConfig):
            raise TypeError("is not a mapping of keys to values")
        _refuse_renamed(given)
        config = OmegaConf.merge(OmegaConf.structured(schema), given)
        for override in overrides or []:
            source = f"command line: {override}"
            given = _overridden(given, override)
            _refuse_renamed(given)
            config = OmegaConf.merge(OmegaConf.structured(schema), given)
        if overrides:
            source = "command line" if path is None else f"{path} and command line"
        return cast(T, OmegaConf.to_object(config))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except OSError as error:
        if error.errno is not None:  # the file cannot be read; the message names it
            raise
        raise ValueError(f"{source}: is not a mapping of keys to values") from error  # OmegaConf, of a lone number
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{source}: {_cause(error)}") from error


def dump_config(config: Any) -> str:
    """The resolved YAML of an option dataclass: what `load_config` would read back as the same object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def _refuse_renamed(given: DictConfig) -> None:
    for old, new in _RENAMED.items():
        if OmegaConf.select(given, old) is not None:
            raise ValueError(f"{old} is now called {new}; change the key")


def _overridden(given: DictConfig, override: str) -> DictConfig:
    key, _, text = override.partition("=")
    item = re.match(r"([\w.]+)\[\d+\]", key)
    if item is None:
        return cast(DictConfig, OmegaConf.merge(given, OmegaConf.from_dotlist([override])))
    if not OmegaConf.is_list(OmegaConf.select(given, item[1])) or OmegaConf.select(given, item[0]) is None:
        raise ValueError(f"there is no {item[0]} to override")
    OmegaConf.update(given, key, OmegaConf.from_dotlist([f"value={text}"]).value)  # a merge would replace the list
    return given


def _cause(error: Exception) -> str:
    """What is wrong, in one line, with the key or the line of the file where the library tells it."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = "" if mark is None or mark.name.startswith("<") else f" (line {mark.line + 1})"
        return f"is not YAML: {problem}{line}"
    if isinstance(error, IndexError) and not isinstance(error, OmegaConfBaseException):
        return "is not of the form key.sub=value"
    key = getattr(error, "full_key", None)
    cause = "".join(str(error).splitlines()[:1])
    if "is not a ListConfig" in cause:
        cause = "must be a list, such as [a, b]"
    return cause + (f" (key {key})" if key else "")
