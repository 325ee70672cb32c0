"""Write docs/config.md: every key of the configurations, from the dataclasses and their docstrings.

    python -m scripts.document_config

A test checks that the page is up to date.
"""

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any

from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.options import InferenceOptions
from lyrics_asr.training.config import TrainingConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "config.md"
_ROOTS = {
    "Training": (TrainingConfig, "`lyrics-asr train NAME.yaml key=value ...`"),
    "Inference": (
        InferenceOptions,
        "`lyrics-asr transcribe song.mp3 --set lines.max_words=8`, also `align`, `separate`",
    ),
    "Evaluation": (EvaluationConfig, "`lyrics-asr evaluate NAME.yaml key=value ...`"),
}
_INTRODUCTION = """# Configuration

Every key, its type and its default. Generated from the dataclasses by `python -m scripts.document_config`. Nested keys
are written as in YAML or with dots, list items with brackets: `stages[0].steps=5000`.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    described: dict[type, str] = {}
    for title, (root, usage) in _ROOTS.items():
        parts.append(f"## {title}\n\n{usage}\n")
        for path, schema in _schemas(root):
            heading = f"### {title}: {path}\n\n" if path else ""
            if schema in described:
                parts.append(f"{heading}See {described[schema]}.\n")
                continue
            described[schema] = f"{title}: {path}"
            parts.append(f"{heading}{_summary(schema)}\n\n{_table(schema)}\n")
    return "\n".join(parts)


def _schemas(schema: type, path: str = "") -> Iterator[tuple[str, type]]:
    """A dataclass and those of its fields, each with its place in the YAML file."""
    yield path, schema
    for name, annotation in typing.get_type_hints(schema).items():
        nested = next((each for each in _flat(annotation) if dataclasses.is_dataclass(each)), None)
        if isinstance(nested, type):
            item = "[]" if typing.get_origin(annotation) is list else ""
            yield from _schemas(nested, f"{path}.{name}{item}".lstrip("."))


def _flat(annotation: Any) -> list[Any]:
    parts = typing.get_args(annotation)
    return [each for part in parts for each in _flat(part)] if parts else [annotation]


def _summary(schema: type) -> str:
    text = inspect.getdoc(schema) or ""
    return text.partition("\nArgs:")[0].strip()


def _table(schema: type) -> str:
    meanings, hints = _meanings(schema), typing.get_type_hints(schema)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        meaning = meanings.get(field.name) or _summary(hint).splitlines()[0]
        cells = (f"`{field.name}`", _type(hint), _default(field), meaning)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _meanings(schema: type) -> dict[str, str]:
    """The descriptions of the arguments in a Google docstring, by name."""
    block = (inspect.getdoc(schema) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    items = re.split(r"^(\w+): ", textwrap.dedent(block), flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(items[::2], items[1::2], strict=True)}


def _type(annotation: Any) -> str:
    if annotation is Any:
        return "any"
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) in (UnionType, typing.Union):
        return " or ".join(map(_type, typing.get_args(annotation)))
    if typing.get_origin(annotation) is list:
        return f"list of {_type(typing.get_args(annotation)[0])}"
    if typing.get_origin(annotation) is dict:
        return "mapping of {} to {}".format(*map(_type, typing.get_args(annotation)))
    if annotation is type(None):
        return "null"
    return "mapping" if dataclasses.is_dataclass(annotation) else str(annotation.__name__)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return "see below"
    names = {None: "null", True: "true", False: "false", "": '""'}
    return f"`{names.get(value, value) if isinstance(value, str | bool | None) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
