"""Reader for MUSDB-ALT (Syed et al. 2025, arXiv:2506.15514): lyrics as in Jam-ALT for MUSDB18-HQ, with vocal stems.

Layout
- SONG/mixture.wav and SONG/vocals.wav, in the folder or in train/ and test/, as in MUSDB18-HQ.
- Lyrics in one of three places: data/test.jsonl or test.jsonl, as in MUSDB-ALT, one song per line with "name" (of its
  folder), "text" and "lines", a list of {"text", "start", "end"} in seconds; or SONG/lyrics.txt; or lyrics/SONG.txt
  next to the song's folder or at the top level. Songs without lyrics are skipped.
- metadata.csv (optional): columns Name and Language (in English, or an ISO 639-1 code) of songs that are not in
  English.

`Song.lyrics` is the published text, with case, punctuation, line breaks and blank lines. Words have no times.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.corpora.jam_alt import read_published_lines
from lyrics_asr.corpora.manifest import LineTimes, Song
from lyrics_asr.corpora.parsing import (
    check_keys,
    language_code,
    plain_name,
    read_csv,
    read_json_lines,
    text_value,
)
from lyrics_asr.files import composed
from lyrics_asr.lyrics.text import parse_corpus_lyrics, read_corpus_lyrics

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Text:
    """Lyrics and their source; the expected folder of the song, in case it does not exist."""

    source: Path
    folder: Path
    text: str
    lines: tuple[LineTimes, ...] = ()


def read_musdb_alt(folder: Path) -> tuple[Song, ...]:
    """Read all songs with lyrics, sorted by name; the number of songs without lyrics is logged.

    A missing mixture is listed with its expected path.

    Raises:
        FileNotFoundError: no such folder, or no lyrics in it.
        ValueError: two songs with the same name, two lyrics for one song, or a file that is not in the layout; the
            message names them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder with MUSDB18-HQ's songs and lyrics")
    groups = [group for group in (folder, folder / "train", folder / "test") if group.is_dir()]
    tracks = _find_tracks(groups)
    texts: dict[str, _Text] = {}
    for name, text in _find_texts(folder, groups, tracks):
        if name in texts:
            raise ValueError(f"{name}: lyrics in {texts[name].source} and in {text.source}; remove one of them")
        texts[name] = text
    if not texts:
        raise FileNotFoundError(
            f"{folder}: no lyrics; put MUSDB-ALT's test.jsonl there, or lyrics.txt in the folder of each song"
        )
    if without := len(tracks.keys() - texts.keys()):
        _logger.info("%s: %d of %d songs without lyrics are skipped", folder, without, len(tracks))
    languages = _read_languages(folder / "metadata.csv")
    songs = []
    for name, text in sorted(texts.items()):
        track = tracks.get(name, text.folder)
        vocals = track / "vocals.wav"
        songs.append(
            Song(
                id=name,
                audio=track / "mixture.wav",
                lyrics=text.text,
                words=(),
                language=languages.get(name, "en"),
                vocals=vocals if vocals.is_file() else None,
                lines=text.lines,
            )
        )
    return tuple(songs)


def _find_tracks(groups: Iterable[Path]) -> dict[str, Path]:
    """The folders with a mixture or lyrics, by song name."""
    tracks: dict[str, Path] = {}
    for group in groups:
        for path in sorted(group.iterdir()):
            if any((path / name).is_file() for name in ("mixture.wav", "lyrics.txt")):
                name = composed(path.name)
                if name in tracks:
                    raise ValueError(f"{name}: two folders, {tracks[name]} and {path}; song names must be unique")
                tracks[name] = path
    return tracks


def _find_texts(folder: Path, groups: Iterable[Path], tracks: dict[str, Path]) -> list[tuple[str, _Text]]:
    found = []
    for name, track in tracks.items():
        if (track / "lyrics.txt").is_file():
            found.append((name, _read_text(track / "lyrics.txt", track)))
    for group in groups:
        for path in sorted((group / "lyrics").glob("*.txt")):
            found.append((composed(path.stem), _read_text(path, group / path.stem)))
    for table in (folder / "data" / "test.jsonl", folder / "test.jsonl"):
        if table.is_file():
            found.extend(_read_table(table, folder / "test"))
    return found


def _read_text(path: Path, track: Path) -> _Text:
    return _Text(path, track, read_corpus_lyrics(path).text)


def _read_table(table: Path, group: Path) -> list[tuple[str, _Text]]:
    found = []
    for number, record in read_json_lines(table).items():
        try:
            check_keys(record, "a song", frozenset({"name", "text"}))
            name, text = plain_name(text_value(record, "name")), text_value(record, "text")
            parse_corpus_lyrics(text)
            found.append((name, _Text(table, group / name, text, read_published_lines(record, name))))
        except ValueError as error:
            raise ValueError(f"{table}, line {number}: {error}") from error
    return found


def _read_languages(table: Path) -> dict[str, str]:
    languages: dict[str, str] = {}
    for number, row in enumerate(read_csv(table, ("Name", "Language")) if table.is_file() else (), start=1):
        try:
            languages[composed(row["Name"])] = language_code(row["Language"])
        except ValueError as error:
            raise ValueError(f"{table}, row {number}: {error}") from error
    return languages
