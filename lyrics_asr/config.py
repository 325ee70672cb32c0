"""Load option dataclasses from YAML files and command-line overrides, and write them as resolved YAML.

This is the only module that uses OmegaConf. Unknown keys, wrong types and invalid values fail with the name of the key.
Defaults are those of the dataclasses; the files in configs/ only contain values that differ from them.

Files and overrides are read as YAML 1.2, where only true and false are booleans: `wandb: off` is a choice, and `no` is
Norwegian. Options that are booleans take on, off, yes and no too.
"""

import re
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._yaml import get_yaml_loader  # its resolvers cannot be replaced otherwise
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")

_BOOLEAN = "tag:yaml.org,2002:bool"

_RENAMED = {
    "acoustic_model": "acoustic",
    "acoustic.border_seconds": "acoustic.context_seconds",
    "decoding.unknown_word_letter_log10": "decoding.unk_char_log10",
    "unknown_word_letter_log10": "unk_char_log10",
    "stages[].sound_weight": "stages[].phone_weight",
    "most_skipped_steps": "max_skipped_steps",
}
"""Renamed options: old key to new key. `stages[].x` is the key x of any stage."""

_REPLACED = {
    "training": "cuts: {cuts: [FILE, ...]}; `lyrics-asr data cuts MANIFEST -o FOLDER` makes the file of a manifest",
    "mix": "cuts.silence_prob and cuts.augmentation (remix_prob, min_vocals_gain_db, max_vocals_gain_db)",
    "workers": "cuts.workers",
    "stages[].batch_size": "cuts.batch_cuts and cuts.batch_seconds",
    "stages[].chunk_seconds": "`lyrics-asr data cuts --chunk-seconds`, or stream.chunk_seconds",
}
"""Removed options of training, and what replaces them."""


def load_config(schema: type[T], path: Path | None = None, overrides: list[str] | None = None) -> T:
    """Build a frozen option dataclass from its defaults, a YAML file and `key.sub=value` overrides, in this order.

    Items of a list are overridden with `key[0].sub=value`.

    Raises:
        ValueError: an unknown key, a value of the wrong type or out of range, or a file that is not a YAML mapping; the
            message starts with the file name or "command line" and names the key.
        FileNotFoundError: no such YAML file.
    """
    source = "command line" if path is None else str(path)
    try:
        content = {}
        if path is not None:
            with path.open(encoding="utf-8") as file:
                content = _parse_yaml(file)
        if not isinstance(content, dict | None):
            raise TypeError("is not a mapping of keys to values")
        given = OmegaConf.create(content or {})
        _refuse_renamed(given, schema)
        config = OmegaConf.merge(OmegaConf.structured(schema), given)
        for override in overrides or []:
            source = f"command line: {override}"
            given = _overridden(given, override)
            _refuse_renamed(given, schema)
            config = OmegaConf.merge(OmegaConf.structured(schema), given)
        if overrides:
            source = "command line" if path is None else f"{path} and command line"
        return cast(T, OmegaConf.to_object(config))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{source}: {_cause(error)}") from error


def dump_config(config: Any) -> str:
    """Write an option dataclass as resolved YAML, which `load_config` reads back as an equal object."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def _refuse_renamed(given: DictConfig, schema: Any) -> None:
    plain = OmegaConf.to_container(given, resolve=False)
    for old, new in _RENAMED.items():
        if _has_key(plain, old):
            raise ValueError(f"{old} is now called {new}; rename the key")
    for old, new in _REPLACED.items():
        if _has_key(plain, old) and old not in schema.__dataclass_fields__:
            raise ValueError(f"{old} is no longer an option; use {new}")
    for name in schema.__dataclass_fields__:
        part = name.removesuffix("_options")
        if part != name and isinstance(plain, dict) and isinstance(plain.get(part), dict):
            raise ValueError(f"{part} is the name of a model; its options are called {name}")


def _has_key(given: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    name = first.removesuffix("[]")
    if not isinstance(given, dict) or name not in given:
        return False
    if not rest:
        return True
    if name == first:
        return _has_key(given[name], rest)
    return isinstance(given[name], list) and any(_has_key(item, rest) for item in given[name])


def _parse_yaml(text: str | TextIO) -> Any:
    loader = get_yaml_loader()
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    loader.add_implicit_resolver(_BOOLEAN, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))
    return yaml.load(text, Loader=loader)


def _overridden(given: DictConfig, override: str) -> DictConfig:
    key, equals, text = override.partition("=")
    value = _parse_yaml(text) if equals else None
    item = re.match(r"([\w.]+)\[\d+\]", key)
    if item is None:
        change = OmegaConf.create()
        OmegaConf.update(change, key, value)
        return cast(DictConfig, OmegaConf.merge(given, change))
    if not OmegaConf.is_list(OmegaConf.select(given, item[1])) or OmegaConf.select(given, item[0]) is None:
        raise ValueError(f"there is no {item[0]} to override")
    OmegaConf.update(given, key, value)  # a merge would replace the list
    return given


def _cause(error: Exception) -> str:
    """A one-line description of an error, with the key or line number if the library gives one."""
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
