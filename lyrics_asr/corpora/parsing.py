r"""Validated parsing of CSV, JSON and JSON Lines files, and of the file names in them.

Conventions
- UTF-8, with or without a byte order mark; line ends are "\n", "\r\n" or "\r".
- File names are compared in Unicode's composed form (NFC), because archives unpacked on macOS have decomposed names.
- Paths in a file are relative, use "/", and must stay inside the folder that they are relative to.
- The message for an invalid value names the value and the cause; callers add file and line.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lyrics_asr.files import composed

_LANGUAGE_CODES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es"}


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def read_csv(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header row.

    Args:
        path: CSV file.
        columns: required columns; other columns are "" in rows that lack them.
        delimiter: between cells.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, not CSV, or a row that lacks a required column or has more cells than the header; the
            message has file and row.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{path}: not CSV: {error}") from error
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(f"{path}, row {number}: more cells than columns in the header")
        if missing := [column for column in columns if row.get(column) is None]:
            raise ValueError(f"{path}, row {number}: no column {', '.join(missing)}")
    return [{column: cell or "" for column, cell in row.items()} for row in rows]


def read_json_lines(path: Path) -> dict[int, Any]:
    """Read the values of a JSON Lines file, by line number, counted from 1; blank lines are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or a line is not JSON; the message has file and line.
    """
    values = {}
    # Not splitlines(): a JSON string may contain U+2028 and similar characters.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                values[number] = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
    return values


def check_keys(record: Any, name: str, required: frozenset[str], optional: frozenset[str] | None = None) -> None:
    """Check that a JSON value is an object with the right keys.

    Args:
        record: the value.
        name: what the value describes, such as "a word", for the message.
        required: required keys.
        optional: other keys that are allowed; None allows any.

    Raises:
        ValueError: not an object, a missing key, or an unknown key.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{name} must be a JSON object, not {type(record).__name__}")
    if missing := sorted(required - record.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if optional is not None and (unknown := sorted(record.keys() - required - optional)):
        raise ValueError(f"{name} has unknown keys: {', '.join(unknown)}")


def text_value(record: Mapping[str, Any], key: str) -> str:
    """The string value of a key.

    Raises:
        ValueError: not a string, empty, or with a lone surrogate, which JSON can escape but UTF-8 cannot encode.
    """
    value = record[key]
    if not isinstance(value, str) or not value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{key} must be a non-empty string, not {value!r:.80}")
    return value


def list_value(record: Mapping[str, Any], key: str) -> list[Any]:
    """The list value of a key.

    Raises:
        ValueError: not a list.
    """
    value = record[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list, not {type(value).__name__}")
    return value


def seconds_value(record: Mapping[str, Any], key: str) -> float:
    """The time in seconds of a key in a JSON object; its range is not checked.

    Raises:
        ValueError: not a number.
    """
    value = record[key]
    try:
        if not isinstance(value, bool) and isinstance(value, int | float):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"{key} must be a number of seconds, not {value!r:.80}")


def seconds_digits(row: Mapping[str, str], column: str) -> float:
    """The time in seconds in a column of a CSV row; its range is not checked.

    Raises:
        ValueError: not a number.
    """
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"{column} must be a number of seconds, not {row[column]!r:.80}") from None


def language_code(language: str) -> str:
    """The ISO 639-1 code of a language, given by its English name or by its code.

    Raises:
        ValueError: an unknown name, and not a code.
    """
    code = _LANGUAGE_CODES.get(language, language)
    if not re.fullmatch("[a-z]{2}", code):
        known = ", ".join(_LANGUAGE_CODES)
        raise ValueError(f"the language {language!r} is not one of {known}, nor an ISO 639-1 code such as 'it'")
    return code


def inside(folder: Path, relative: str) -> Path:
    """Resolve a relative path inside `folder`.

    Raises:
        ValueError: the path could leave `folder`, on any operating system.
    """
    windows = PureWindowsPath(relative)
    if "\0" in relative or windows.drive or windows.root or ".." in windows.parts:
        raise ValueError(f"the path {relative!r} leads out of its folder, {folder}; move the file into it")
    return folder.joinpath(*PurePosixPath(relative).parts)


def plain_name(name: str) -> str:
    """Check a file or folder name, and return it in Unicode's composed form.

    Raises:
        ValueError: the name is a path.
    """
    if "\0" in name or name == ".." or PureWindowsPath(name).parts != (name,):
        raise ValueError(f"{name!r} is not a plain file name")
    return composed(name)


def files_by_name(folder: Path) -> dict[str, Path]:
    """The contents of `folder`, by composed name; empty if it does not exist."""
    return {composed(path.name): path for path in folder.iterdir()} if folder.is_dir() else {}
