"""Validated access to the contents of DALI's annotation files: records, levels, entries and their members.

Invalid content raises a ValueError that names the member; callers add the file.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lyrics_asr.audio import AUDIO_SUFFIXES
from lyrics_asr.corpora.dali_pickles import MAX_BYTES, read_annotations, read_ground_truth

_MAX_ENTRIES = 100_000  # per level of a song: a malicious pickle can contain the same list a million times
_MAX_CHARACTERS = 1000  # per word or note

_T = TypeVar("_T")


@dataclass(frozen=True)
class Record:
    """A song in DALI's own structure."""

    info: dict[str, Any]
    annotations: dict[str, Any]


@dataclass(frozen=True)
class Clock:
    """DALI's `annot_param`: the time of beat 0 of the karaoke file, and its tempo (`fr`)."""

    offset_seconds: float
    beats_per_minute: float


# ---- Annotations: levels, entries and their members ----


def horizontal(annotations: dict[str, Any]) -> dict[str, Any]:
    """The levels of horizontal or vertical annotations, as lists."""
    annot = member(annotations, "annot", dict)
    kind = member(annotations, "type", str)
    if kind == "horizontal":
        return annot
    if kind != "vertical":
        raise ValueError(f"annotations of type {kind!r:.80}; the type must be horizontal or vertical")
    lines = _below(list_entries(annot.get("hierarchical"), "paragraphs"))
    words = _below(lines)
    notes = _below(words)
    for word in words:
        if isinstance(word["text"], list):
            word["text"] = ""
    for note in notes:
        words[note["index"]]["text"] += read_entry_text(note)
    return {"lines": lines, "words": words}


def _below(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the next lower level; `index` is the number of the parent."""
    below = (
        {"text": child.get("text"), "time": child.get("time"), "index": index}
        for index, entry in enumerate(entries)
        if isinstance(entry.get("text"), list)
        for child in list_entries(entry["text"], "entries")
    )
    found = list(itertools.islice(below, _MAX_ENTRIES + 1))
    if len(found) > _MAX_ENTRIES:
        raise ValueError(f"more than {_MAX_ENTRIES} entries on a level; this is not a song")
    return found


def list_entries(level: Any, name: str) -> Iterator[dict[str, Any]]:
    """The entries of a level, which must be a list of dictionaries."""
    if not isinstance(level, list):
        raise ValueError(f"{name} must be a list, not {type(level).__name__}")
    for entry in level:
        if not isinstance(entry, dict):
            raise ValueError(f"{name} must hold dictionaries, not {type(entry).__name__}")
        yield entry


def read_index(entry: dict[str, Any]) -> int:
    """The number of the parent in the level above."""
    index = member(entry, "index", int)
    if index < 0:
        raise ValueError("an index is negative")
    return index


def read_entry_text(entry: dict[str, Any]) -> str:
    """The text of a word or a note."""
    text = member(entry, "text", str)
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"a text of {len(text)} characters; the limit is {_MAX_CHARACTERS}")
    if any("\ud800" <= character <= "\udfff" for character in text):  # cannot be encoded as UTF-8
        raise ValueError(f"the text {text!a:.80} contains a lone surrogate")
    return text


def read_times(entry: dict[str, Any]) -> tuple[float, float]:
    """Start and end in seconds; their order and range are not checked."""
    time = entry.get("time")
    if not isinstance(time, list | tuple) or len(time) != 2:
        raise ValueError("time must be a pair of start and end in seconds")
    return read_number(time[0], "time"), read_number(time[1], "time")


def read_clock(parameters: Any) -> Clock:
    """DALI's `annot_param`."""
    offset = read_number(member(parameters, "offset", object), "offset")
    beats_per_minute = read_number(member(parameters, "fr", object), "fr")
    if not (math.isfinite(offset) and 0 < beats_per_minute < math.inf):
        raise ValueError(f"invalid offset {offset} or frame rate (fr) {beats_per_minute}")
    return Clock(offset, beats_per_minute)


def member(record: Any, key: str, kind: type[_T]) -> _T:
    """A value of a dictionary, which must have the key and type."""
    if not isinstance(record, dict) or key not in record:
        raise ValueError(f"{key} is missing")
    value = record[key]
    if not isinstance(value, kind):
        raise ValueError(f"{key} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def optional_part(info: dict[str, Any], key: str) -> dict[str, Any]:
    """A dictionary that a song may have; empty if missing."""
    value = info.get(key)
    return value if isinstance(value, dict) else {}


def read_number(value: Any, name: str) -> float:
    """A number; infinity if it is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


# ---- Files ----


def annotation_files(folder: Path) -> list[Path]:
    """The files in a folder that may be annotations."""
    return [path for pattern in ("*.gz", "*.json", "*/dali.json") for path in sorted(folder.glob(pattern))]


def audio_files_by_id(folder: Path) -> dict[str, Path]:
    """The audio files in a folder, by name without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in AUDIO_SUFFIXES:
            if path.stem in found:
                raise ValueError(
                    f"{path}: a second file for the song of {found[path.stem].name}; remove one of the two"
                )
            found[path.stem] = path
    return found


def read_record(path: Path) -> Record | None:
    """Read an annotation file; None for a JSON file with other content, such as DALI's metadata."""
    if path.suffix == ".gz":
        content = read_annotations(path)
    else:
        content = _read_json(path)
        if not isinstance(content, dict) or not {"info", "annotations"} <= content.keys():
            return None
    try:
        return Record(member(content, "info", dict), member(content, "annotations", dict))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; download it again") from error


def _read_json(path: Path) -> Any:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES >> 20} MiB, unlike a song's annotations; not read")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}; export it again") from error


def read_clocks(path: Path) -> dict[str, Clock]:
    """The corrected clock of each song, by id."""
    clocks = {}
    for song_id, parameters in read_ground_truth(path).items():
        try:
            clocks[song_id] = read_clock(parameters)
        except ValueError as error:
            raise ValueError(f"{path}: the song {song_id!r:.80}: {error}") from error
    return clocks
