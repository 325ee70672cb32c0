r"""The files that list a corpus: CSV, JSON and JSON Lines, read with checks, and the names of files in them.

Conventions
- UTF-8, with or without a byte order mark; line ends are "\n", "\r\n" or "\r".
- File names are compared in Unicode's composed form (NFC): archives unpacked on macOS hold decomposed ones.
- A path that a file names is relative, with "/" between its parts, and never leads out of the folder it starts from.
- Where one value is wrong, the message tells which and why; the caller adds the file and the place in it.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_LANGUAGE_CODES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es"}


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason}); save it in UTF-8") from error


def read_csv(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> list[dict[str, str]]:
    """Read the rows of a CSV file whose first row names the columns.

    Args:
        path: the file.
        columns: those that every row must have; others are empty where a row lacks them.
        delimiter: what stands between two cells.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, not CSV, a row without one of `columns`, or one longer than the first; the message names
            file and row.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{path}: not CSV: {error}") from error
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(f"{path}, row {number}: more cells than the first row names columns")
        if missing := [column for column in columns if row.get(column) is None]:
            raise ValueError(f"{path}, row {number}: no column {', '.join(missing)}")
    return [{column: cell or "" for column, cell in row.items()} for row in rows]


def read_json_lines(path: Path) -> dict[int, Any]:
    """Read the JSON values of a file that has one a line, by the number of the line, from 1; blank lines are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or a line that is not JSON; the message names file and line.
    """
    values = {}
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                values[number] = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
    return values


def check_keys(record: Any, name: str, required: frozenset[str], optional: frozenset[str] | None = None) -> None:
    """Make sure that a JSON value is an object with the keys that it needs.

    Args:
        record: the value.
        name: what it stands for, for the message, such as "a word".
        required: keys that it must have.
        optional: the only other keys that it may have; None allows any.

    Raises:
        ValueError: it is not, or has not.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{name} must be a JSON object, not {type(record).__name__}")
    if missing := sorted(required - record.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if optional is not None and (unknown := sorted(record.keys() - required - optional)):
        raise ValueError(f"{name} has unknown keys: {', '.join(unknown)}")


def text_value(record: Mapping[str, Any], key: str) -> str:
    """The text under a key.

    Raises:
        ValueError: it is not a text, is empty, or has half a surrogate pair, which JSON can spell but no file can hold.
    """
    value = record[key]
    if not isinstance(value, str) or not value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{key} must be a text that is not empty, not {value!r:.80}")
    return value


def list_value(record: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key.

    Raises:
        ValueError: it is not a list.
    """
    value = record[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list, not {type(value).__name__}")
    return value


def seconds_value(record: Mapping[str, Any], key: str) -> float:
    """The time in seconds under a key of a JSON object; whether it is finite and not negative is not looked at.

    Raises:
        ValueError: it is not a number.
    """
    value = record[key]
    try:
        if not isinstance(value, bool) and isinstance(value, int | float):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"{key} must be a number of seconds, not {value!r:.80}")


def seconds_digits(row: Mapping[str, str], column: str) -> float:
    """The time in seconds in a column of a CSV row; whether it is finite and not negative is not looked at.

    Raises:
        ValueError: it is not a number.
    """
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"{column} must be a number of seconds, not {row[column]!r:.80}") from None


def language_code(language: str) -> str:
    """The ISO 639-1 code of a language that is named in English or is such a code already.

    Raises:
        ValueError: neither.
    """
    code = _LANGUAGE_CODES.get(language, language)
    if not re.fullmatch("[a-z]{2}", code):
        known = ", ".join(_LANGUAGE_CODES)
        raise ValueError(f"the language {language!r} is not one of {known}, nor an ISO 639-1 code such as 'it'")
    return code


def inside(folder: Path, relative: str) -> Path:
    """The path below `folder` that a file names.

    Raises:
        ValueError: it could lie outside `folder` on some system.
    """
    windows = PureWindowsPath(relative)
    if "\0" in relative or windows.drive or windows.root or ".." in windows.parts:
        raise ValueError(f"the path {relative!r} leads out of its folder, {folder}; move the file into it")
    return folder.joinpath(*PurePosixPath(relative).parts)


def plain_name(name: str) -> str:
    """A name of a file or folder, composed.

    Raises:
        ValueError: it is a path to elsewhere.
    """
    if "\0" in name or name == ".." or PureWindowsPath(name).parts != (name,):
        raise ValueError(f"{name!r} is not the plain name of a file")
    return composed(name)


def files_by_name(folder: Path) -> dict[str, Path]:
    """What lies in `folder` by its composed name; nothing where there is no such folder."""
    return {composed(path.name): path for path in folder.iterdir()} if folder.is_dir() else {}


def composed(name: str) -> str:
    """The name in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)
