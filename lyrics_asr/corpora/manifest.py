"""Songs with their lyrics and reference times, and the file that lists them.

Conventions
- One JSON object a line, UTF-8. Keys: id, audio, lyrics, words, language, lines, vocals, accompaniment, genre,
  f0.
- A word is {"text", "start_seconds", "end_seconds"}; reference times are certain, so they are read with confidence 1.
  It may have "phones", a list of {"name", "start_seconds", "end_seconds"}; in a song all words have them, or none.
  Manifests of older versions have them as "sounds".
  "words" is [] where the source has no times of words, as when it is made to judge transcripts alone.
- A line is {"text", "start_seconds", "end_seconds"}, one for each sung line of the lyrics; "lines" is left out where
  the source has no times of lines.
- Paths are relative to the manifest's folder, with "/" between their parts, and never lead out of it:
  a folder with its manifest can be moved, and a foreign manifest reads nothing else.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lyrics_asr.corpora.parsing import check_keys, inside, list_value, read_json_lines, seconds_value, text_value
from lyrics_asr.files import write_text
from lyrics_asr.lyrics.text import Lyrics, parse_corpus_lyrics
from lyrics_asr.types import TimedWord

_REQUIRED_KEYS = frozenset({"id", "audio", "lyrics", "words", "language"})
_OPTIONAL_KEYS = frozenset({"lines", "vocals", "accompaniment", "genre", "f0"})
_TIMES_KEYS = frozenset({"text", "start_seconds", "end_seconds"})
_PHONE_KEYS = frozenset({"name", "start_seconds", "end_seconds"})
_PHONE_LISTS = frozenset({"phones", "sounds"})  # "sounds" in manifests of older versions


@dataclass(frozen=True)
class TimedPhone:
    """A phone and its time; the names may come from any phone set."""

    name: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class LineTimes:
    """A sung line as the lyrics write it, and when it is sung."""

    text: str
    start_seconds: float
    end_seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_seconds <= self.end_seconds < math.inf:
            raise ValueError(f"{self.text!r} has no valid time: {self.start_seconds} to {self.end_seconds} s")


@dataclass(frozen=True)
class Song:
    """A song with its reference.

    Args:
        id: unique within its source.
        audio: the mixture; the file need not exist, as when a corpus comes without its audio.
        lyrics: as written, with headings and blank lines.
        words: the words of the lyrics in order, with their reference times; empty where the source has none.
        language: ISO 639-1 code.
        vocals: the vocals' stem, where there is one.
        accompaniment: the rest of the mixture, where there is one.
        genre: as the source names it.
        phones: those of each word, where the source knows them; else empty.
        lines: the sung lines of the lyrics in order, as `parse_corpus_lyrics` finds them, with their reference times;
            empty where the source has none.
        f0: a NumPy array of the lead vocals' fundamental frequency in hertz, every 10 ms from the start of the song and
            0 where they have none, where the source knows it.
    """

    id: str
    audio: Path
    lyrics: str
    words: tuple[TimedWord, ...]
    language: str
    vocals: Path | None = None
    accompaniment: Path | None = None
    genre: str | None = None
    phones: tuple[tuple[TimedPhone, ...], ...] = ()
    lines: tuple[LineTimes, ...] = ()
    f0: Path | None = None


def read_manifest(path: Path) -> tuple[Song, ...]:
    """Read the songs of a manifest; whether their audio exists is not looked at.

    Raises:
        FileNotFoundError: no such manifest.
        ValueError: a line that is not a song, or a path that leads out of the folder; the message names line and cause.
    """
    try:
        records = read_json_lines(path)
    except FileNotFoundError as error:
        message = f"{path}: no such manifest; `lyrics-asr data synth` makes one of synthetic songs"
        raise FileNotFoundError(message) from error
    if not records:
        raise ValueError(f"{path}: the manifest holds no song; make it again")
    songs: dict[str, Song] = {}
    for number, record in records.items():
        try:
            song = _parse_song(record, path.parent)
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


def fit_words(
    times: Sequence[TimedWord], lyrics: Lyrics, times_source: Path, lyrics_source: Path
) -> tuple[TimedWord, ...]:
    """The words of the lyrics, as they are written there, with times that are listed in the same order.

    Raises:
        ValueError: there are more or fewer times than words; the message names the files and both numbers.
    """
    words = [word for line in lyrics.lines for word in line.words]
    if len(times) != len(words):
        raise ValueError(f"{times_source}: {len(times)} word times for the {len(words)} words of {lyrics_source}")
    return tuple(replace(time, text=word, confidence=1.0) for word, time in zip(words, times, strict=True))


def fit_lines(
    times: Sequence[LineTimes], lyrics: Lyrics, times_source: Path, lyrics_source: Path
) -> tuple[LineTimes, ...]:
    """The sung lines of the lyrics, as they are written there, with times that are listed in the same order.

    Raises:
        ValueError: there are more or fewer times than lines; the message names the files and both numbers.
    """
    if len(times) != len(lyrics.lines):
        raise ValueError(
            f"{times_source}: {len(times)} line times for the {len(lyrics.lines)} sung lines of {lyrics_source}"
        )
    return tuple(replace(time, text=line.text) for line, time in zip(lyrics.lines, times, strict=True))


def require_distinct_ids(songs: Iterable[Song], source: Path) -> None:
    """Make sure that no id stands twice.

    Raises:
        ValueError: one does; the message names it and `source`.
    """
    seen: set[str] = set()
    for song in songs:
        if song.id in seen:
            raise ValueError(f"{source}: a second song with the id {song.id!r}; ids must differ")
        seen.add(song.id)


def _parse_song(record: Any, folder: Path) -> Song:
    check_keys(record, "a song", _REQUIRED_KEYS, _OPTIONAL_KEYS)
    words = tuple(_parse_word(word) for word in list_value(record, "words"))
    phones = [_parse_phones(word) for word in record["words"] if _PHONE_LISTS & word.keys()]
    if phones and len(phones) < len(words):
        raise ValueError(f"{len(phones)} of {len(words)} words have phones; give them to all words or to none")
    lyrics = text_value(record, "lyrics")
    return Song(
        id=text_value(record, "id"),
        audio=inside(folder, text_value(record, "audio")),
        lyrics=lyrics,
        words=words,
        language=text_value(record, "language"),
        vocals=_optional_path(record, "vocals", folder),
        accompaniment=_optional_path(record, "accompaniment", folder),
        genre=None if record.get("genre") is None else text_value(record, "genre"),
        phones=tuple(phones),
        lines=() if record.get("lines") is None else _parse_lines(record, lyrics),
        f0=_optional_path(record, "f0", folder),
    )


def _parse_word(record: Any) -> TimedWord:
    check_keys(record, "a word", _TIMES_KEYS, _PHONE_LISTS)
    start_seconds, end_seconds = seconds_value(record, "start_seconds"), seconds_value(record, "end_seconds")
    return TimedWord(text_value(record, "text"), start_seconds, end_seconds, 1.0)


def _parse_lines(record: dict[str, Any], lyrics: str) -> tuple[LineTimes, ...]:
    lines = []
    for line in list_value(record, "lines"):
        check_keys(line, "a line", _TIMES_KEYS, frozenset())
        start_seconds, end_seconds = seconds_value(line, "start_seconds"), seconds_value(line, "end_seconds")
        lines.append(LineTimes(text_value(line, "text"), start_seconds, end_seconds))
    if lines and len(lines) != (sung := len(parse_corpus_lyrics(lyrics).lines)):
        raise ValueError(f"{len(lines)} lines have times but the lyrics have {sung}; give them to all lines or to none")
    return tuple(lines)


def _parse_phones(word: dict[str, Any]) -> tuple[TimedPhone, ...]:
    phones = []
    for record in list_value(word, "phones" if "phones" in word else "sounds"):
        check_keys(record, "a phone", _PHONE_KEYS, frozenset())
        start_seconds, end_seconds = seconds_value(record, "start_seconds"), seconds_value(record, "end_seconds")
        phones.append(TimedPhone(text_value(record, "name"), start_seconds, end_seconds))
    return tuple(phones)


def _optional_path(record: dict[str, Any], key: str, folder: Path) -> Path | None:
    return None if record.get(key) is None else inside(folder, text_value(record, key))


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
    if song.phones:
        for word, phones in zip(words, song.phones, strict=True):
            word["phones"] = [asdict(phone) for phone in phones]
    known: dict[str, Any] = {}
    if song.lines:
        known["lines"] = [asdict(line) for line in song.lines]
    if song.f0:
        known["f0"] = relative(song.f0)
    return {
        "id": song.id,
        "audio": relative(song.audio),
        "lyrics": song.lyrics,
        "words": words,
        "language": song.language,
        "vocals": relative(song.vocals),
        "accompaniment": relative(song.accompaniment),
        "genre": song.genre,
    } | known
