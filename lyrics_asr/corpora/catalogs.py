"""Catalogues of recordings: artist, title and length of each, from tags, a CSV file or MusicBrainz-like JSON.

Conventions
- A folder is searched with all subfolders; hidden files and folders are skipped. Artist, title and album are the tags.
- .csv has the columns path, artist and title, and optionally album and duration_seconds.
- .json is a list of recordings or {"recordings": [...]}, .jsonl has one a line, as MusicBrainz writes them: "title",
  "artist-credit" (or "artist"), optionally "length" in milliseconds and "disambiguation". Each also needs a "path".
- Paths in a file are relative to its folder and never lead out of it. Lengths that a catalogue lacks are read from the
  audio files.
- What was read from audio files is cached in a file of JSON Lines, and valid while size and time of the file are.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lyrics_asr.audio import AUDIO_SUFFIXES, AudioError, read_header, read_tags
from lyrics_asr.console import steps
from lyrics_asr.corpora.parsing import (
    check_keys,
    inside,
    list_value,
    read_csv,
    read_json_lines,
    read_text,
    seconds_digits,
    text_value,
)

_CATALOG_SUFFIXES = (".csv", ".json", ".jsonl")
_THREADS = 8  # reading headers waits for the disk
_READ_AT_ONCE = 1000  # files; what was read is kept when a run is interrupted


@dataclass(frozen=True)
class Track:
    """A recording in a catalogue.

    Args:
        path: its audio file, which need not exist.
        artist: as written; empty if unknown.
        title: as written, with additions such as "(Instrumental)"; empty if unknown.
        duration_seconds: of the audio; None if the file cannot be read.
        album: as written; empty if unknown.
    """

    path: Path
    artist: str
    title: str
    duration_seconds: float | None
    album: str = ""


def read_catalog(source: Path, cache: Path) -> tuple[Track, ...]:
    """Read the recordings of a folder or of a catalogue file, in the order of their paths or of the file.

    Args:
        source: the folder or file.
        cache: file for what is read from audio files; created if missing.

    Raises:
        FileNotFoundError: no such folder or file, or no audio in the folder.
        ValueError: a file that is not a catalogue; the message names it, the row and the cause.
        OSError: the cache cannot be written.
    """
    if source.is_dir():
        paths = sorted(_audio_files(source))
        if not paths:
            raise FileNotFoundError(f"{source}: no audio file in it; check the folder")
        tracks = [Track(path, "", "", None) for path in paths]
    elif source.suffix.lower() in _CATALOG_SUFFIXES:
        tracks = list(_READERS[source.suffix.lower()](source))
        if not tracks:
            raise ValueError(f"{source}: lists no recording; check the file")
    else:
        known = ", ".join(_CATALOG_SUFFIXES)
        raise FileNotFoundError(f"{source}: no such folder, nor a catalogue ({known}); check the path")
    without = [track.path for track in tracks if track.duration_seconds is None]
    read = _read_files(without, cache) if without else {}
    return tuple(_completed(track, read[track.path]) if track.path in read else track for track in tracks)


# ---- Catalogue files ----


def _read_csv(source: Path) -> Iterator[Track]:
    for number, row in enumerate(read_csv(source, ("path", "artist", "title")), start=1):
        try:
            seconds = seconds_digits(row, "duration_seconds") if row.get("duration_seconds") else None
            yield Track(
                inside(source.parent, text_value(row, "path")),
                row["artist"],
                row["title"],
                seconds,
                row.get("album", ""),
            )
        except ValueError as error:
            raise ValueError(f"{source}, row {number}: {error}") from error


def _read_json(source: Path) -> Iterator[Track]:
    try:
        document = json.loads(read_text(source))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: not JSON: {error}") from error
    try:
        records = document if isinstance(document, list) else _recordings(document)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    for number, record in enumerate(records, start=1):
        yield _parse_recording(record, source.parent, f"{source}, recording {number}")


def _recordings(document: Any) -> list[Any]:
    check_keys(document, "a catalogue", frozenset({"recordings"}))
    return list_value(document, "recordings")


def _read_json_lines(source: Path) -> Iterator[Track]:
    for number, record in read_json_lines(source).items():
        yield _parse_recording(record, source.parent, f"{source}, line {number}")


def _parse_recording(record: Any, folder: Path, where: str) -> Track:
    try:
        check_keys(record, "a recording", frozenset({"path", "title"}))
        length = record.get("length")
        if isinstance(length, bool) or not isinstance(length, int | float | None):
            raise ValueError(f"length must be a number of milliseconds, not {length!r:.80}")
        remark = record.get("disambiguation")
        return Track(
            inside(folder, text_value(record, "path")),
            _credited(record),
            text_value(record, "title") + (f" ({remark})" if remark else ""),
            None if length is None else length / 1000,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _credited(record: Mapping[str, Any]) -> str:
    """The artist of a recording, from MusicBrainz's credits or from a plain "artist"."""
    if "artist-credit" not in record:
        check_keys(record, "a recording", frozenset({"artist"}))
        return text_value(record, "artist")
    credited = ""
    for credit in list_value(record, "artist-credit"):
        check_keys(credit, "an artist credit", frozenset())
        name = credit.get("name") or (credit.get("artist") or {}).get("name")
        if not isinstance(name, str):
            raise ValueError(f"an artist credit without a name: {credit!r:.80}")
        credited += name + str(credit.get("joinphrase") or "")
    return credited


_READERS: Mapping[str, Callable[[Path], Iterator[Track]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
}


# ---- Audio files ----


@dataclass(frozen=True)
class _Read:
    """What an audio file says of itself, with size and time that it had then.

    Args:
        path: absolute path.
        size: in bytes; -1 if the file is missing.
        mtime_ns: time of its last change.
        duration_seconds: None if the file cannot be read.
        artist: tag.
        title: tag.
        album: tag.
    """

    path: str
    size: int
    mtime_ns: int
    duration_seconds: float | None = None
    artist: str = ""
    title: str = ""
    album: str = ""


def _audio_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:
                yield Path(parent, name)


def _read_files(paths: Sequence[Path], cache: Path) -> dict[Path, _Read]:
    known = _read_cache(cache)
    stamps = {path: _stamp(path) for path in paths}
    current = {
        path: known[stamp.path]
        for path, stamp in stamps.items()
        if stamp.path in known and _is_current(known[stamp.path], stamp)
    }
    missing = [path for path in paths if path not in current]
    cache.parent.mkdir(parents=True, exist_ok=True)
    with (
        cache.open("a", encoding="utf-8") as file,
        ThreadPoolExecutor(_THREADS) as pool,
        steps("tags", 0, len(missing)) as show,
    ):
        for first in range(0, len(missing), _READ_AT_ONCE):
            part = missing[first : first + _READ_AT_ONCE]
            for path, read in zip(part, pool.map(_read_file, [stamps[path] for path in part]), strict=True):
                current[path] = read
                file.write(json.dumps(asdict(read)) + "\n")
            file.flush()
            show(first + len(part))
    return current


def _read_cache(cache: Path) -> dict[str, _Read]:
    known = {}
    for line in cache.read_text(encoding="utf-8").split("\n") if cache.exists() else ():
        try:
            read = _Read(**json.loads(line))
        except (ValueError, TypeError):  # a line that an interrupted run left incomplete
            continue
        known[read.path] = read
    return known


def _stamp(path: Path) -> _Read:
    absolute = os.path.abspath(path)
    try:
        status = path.stat()
    except OSError:
        return _Read(absolute, -1, 0)
    return _Read(absolute, status.st_size, status.st_mtime_ns)


def _is_current(known: _Read, stamp: _Read) -> bool:
    return (known.size, known.mtime_ns) == (stamp.size, stamp.mtime_ns)


def _read_file(stamp: _Read) -> _Read:
    path = Path(stamp.path)
    try:
        seconds, tags = read_header(path).duration_seconds, read_tags(path)
    except (AudioError, OSError):
        return stamp
    texts = {key: tags.get(key, "").encode("utf-8", "replace").decode() for key in ("artist", "title", "album")}
    return _Read(stamp.path, stamp.size, stamp.mtime_ns, seconds, **texts)


def _completed(track: Track, read: _Read) -> Track:
    return Track(
        track.path,
        track.artist or read.artist,
        track.title or read.title,
        read.duration_seconds,
        track.album or read.album,
    )
