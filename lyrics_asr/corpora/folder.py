"""Reader for any folder of songs: audio, lyrics of the same name and, optionally, reference times.

Conventions
- The files of a song are in the same folder and have the same name apart from the suffix. All subfolders are searched;
  hidden files and folders are skipped. The song's id is its relative path without suffix, with "/" between folders.
- Audio has a suffix in `AUDIO_SUFFIXES`, in any case. A .txt or .lrc without audio is a song with missing audio. A
  .csv, .json or .TextGrid without audio and lyrics is ignored, and so is audio without lyrics.
- Lyrics are the .txt file, or else the text of an .lrc file or JSON transcript.
- Reference times of words, lines or both are in one file, in seconds of the audio:
  .csv as in JamendoLyrics, with columns word_start and word_end, or start_time and end_time;
  .json: a transcript written by this package, or a list of words {"text", "start_seconds", "end_seconds"};
  .TextGrid (Praat) with an interval tier "words", "lines" or both, where intervals without text are pauses;
  .lrc with `[mm:ss.xx]` before lines and optionally `<mm:ss.xx>` before words. It only has start times: a word or line
  ends at the next start time or at a time without text; without either, the last one ends where it starts.
- Times belong to the words or sung lines of the lyrics in order, and must have the same number. Their own texts are not
  compared, because spelling may differ.
"""

import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from praatio import textgrid
from praatio.utilities.errors import PraatioException

from lyrics_asr.audio import AUDIO_SUFFIXES
from lyrics_asr.corpora.jamendo import LINE_COLUMNS, WORD_COLUMNS, read_line_times, read_word_times
from lyrics_asr.corpora.manifest import LineTimes, Song, fit_lines, fit_words
from lyrics_asr.corpora.parsing import check_keys, read_csv, read_text, seconds_value, text_value
from lyrics_asr.files import composed
from lyrics_asr.formats import parse_json
from lyrics_asr.lyrics.text import Lyrics, parse_corpus_lyrics, read_corpus_lyrics
from lyrics_asr.types import TimedWord

_SONG_SUFFIXES = AUDIO_SUFFIXES | {".txt", ".lrc"}
_LRC_TIME = r"(\d{1,4}):([0-5]?\d(?:\.\d{1,3})?)"
_LRC_STAMP = re.compile(rf"\[{_LRC_TIME}\]")
_LRC_LINE = re.compile(rf"((?:\[{_LRC_TIME}\]\s*)+)(.*)")
_LRC_WORD = re.compile(rf"<{_LRC_TIME}>")
_LRC_OFFSET = re.compile(r"\[offset:\s*[+-]?0*[1-9].*\]", re.IGNORECASE)
_LRC_TAG = re.compile(r"\[(?!\d+:).*\]")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reference:
    """The contents of a reference times file; None for what it does not have."""

    words: Sequence[TimedWord] | None = None
    lines: Sequence[LineTimes] | None = None
    text: str | None = None


def read_folder(folder: Path, language: str) -> tuple[Song, ...]:
    """Read all songs with lyrics, sorted by id; the number of songs without lyrics is logged.

    Missing audio is listed as a .wav file.

    Args:
        folder: searched with all subfolders.
        language: ISO 639-1 code of all lyrics.

    Raises:
        FileNotFoundError: no such folder, or no song with lyrics in it.
        ValueError: two files for one purpose, a file in the wrong format, or a number of times that differs from the
            number of words or lines in the lyrics; the message names the files.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give a folder with songs and lyrics")
    songs = []
    without = 0
    for song_id, files in sorted(_files_by_song(folder).items()):
        if not any(path.suffix.lower() in _SONG_SUFFIXES for path in files):
            continue
        audio = _only(files, song_id, "audio", AUDIO_SUFFIXES)
        text = _only(files, song_id, "lyrics", (".txt",))
        times = _only(files, song_id, "reference times", _READERS)
        if text is None and times is None:
            without += 1
            continue
        songs.append(_read_song(song_id, audio or folder / f"{song_id}.wav", text, times, language))
    if without:
        _logger.info("%s: %d songs without lyrics are skipped", folder, without)
    if not songs:
        raise FileNotFoundError(f"{folder}: no song with lyrics; put a SONG.txt next to the audio of each song")
    return tuple(songs)


def _files_by_song(folder: Path) -> Mapping[str, list[Path]]:
    found = defaultdict(list)
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix:
                found[composed(path.relative_to(folder).with_suffix("").as_posix())].append(path)
    return found


def _only(files: Sequence[Path], song_id: str, purpose: str, suffixes: Collection[str]) -> Path | None:
    chosen = [path for path in files if path.suffix.lower() in suffixes]
    if len(chosen) > 1:
        raise ValueError(f"{song_id}: {chosen[0]} and {chosen[1]} are both its {purpose}; remove one of them")
    return chosen[0] if chosen else None


def _read_song(song_id: str, audio: Path, text: Path | None, times: Path | None, language: str) -> Song:
    reference = _Reference() if times is None else _READERS[times.suffix.lower()](times)
    source = text or times
    assert source is not None, "a song has lyrics or times"
    if text is not None:
        lyrics = read_corpus_lyrics(text)
    elif reference.text is None:
        raise ValueError(f"{source}: times without lyrics; put the lyrics in {source.with_suffix('.txt')}")
    else:
        lyrics = _parse_lyrics(source, reference.text)
    return Song(
        id=song_id,
        audio=audio,
        lyrics=lyrics.text,
        words=() if times is None or reference.words is None else fit_words(reference.words, lyrics, times, source),
        language=language,
        lines=() if times is None or reference.lines is None else fit_lines(reference.lines, lyrics, times, source),
    )


def _parse_lyrics(path: Path, text: str) -> Lyrics:
    try:
        return parse_corpus_lyrics(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_csv(path: Path) -> _Reference:
    columns = {column for row in read_csv(path, ())[:1] for column in row}
    if columns.issuperset(WORD_COLUMNS):
        return _Reference(words=read_word_times(path))
    if columns.issuperset(LINE_COLUMNS):
        return _Reference(lines=read_line_times(path))
    raise ValueError(
        f"{path}: no columns {' and '.join(WORD_COLUMNS)}, nor {' and '.join(LINE_COLUMNS)}; "
        "name the columns in the first row"
    )


def _read_json(path: Path) -> _Reference:
    text = read_text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, list):
        transcript = parse_json(text, str(path))
        return _Reference(
            words=[word for line in transcript.lines for word in line.words],
            lines=[LineTimes(line.text, line.start_seconds, line.end_seconds) for line in transcript.lines],
            text=transcript.text,
        )
    words = []
    for number, record in enumerate(document, start=1):
        try:
            check_keys(record, "a word", frozenset({"text", "start_seconds", "end_seconds"}))
            start_seconds, end_seconds = seconds_value(record, "start_seconds"), seconds_value(record, "end_seconds")
            words.append(TimedWord(text_value(record, "text"), start_seconds, end_seconds, 1.0))
        except ValueError as error:
            raise ValueError(f"{path}, word {number}: {error}") from error
    return _Reference(words=words)


def _read_textgrid(path: Path) -> _Reference:
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        if not text.startswith('File type = "ooTextFile'):
            raise ValueError("it has no TextGrid header; save it from Praat as a text file")
        # praatio reads negative times as positive.
        if re.search(r"^\s*xm(in|ax) ?= ?-[\d.]*[1-9]", text, re.MULTILINE):
            raise ValueError("it has a negative time")
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="silence")
    except (PraatioException, ValueError, IndexError) as error:
        raise ValueError(f"{path}: cannot be read as a TextGrid: {error}") from error
    tiers = {tier.name.strip().lower(): tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)}
    if not tiers.keys() & {"words", "lines"}:
        raise ValueError(f"{path}: no interval tier named words or lines, only {', '.join(grid.tierNames) or 'none'}")
    words, lines = tiers.get("words"), tiers.get("lines")
    try:
        return _Reference(
            words=None if words is None else [TimedWord(text, start, end, 1.0) for start, end, text in words.entries],
            lines=None if lines is None else [LineTimes(text, start, end) for start, end, text in lines.entries],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True)
class _LrcLine:
    """A line with its start time and text, which may contain word times; file and line number for messages."""

    start_seconds: float
    body: str
    place: str

    @property
    def text(self) -> str:
        """The body without word times."""
        return " ".join(_LRC_WORD.sub("", self.body).split())

    @property
    def word_starts(self) -> list[float]:
        """The line's start, which applies to words before the first word time, and the word times."""
        return [self.start_seconds, *(_lrc_seconds(*groups) for groups in _LRC_WORD.findall(self.body))]


def _read_lrc(path: Path) -> _Reference:
    stamped = sorted(_lrc_lines(path), key=lambda line: line.start_seconds)
    text = "\n".join(line.text for line in stamped)
    sung = {line.text for line in _parse_lyrics(path, text).lines}
    starts = sorted({line.start_seconds for line in stamped})
    next_starts = dict(zip(starts, [*starts[1:], starts[-1]], strict=True))
    with_words = any(_LRC_WORD.search(line.body) for line in stamped)
    words: list[TimedWord] = []
    lines = []
    for line in stamped:
        if line.text in sung:
            try:
                end_seconds = _lrc_end(line, next_starts[line.start_seconds])
                lines.append(LineTimes(line.text, line.start_seconds, end_seconds))
                if with_words:
                    words.extend(_lrc_words(line, end_seconds))
            except ValueError as error:
                raise ValueError(f"{line.place}: {error}") from error
    return _Reference(words if with_words else None, lines, text)


def _lrc_lines(path: Path) -> Iterator[_LrcLine]:
    for number, line in enumerate(map(str.strip, read_text(path).splitlines()), start=1):
        place = f"{path}, line {number}"
        if _LRC_OFFSET.fullmatch(line):
            raise ValueError(
                f"{place}: players disagree on the meaning of {line}; add the offset to all times and remove it"
            )
        if match := _LRC_LINE.fullmatch(line):
            times, body = match[1], match[4]
            starts = [_lrc_seconds(*groups) for groups in _LRC_STAMP.findall(times)]
            if len(starts) > 1 and _LRC_WORD.search(body):
                raise ValueError(f"{place}: several start times for a line with word times; repeat the line instead")
            yield from (_LrcLine(start_seconds, body, place) for start_seconds in starts)
        elif line and not _LRC_TAG.fullmatch(line):
            raise ValueError(f"{place}: no start time, such as [01:02.34], before {line!r:.80}")


def _lrc_end(line: _LrcLine, next_start_seconds: float) -> float:
    """A line ends at a trailing time without text, else at the next line or, if later, at its last word's start."""
    last_start_seconds = line.word_starts[-1]
    ended = _LRC_WORD.split(line.body)[-1].strip() == "" and _LRC_WORD.search(line.body)
    return last_start_seconds if ended else max(last_start_seconds, next_start_seconds)


def _lrc_words(line: _LrcLine, end_seconds: float) -> Iterator[TimedWord]:
    starts = line.word_starts
    for text, start, end in zip(_LRC_WORD.split(line.body)[::3], starts, [*starts[1:], end_seconds], strict=True):
        words = text.split()
        if len(words) > 1:
            raise ValueError(f"a single time for the words {text.strip()!r:.80}; give one per word, such as <01:02.34>")
        yield from (TimedWord(word, start, end, 1.0) for word in words)


def _lrc_seconds(minutes: str, seconds: str) -> float:
    return int(minutes) * 60 + float(seconds)


_READERS: Mapping[str, Callable[[Path], _Reference]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".textgrid": _read_textgrid,
    ".lrc": _read_lrc,
}
