"""JamendoLyrics MultiLang (Durand, Stoller and Ewert, ICASSP 2023): 79 songs with word times; any part of it is read.

Layout
- JamendoLyrics.csv: one song a row; Filepath is the audio's name, Language one of four, in English.
- mp3/: the audio, which may be missing.
- lyrics/NAME.txt: the lyrics, a sung line a line. NAME.words.txt beside it holds the same words and is not read.
- annotations/words/NAME.csv: a word a row, in the order of the lyrics; times in seconds of the audio.

File names are compared in Unicode's composed form (NFC): archives unpacked on macOS hold decomposed ones.
"""

import csv
import unicodedata
from pathlib import Path

from lyrics_asr.datasets.manifest import Song
from lyrics_asr.text import parse_lyrics
from lyrics_asr.types import TimedWord

_LANGUAGE_CODES = {"English": "en", "French": "fr", "German": "de", "Spanish": "es"}


def read_jamendo(folder: Path) -> tuple[Song, ...]:
    """Read every song of the corpus; a song whose mp3 is missing names the file that it would have.

    Raises:
        FileNotFoundError: the table, the lyrics or the word times are missing.
        ValueError: a file that is not as the layout says; the message names it.
    """
    table = folder / "JamendoLyrics.csv"
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such file; give the folder of JamendoLyrics that holds it")
    lyrics_files = _by_composed_name(folder / "lyrics")
    word_files = _by_composed_name(folder / "annotations" / "words")
    audio_files = _by_composed_name(folder / "mp3")
    songs = []
    for row in _read_rows(table, ("Filepath", "Language", "Genre")):
        audio_name = _composed(row["Filepath"])
        name = audio_name.removesuffix(".mp3")
        if row["Language"] not in _LANGUAGE_CODES:
            raise ValueError(
                f"{table}: {name} has the language {row['Language']!r}, not one of {list(_LANGUAGE_CODES)}"
            )
        for files, file_name in ((lyrics_files, f"{name}.txt"), (word_files, f"{name}.csv")):
            if file_name not in files:
                raise FileNotFoundError(f"{folder}: {file_name} is missing though {table.name} lists its song")
        lyrics_path = lyrics_files[f"{name}.txt"]
        lyrics = lyrics_path.read_text(encoding="utf-8")
        songs.append(
            Song(
                id=name,
                audio=audio_files.get(audio_name, folder / "mp3" / audio_name),
                lyrics=lyrics,
                words=_read_words(word_files[f"{name}.csv"], lyrics, lyrics_path),
                language=_LANGUAGE_CODES[row["Language"]],
                genre=row["Genre"],
            )
        )
    return tuple(songs)


def _read_words(path: Path, lyrics: str, lyrics_path: Path) -> tuple[TimedWord, ...]:
    words = [word for line in parse_lyrics(lyrics).lines for word in line.words]
    rows = _read_rows(path, ("word_start", "word_end"))
    if len(rows) != len(words):
        raise ValueError(f"{path}: {len(rows)} word times for the {len(words)} words of {lyrics_path}")
    timed = []
    for number, (word, row) in enumerate(zip(words, rows, strict=True), start=1):
        try:
            timed.append(TimedWord(word, float(row["word_start"]), float(row["word_end"]), 1.0))
        except ValueError as error:
            raise ValueError(f"{path}, word {number}: {error}") from error
    return tuple(timed)


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=1):
        if missing := [column for column in columns if row.get(column) is None]:
            raise ValueError(f"{path}, row {number}: no column {', '.join(missing)}")
    return rows


def _by_composed_name(folder: Path) -> dict[str, Path]:
    return {_composed(path.name): path for path in folder.iterdir()} if folder.is_dir() else {}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
