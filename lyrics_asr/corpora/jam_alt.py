"""Reader for Jam-ALT (Cífka et al., ISMIR 2024): the songs of JamendoLyrics with readable, formatted lyrics.

Case, punctuation, line breaks, blank lines between sections and parentheses around background vocals are part of the
reference. `Song.lyrics` is the published text, which is what alt-eval expects. Words have no times.

Layouts
- metadata.csv, audio/ and lyrics/NAME.txt: the table has the columns of JamendoLyrics.csv.
- metadata.jsonl, or subsets/LANGUAGE/metadata.jsonl: one song per line with "name", "file_name" (the audio, relative to
  the metadata file), "text", "language" (ISO 639-1) and, since version 1.2, "lines", a list of {"text", "start", "end"}
  in seconds. Other keys are ignored.
If both are present, the second is read, because it has line times.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lyrics_asr.corpora.jamendo import read_song_table
from lyrics_asr.corpora.manifest import LineTimes, Song, require_distinct_ids
from lyrics_asr.corpora.parsing import (
    check_keys,
    files_by_name,
    inside,
    language_code,
    list_value,
    read_json_lines,
    seconds_value,
    text_value,
)
from lyrics_asr.files import composed
from lyrics_asr.lyrics.text import parse_corpus_lyrics, read_corpus_lyrics

_logger = logging.getLogger(__name__)


def read_jam_alt(folder: Path) -> tuple[Song, ...]:
    """Read all songs of the corpus; missing audio is listed with its expected path.

    Raises:
        FileNotFoundError: neither table exists, or the lyrics of a song in metadata.csv are missing.
        ValueError: a file is not in the layout; the message names it.
    """
    table = folder / "metadata.csv"
    json_tables = [folder / "metadata.jsonl"]
    if not json_tables[0].is_file():
        json_tables = sorted((folder / "subsets").glob("*/metadata.jsonl"))
    if json_tables:
        songs = tuple(song for path in json_tables for song in _read_json_table(path))
        require_distinct_ids(songs, folder)
        return songs
    if not table.is_file():
        raise FileNotFoundError(f"{folder}: no metadata.csv or metadata.jsonl; give the folder of Jam-ALT")
    return tuple(_read_csv_table(table))


def read_published_lines(record: Mapping[str, Any], name: str) -> tuple[LineTimes, ...]:
    """Read the line times in "lines" of a song of Jam-ALT or MUSDB-ALT.

    If the lines differ from the sung lines of "text", as when overlapping voices are listed in a different order, a
    warning is logged and no line times are returned.

    Args:
        record: the song's JSON object, with "text" and optionally "lines".
        name: of the song, for the warning.

    Raises:
        ValueError: "lines" is not a list of texts with times, or "text" has no sung line.
    """
    if record.get("lines") is None:
        return ()
    lines = []
    for line in list_value(record, "lines"):
        check_keys(line, "a line", frozenset({"text", "start", "end"}))
        lines.append(
            LineTimes(text_value(line, "text").strip(), seconds_value(line, "start"), seconds_value(line, "end"))
        )
    sung = parse_corpus_lyrics(text_value(record, "text")).lines
    if [line.text.split() for line in lines] != [list(line.words) for line in sung]:
        _logger.warning(
            "%s: its %d timed lines differ from the %d sung lines of its text; line times are dropped",
            name,
            len(lines),
            len(sung),
        )
        return ()
    return tuple(lines)


def _read_json_table(table: Path) -> list[Song]:
    songs = []
    for number, record in read_json_lines(table).items():
        try:
            check_keys(record, "a song", frozenset({"name", "file_name", "text", "language"}))
            name, text = text_value(record, "name"), text_value(record, "text")
            audio = inside(table.parent, text_value(record, "file_name"))
            lines = read_published_lines(record, name)
            parse_corpus_lyrics(text)
            language = language_code(text_value(record, "language"))
        except ValueError as error:
            raise ValueError(f"{table}, line {number}: {error}") from error
        audio = files_by_name(audio.parent).get(composed(audio.name), audio)
        songs.append(Song(composed(name), audio, text, (), language, lines=lines))
    if not songs:
        raise ValueError(f"{table}: lists no songs; download it again")
    return songs


def _read_csv_table(table: Path) -> list[Song]:
    audio_folder, lyrics_folder = table.parent / "audio", table.parent / "lyrics"
    audio_files, lyrics_files = files_by_name(audio_folder), files_by_name(lyrics_folder)
    songs = []
    for listed in read_song_table(table):
        lyrics_path = lyrics_files.get(f"{listed.name}.txt", lyrics_folder / f"{listed.name}.txt")
        if not lyrics_path.is_file():
            raise FileNotFoundError(f"{lyrics_path}: missing, but {table.name} lists the song; download it again")
        audio = audio_files.get(listed.audio_name, audio_folder / listed.audio_name)
        text = read_corpus_lyrics(lyrics_path).text
        songs.append(Song(listed.name, audio, text, (), listed.language, genre=listed.genre))
    return songs
