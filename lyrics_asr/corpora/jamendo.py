"""Reader for JamendoLyrics MultiLang (Durand, Stoller and Ewert, ICASSP 2023): 79 songs with word times, or a subset.

Layout
- JamendoLyrics.csv: one row per song. Filepath is the audio's file name; Language is one of four, in English.
- mp3/: the audio, which may be missing.
- lyrics/NAME.txt: the lyrics, one sung line per line. NAME.words.txt next to it has the same words and is not read.
- annotations/words/NAME.csv: one row per word, in the order of the lyrics; times in seconds of the audio.
- annotations/lines/NAME.csv (optional): one row per sung line, in the order of the lyrics, with its text; from the
  start of its first word to the end of its last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.corpora.manifest import LineTimes, Song, fit_lines, fit_words
from lyrics_asr.corpora.parsing import files_by_name, language_code, plain_name, read_csv, seconds_digits
from lyrics_asr.lyrics.text import Lyrics, read_corpus_lyrics
from lyrics_asr.types import TimedWord

WORD_COLUMNS = ("word_start", "word_end")
LINE_COLUMNS = ("start_time", "end_time")


@dataclass(frozen=True)
class ListedSong:
    """A row of the song table.

    Args:
        name: of the song's files, without suffix.
        audio_name: file name of the audio.
        language: ISO 639-1 code.
        genre: in English.
    """

    name: str
    audio_name: str
    language: str
    genre: str


def read_jamendo(folder: Path) -> tuple[Song, ...]:
    """Read all songs of the corpus; a missing mp3 is listed with its expected path.

    Raises:
        FileNotFoundError: the table, lyrics or word times are missing.
        ValueError: a file is not in the layout; the message names it.
    """
    table = folder / "JamendoLyrics.csv"
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such file; give the folder of JamendoLyrics")
    lyrics_files = files_by_name(folder / "lyrics")
    word_files = files_by_name(folder / "annotations" / "words")
    line_files = files_by_name(folder / "annotations" / "lines")
    audio_files = files_by_name(folder / "mp3")
    songs = []
    for listed in read_song_table(table):
        for files, file_name in ((lyrics_files, f"{listed.name}.txt"), (word_files, f"{listed.name}.csv")):
            if file_name not in files:
                raise FileNotFoundError(
                    f"{folder}: {file_name} is missing, but {table.name} lists the song; download it again"
                )
        lyrics_path, words_path = lyrics_files[f"{listed.name}.txt"], word_files[f"{listed.name}.csv"]
        lines_path = line_files.get(f"{listed.name}.csv")
        lyrics = read_corpus_lyrics(lyrics_path)
        songs.append(
            Song(
                id=listed.name,
                audio=audio_files.get(listed.audio_name, folder / "mp3" / listed.audio_name),
                lyrics=lyrics.text,
                words=fit_words(read_word_times(words_path), lyrics, words_path, lyrics_path),
                language=listed.language,
                genre=listed.genre,
                lines=() if lines_path is None else _read_lines(lines_path, lyrics, lyrics_path),
            )
        )
    return tuple(songs)


def read_song_table(table: Path) -> tuple[ListedSong, ...]:
    """Read the song table.

    Raises:
        ValueError: a row lacks a column, its file name is a path, its language is unknown, or a song is listed twice;
            the message has table and row.
    """
    songs: dict[str, ListedSong] = {}
    for number, row in enumerate(read_csv(table, ("Filepath", "Language", "Genre")), start=1):
        try:
            audio_name = plain_name(row["Filepath"])
            name = audio_name.removesuffix(".mp3")
            if name in songs:
                raise ValueError(f"a second song with the id {name!r}; ids must differ")
            songs[name] = ListedSong(name, audio_name, language_code(row["Language"]), row["Genre"])
        except ValueError as error:
            raise ValueError(f"{table}, row {number}: {error}") from error
    return tuple(songs.values())


def read_word_times(path: Path) -> tuple[TimedWord, ...]:
    """Read word times in seconds, one word per row; the texts are in the lyrics.

    Raises:
        ValueError: not in this format, or an invalid time; the message has file and row.
    """
    words = []
    for number, row in enumerate(read_csv(path, WORD_COLUMNS), start=1):
        try:
            start_seconds, end_seconds = (seconds_digits(row, column) for column in WORD_COLUMNS)
            words.append(TimedWord(f"word {number}", start_seconds, end_seconds, 1.0))
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return tuple(words)


def read_line_times(path: Path, more_columns: Sequence[str] = ()) -> tuple[LineTimes, ...]:
    """Read line times in seconds, one sung line per row, with texts if there is a column "lyrics_line".

    Args:
        path: CSV file.
        more_columns: required columns besides the times.

    Raises:
        ValueError: not in this format, or an invalid time; the message has file and row.
    """
    lines = []
    for number, row in enumerate(read_csv(path, (*LINE_COLUMNS, *more_columns)), start=1):
        try:
            start_seconds, end_seconds = (seconds_digits(row, column) for column in LINE_COLUMNS)
            lines.append(LineTimes(row.get("lyrics_line") or f"line {number}", start_seconds, end_seconds))
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return tuple(lines)


def _read_lines(path: Path, lyrics: Lyrics, lyrics_path: Path) -> tuple[LineTimes, ...]:
    listed = read_line_times(path, ("lyrics_line",))
    lines = fit_lines(listed, lyrics, path, lyrics_path)
    for number, (there, here) in enumerate(zip(listed, lines, strict=True), start=1):
        if there.text.split() != here.text.split():
            raise ValueError(f"{path}, row {number}: {there.text!r} differs from {here.text!r} in {lyrics_path}")
    return lines
