"""Songs with their lyrics and reference times, and the file that lists them.

Conventions
- One JSON object a line, UTF-8. Keys: id, audio, lyrics, words, language, vocals, accompaniment, genre.
- A word is {"text", "start_seconds", "end_seconds"}; reference times are certain, so they are read with confidence 1.
  It may have "sounds", a list of {"name", "start_seconds", "end_seconds"}; in a song all words have them, or none.
- Paths are relative to the manifest's folder, with "/" between their parts, and never lead out of it:
  a folder with its manifest can be moved, and a foreign manifest reads nothing else.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lyrics_asr.files import write_text
from lyrics_asr.types import TimedWord

_REQUIRED_KEYS = frozenset({"id", "audio", "lyrics", "words", "language"})
_OPTIONAL_KEYS = frozenset({"vocals", "accompaniment", "genre"})
_WORD_KEYS = frozenset({"text", "start_seconds", "end_seconds"})
_SOUND_KEYS = frozenset({"name", "start_seconds", "end_seconds"})


@dataclass(frozen=True)
class Sound:
    """A speech sound (phone) and its time, named by any set of symbols that tells one sound from another."""

    name: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Song:
    """A song with its reference.

    Args:
        id: unique within its source.
        audio: the mixture; the file need not exist, as when a corpus comes without its audio.
        lyrics: as written, with headings and blank lines.
        words: the words of the lyrics in order, with their reference times.
        language: ISO 639-1 code.
        vocals: the vocals' stem, where there is one.
        accompaniment: the rest of the mixture, where there is one.
        genre: as the source names it.
        sounds: the speech sounds of each word, where the source knows them; else empty.
    """

    id: str
    audio: Path
    lyrics: str
    words: tuple[TimedWord, ...]
    language: str
    vocals: Path | None = None
    accompaniment: Path | None = None
    genre: str | None = None
    sounds: tuple[tuple[Sound, ...], ...] = ()


def read_manifest(path: Path) -> tuple[Song, ...]:
    """Read the songs of a manifest; whether their audio exists is not looked at.

    Raises:
        FileNotFoundError: no such manifest.
        ValueError: a line that is not a song, or a path that leads out of the folder; the message names line and cause.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = f"{path}: no such manifest; `lyrics-asr data synth` makes one of synthetic songs"
        raise FileNotFoundError(message) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a manifest: not UTF-8 text ({error.reason})") from error
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ValueError(f"{path}: the manifest holds no song; make it again")
    songs: dict[str, Song] = {}
    for number, line in lines:
        try:
            song = _parse_song(line, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if song.id in songs:
            raise ValueError(f"{path}, line {number}: a second song with the id {song.id!r}; ids must differ")
        songs[song.id] = song
    return tuple(songs.values())


def write_manifest(path: Path, songs: Sequence[Song]) -> None:
    """Write `songs` as a manifest, atomically.

    Raises:
        ValueError: a file of a song lies outside the manifest's folder.
        OSError: the file cannot be written.
    """
    lines = [json.dumps(_song_object(song, path.parent), ensure_ascii=False, allow_nan=False) for song in songs]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _parse_song(line: str, folder: Path) -> Song:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    _check_keys(record, "a song", _REQUIRED_KEYS, _OPTIONAL_KEYS)
    if not isinstance(record["words"], list):
        raise ValueError(f"words must be a list, not {type(record['words']).__name__}")
    words = tuple(_parse_word(word) for word in record["words"])
    with_sounds = [word for word in record["words"] if "sounds" in word]
    if with_sounds and len(with_sounds) < len(words):
        raise ValueError(f"{len(with_sounds)} of {len(words)} words have sounds; give them to all words or to none")
    return Song(
        id=_text(record, "id"),
        audio=_inside(folder, _text(record, "audio")),
        lyrics=_text(record, "lyrics"),
        words=words,
        language=_text(record, "language"),
        vocals=_optional_path(record, "vocals", folder),
        accompaniment=_optional_path(record, "accompaniment", folder),
        genre=None if record.get("genre") is None else _text(record, "genre"),
        sounds=tuple(_parse_sounds(word) for word in with_sounds),
    )


def _parse_word(record: Any) -> TimedWord:
    _check_keys(record, "a word", _WORD_KEYS, frozenset({"sounds"}))
    return TimedWord(_text(record, "text"), _seconds(record, "start_seconds"), _seconds(record, "end_seconds"), 1.0)


def _parse_sounds(word: dict[str, Any]) -> tuple[Sound, ...]:
    if not isinstance(word["sounds"], list):
        raise ValueError(f"sounds must be a list, not {type(word['sounds']).__name__}")
    sounds = []
    for record in word["sounds"]:
        _check_keys(record, "a sound", _SOUND_KEYS, frozenset())
        sounds.append(Sound(_text(record, "name"), _seconds(record, "start_seconds"), _seconds(record, "end_seconds")))
    return tuple(sounds)


def _check_keys(record: Any, name: str, required: frozenset[str], optional: frozenset[str]) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"{name} must be a JSON object, not {type(record).__name__}")
    if missing := sorted(required - record.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown := sorted(record.keys() - required - optional):
        raise ValueError(f"{name} has unknown keys: {', '.join(unknown)}")


def _text(record: dict[str, Any], key: str) -> str:
    value = record[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a text that is not empty, not {value!r:.80}")
    return value


def _seconds(record: dict[str, Any], key: str) -> float:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} must be a number of seconds, not {value!r:.80}")
    return float(value)


def _optional_path(record: dict[str, Any], key: str, folder: Path) -> Path | None:
    return None if record.get(key) is None else _inside(folder, _text(record, key))


def _inside(folder: Path, relative: str) -> Path:
    """The path that a manifest names, refused on every system alike when it could lie outside `folder`."""
    windows = PureWindowsPath(relative)
    if "\0" in relative or windows.drive or windows.root or ".." in windows.parts:
        raise ValueError(f"the path {relative!r} leads out of the manifest's folder; move the file into it")
    return folder.joinpath(*PurePosixPath(relative).parts)


def _song_object(song: Song, folder: Path) -> dict[str, Any]:
    def relative(path: Path | None) -> str | None:
        if path is None:
            return None
        # abspath, not resolve: a symbolic link inside the folder may point to where the audio is kept.
        try:
            return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
        except ValueError as error:
            message = f"song {song.id!r}: {path} lies outside {folder}, the manifest's folder; move it into the folder"
            raise ValueError(message) from error

    words: list[dict[str, Any]] = [
        {"text": word.text, "start_seconds": word.start_seconds, "end_seconds": word.end_seconds} for word in song.words
    ]
    if song.sounds:
        for word, sounds in zip(words, song.sounds, strict=True):
            word["sounds"] = [asdict(sound) for sound in sounds]
    return {
        "id": song.id,
        "audio": relative(song.audio),
        "lyrics": song.lyrics,
        "words": words,
        "language": song.language,
        "vocals": relative(song.vocals),
        "accompaniment": relative(song.accompaniment),
        "genre": song.genre,
    }
