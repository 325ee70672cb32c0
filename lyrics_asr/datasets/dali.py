"""DALI (Meseguer-Brocal et al., ISMIR 2018, TISMIR 2020): annotations of songs, read without trust in their files.

Layout
- Annotations: ID.gz, a gzipped pickle of `DALI.Annotations.Annotations`, or its JSON export, as NAME.json or, in
  synthetic corpora, NAME/dali.json.
- Audio: the DALI id with the suffix of any audio format; it may be missing.

Conventions
- Annotations are horizontal (a list for each level; `index` numbers the entry of the level above) or vertical
  (paragraphs hold lines, these hold words, these hold notes). Notes and phonemes are not kept.
- Pickles are unpacked by `lyrics_asr.datasets.dali_pickles`, which runs nothing that they name.
- NCC: the normalised cross-correlation, at most 1, of the annotations with the voice that was detected in the audio.
"""

import itertools
import json
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, TypeVar

from lyrics_asr.audio import AUDIO_SUFFIXES
from lyrics_asr.datasets.dali_pickles import MOST_BYTES, read_annotations, read_ground_truth
from lyrics_asr.datasets.manifest import LineTimes, Song
from lyrics_asr.types import TimedWord

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

NEGATIVE_TIME = "with a negative time"

_MOST_ENTRIES = 100_000  # of a level of one song: a pickle may hold one list a million times over
_MOST_CHARACTERS = 1000  # of a word or a note

# The names that DALI uses; v1 has these. ISO 639-1, or ISO 639-3 where that has no code.
_LANGUAGE_CODES = {
    "albanian": "sq", "azeri": "az", "cebuano": "ceb", "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl",
    "english": "en", "estonian": "et", "finnish": "fi", "french": "fr", "german": "de", "hausa": "ha",
    "hawaiian": "haw", "hungarian": "hu", "italian": "it", "latin": "la", "latvian": "lv", "norwegian": "no",
    "polish": "pl", "portuguese": "pt", "romanian": "ro", "slovak": "sk", "slovene": "sl", "spanish": "es",
    "swahili": "sw", "swedish": "sv", "tagalog": "tl", "turkish": "tr", "welsh": "cy",
}  # fmt: skip
_UNKNOWN_LANGUAGE = "und"  # ISO 639: undetermined

# "~" holds the last syllable in UltraStar's karaoke files, which DALI is made from; parse_lyrics would take a line
# in square brackets for a heading and drop a byte order mark.
_REWRITTEN = str.maketrans({"~": None, "\ufeff": None, "[": "(", "]": ")"})

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class SplitThresholds:
    """The least NCC of each split; a song below `train` is in none.

    Over all languages the defaults part the 5,358 songs of v1 into 4,768, 423 and 167, and its 4,018 English ones into
    3,600, 306 and 112. The songs whose timing was corrected by hand (the ground truth) have no split of their own: of
    the 105 of v1, NCC puts 93 into train, 10 into validation and 2 into test.
    """

    train: float = 0.80
    validation: float = 0.925
    test: float = 0.95

    def __post_init__(self) -> None:
        if not self.train <= self.validation <= self.test:
            raise ValueError(f"thresholds must not fall from train to validation to test: {self}")

    def split(self, ncc: float) -> Split | None:
        """The split of a song; None below all thresholds, and for the NCC nan of a song that was never aligned."""
        if ncc >= self.test:
            return "test"
        if ncc >= self.validation:
            return "validation"
        return "train" if ncc >= self.train else None


@dataclass(frozen=True)
class SongScore:
    """What decides on a song's split: its NCC, and its language as DALI names it ("english")."""

    id: str
    ncc: float
    language: str


def assign_splits(
    scores: Iterable[SongScore], *, language: str | None = "english", thresholds: SplitThresholds | None = None
) -> dict[str, Split]:
    """The split of each song by its id; songs in none are left out, and so are other languages unless it is None."""
    thresholds = thresholds or SplitThresholds()
    splits = {score.id: thresholds.split(score.ncc) for score in scores if language in (None, score.language)}
    return {song_id: split for song_id, split in splits.items() if split is not None}


def read_score(info: Any) -> SongScore:
    """The id, NCC and language of a song's `info`, as the annotations and DALI's metadata file have it.

    A song without NCC has nan, one without language "".

    Raises:
        ValueError: an NCC that is no number, no id, or an id that is not fit for the name of its audio.
    """
    song_id = _member(info, "id", str)
    if not song_id or song_id in (".", "..") or "\0" in song_id or PureWindowsPath(song_id).name != song_id:
        raise ValueError(f"the id {song_id!r:.80} is no plain file name, which audio could be found by")
    ncc, language = _part(info, "scores").get("NCC"), _part(info, "metadata").get("language")
    return SongScore(
        id=song_id,
        ncc=math.nan if ncc is None else _number(ncc, "NCC"),
        language=language if isinstance(language, str) else "",
    )


def read_dali(
    annotations: Path,
    audio: Path,
    *,
    split: Split | None = None,
    language: str | None = "english",
    ground_truth: Path | None = None,
    thresholds: SplitThresholds | None = None,
) -> tuple[Song, ...]:
    """Read the songs of a split and a language, in the order of their ids.

    Lyrics are a line a line, with a blank line between paragraphs, and hold the words of `Song.words` and no others.
    In words "~" is left out, "-" stands for spaces, and round brackets for square ones. Words with no text left, with
    a negative time or one that is not finite, or with an end before their start, and songs with no word left, are left
    out and logged. A line whose own time is of that kind has the time of its words. A song's language code is "und"
    where DALI has no name for its language, or one that is unknown here.

    Args:
        annotations: folder of the annotations.
        audio: folder of the audio; a song without audio names the mp3 that DALI's downloader would make.
        split: None for all songs, those in no split included.
        language: as DALI names it; None for all.
        ground_truth: DALI's file of corrected timings; the songs that it lists are timed anew by it.
        thresholds: of the splits; None for the defaults.

    Raises:
        FileNotFoundError: no annotations in the folder, or no such ground truth.
        ValueError: a file that is refused, damaged or not as the layout says, two files for a song, or a language that
            no song has; the message names it.
    """
    thresholds = thresholds or SplitThresholds()
    languages: set[str] = set()
    left_out: Counter[str] = Counter()
    songs: list[Song] = []
    for entry in iterate_dali(annotations, audio, ground_truth=ground_truth):
        languages.add(entry.score.language)
        if language not in (None, entry.score.language) or split not in (None, thresholds.split(entry.score.ncc)):
            continue
        song = entry.song(left_out)
        if song is None:
            _logger.warning("%s: the song was left out: it has no words", entry.path)
        else:
            songs.append(song)
    require_language(annotations, language, languages)
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        _logger.warning("%s: %d words were left out: %s", annotations, left_out.total(), reasons)
    return tuple(sorted(songs, key=lambda song: song.id))


def iterate_dali(annotations: Path, audio: Path, *, ground_truth: Path | None = None) -> Iterator["DaliEntry"]:
    """Read the annotations of a folder one after the other, in the order of their files' names.

    Args:
        annotations: folder of the annotations.
        audio: folder of the audio.
        ground_truth: DALI's file of corrected timings.

    Raises:
        FileNotFoundError: no annotations in the folder, or no such ground truth.
        ValueError: a file that is refused, damaged or not as the layout says, or two files for a song.
    """
    clocks = {} if ground_truth is None else _read_clocks(ground_truth)
    audio_files = _audio_files(audio)
    sources: dict[str, Path] = {}
    for path in _annotation_files(annotations):
        record = _read_record(path)
        if record is None:
            continue
        try:
            score = read_score(record.info)
            if score.id in sources:
                raise ValueError(f"a second file for the song of {sources[score.id]}; remove one of the two")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        sources[score.id] = path
        audio_path = audio_files.get(score.id, audio / f"{score.id}.mp3")
        yield DaliEntry(path, score, audio_path, record, clocks.get(score.id))
    if not sources:
        raise FileNotFoundError(
            f"{annotations}: no annotations of DALI in it; give the folder that holds the .gz files"
        )


def require_language(annotations: Path, language: str | None, languages: Collection[str]) -> None:
    """Make sure that there are songs in `language`, as DALI names it; None is any.

    Raises:
        ValueError: `languages`, those of the songs in the folder, do not have it.
    """
    if language is not None and language not in languages:
        raise ValueError(f"{annotations}: no song in {language!r}; its languages are {sorted(languages)}")


# ---- Songs ----


@dataclass(frozen=True)
class _Record:
    """A song as DALI keeps it."""

    info: dict[str, Any]
    annotations: dict[str, Any]


@dataclass(frozen=True)
class _Clock:
    """DALI's `annot_param`: when beat 0 of the karaoke file is, and how many beats a minute has (`fr`)."""

    offset_seconds: float
    beats_per_minute: float


@dataclass(frozen=True)
class DaliEntry:
    """A song's file of annotations: what decides on its split, and the song when it is asked for.

    Args:
        path: the file.
        score: its id, NCC and language.
        audio: the song's audio; the file need not exist.
    """

    path: Path
    score: SongScore
    audio: Path
    _record: _Record
    _corrected: _Clock | None

    def song(self, left_out: Counter[str]) -> Song | None:
        """The song as `read_dali` describes it, or None if it has no words.

        Args:
            left_out: the words that are left out are added here, by reason.

        Raises:
            ValueError: annotations that are not as the layout says; the message names the file.
        """
        try:
            return _build_song(self._record, self.score, self.audio, self._corrected, left_out)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


@dataclass(frozen=True)
class _Line:
    """A line as it is annotated, and those of its words that are kept."""

    paragraph: int
    start_seconds: float
    end_seconds: float
    words: list[TimedWord]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def timed(self) -> LineTimes:
        """The line with its own times, or, where these cannot be kept, with those of its words."""
        start, end = self.start_seconds, self.end_seconds
        if _fault(self.text, start, end):
            start = min(word.start_seconds for word in self.words)
            end = max(word.end_seconds for word in self.words)
        return LineTimes(self.text, start, end)


def _build_song(
    record: _Record, score: SongScore, audio: Path, corrected: _Clock | None, left_out: Counter[str]
) -> Song | None:
    """The song, or None if it has no words; the words left out are counted by reason."""
    annot = _horizontal(record.annotations)
    original = None if corrected is None else _read_clock(record.annotations.get("annot_param"))

    def times(entry: dict[str, Any]) -> tuple[float, float]:
        start, end = _times(entry)
        if original is None or corrected is None:
            return start, end
        return _change_time(start, original, corrected), _change_time(end, original, corrected)

    lines = [_Line(_above(line), *times(line), []) for line in _entries(annot.get("lines"), "lines")]
    for word in _entries(annot.get("words"), "words"):
        number = _above(word)
        if number >= len(lines):
            raise ValueError(f"a word belongs to line {number} of {len(lines)}, counted from 0")
        text = "-".join(_text(word).translate(_REWRITTEN).split())
        start, end = times(word)
        if reason := _fault(text, start, end):
            left_out[reason] += 1
        else:
            lines[number].words.append(TimedWord(text, start, end, 1.0))
    sung = [line for line in lines if line.words]
    if not sung:
        return None
    paragraphs = itertools.groupby(sung, key=lambda line: line.paragraph)
    return Song(
        id=score.id,
        audio=audio,
        lyrics="\n\n".join("\n".join(line.text for line in paragraph) for _, paragraph in paragraphs),
        words=tuple(word for line in sung for word in line.words),
        language=_LANGUAGE_CODES.get(score.language, _UNKNOWN_LANGUAGE),
        genre=_first_genre(record.info),
        lines=tuple(line.timed() for line in sung),
    )


def _fault(text: str, start_seconds: float, end_seconds: float) -> str | None:
    """Why a word cannot be kept."""
    if not text:
        return "without text"
    if not (math.isfinite(start_seconds) and math.isfinite(end_seconds)):
        return "with a time that is not finite"
    if start_seconds < 0:
        return NEGATIVE_TIME
    return "that end before they start" if end_seconds < start_seconds else None


def _change_time(seconds: float, original: _Clock, corrected: _Clock) -> float:
    """The time of the same beat by another clock.

    As `time2beat` and `beat2time` in DALI.utilities (package 1.0.0 and 1.1, the ones of DALI v1 and its ground truth):
    the beat is rounded to a whole one, halves to the even one. Later commits of DALI scale the times and move the
    first one to the new offset instead, which differs for songs that do not start on beat 0.
    """
    beat = (seconds - original.offset_seconds) * (original.beats_per_minute / 60)
    if not math.isfinite(beat):
        return beat
    return round(beat) / (corrected.beats_per_minute / 60) + corrected.offset_seconds


def _first_genre(info: dict[str, Any]) -> str | None:
    genres = _part(info, "metadata").get("genres")
    first = genres[0] if isinstance(genres, list) and genres else None
    return first if isinstance(first, str) and first else None


# ---- Annotations: levels, entries and their members ----


def _horizontal(annotations: dict[str, Any]) -> dict[str, Any]:
    """The levels as lists, whichever way the annotations are kept."""
    annot = _member(annotations, "annot", dict)
    kind = _member(annotations, "type", str)
    if kind == "horizontal":
        return annot
    if kind != "vertical":
        raise ValueError(f"annotations of the type {kind!r:.80}; only horizontal and vertical ones are known")
    lines = _below(_entries(annot.get("hierarchical"), "paragraphs"))
    words = _below(lines)
    notes = _below(words)
    for word in words:
        if isinstance(word["text"], list):
            word["text"] = ""
    for note in notes:
        words[note["index"]]["text"] += _text(note)
    return {"lines": lines, "words": words}


def _below(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the next lower level, `index` being the number of the one that holds them."""
    below = (
        {"text": child.get("text"), "time": child.get("time"), "index": index}
        for index, entry in enumerate(entries)
        if isinstance(entry.get("text"), list)
        for child in _entries(entry["text"], "entries")
    )
    found = list(itertools.islice(below, _MOST_ENTRIES + 1))
    if len(found) > _MOST_ENTRIES:
        raise ValueError(f"more than {_MOST_ENTRIES} entries on a level; that is no song")
    return found


def _entries(level: Any, name: str) -> Iterator[dict[str, Any]]:
    if not isinstance(level, list):
        raise ValueError(f"{name} must be a list, not {type(level).__name__}")
    for entry in level:
        if not isinstance(entry, dict):
            raise ValueError(f"{name} must hold dictionaries, not {type(entry).__name__}")
        yield entry


def _above(entry: dict[str, Any]) -> int:
    index = _member(entry, "index", int)
    if index < 0:
        raise ValueError("an index is negative")
    return index


def _text(entry: dict[str, Any]) -> str:
    text = _member(entry, "text", str)
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a text of {len(text)} characters; no word has more than {_MOST_CHARACTERS}")
    if any("\ud800" <= character <= "\udfff" for character in text):  # no file can hold it
        raise ValueError(f"the text {text!a:.80} has half a surrogate pair")
    return text


def _times(entry: dict[str, Any]) -> tuple[float, float]:
    time = entry.get("time")
    if not isinstance(time, list | tuple) or len(time) != 2:
        raise ValueError("time must be a start and an end in seconds")
    return _number(time[0], "time"), _number(time[1], "time")


def _read_clock(parameters: Any) -> _Clock:
    offset = _number(_member(parameters, "offset", object), "offset")
    beats_per_minute = _number(_member(parameters, "fr", object), "fr")
    if not (math.isfinite(offset) and 0 < beats_per_minute < math.inf):
        raise ValueError(f"the offset {offset} and the frame rate (fr) {beats_per_minute} give no time")
    return _Clock(offset, beats_per_minute)


def _member(record: Any, key: str, kind: type[_T]) -> _T:
    if not isinstance(record, dict) or key not in record:
        raise ValueError(f"{key} is missing")
    value = record[key]
    if not isinstance(value, kind):
        raise ValueError(f"{key} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def _part(info: dict[str, Any], key: str) -> dict[str, Any]:
    """A dictionary that a song may lack."""
    value = info.get(key)
    return value if isinstance(value, dict) else {}


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


# ---- Files ----


def _annotation_files(folder: Path) -> list[Path]:
    return [path for pattern in ("*.gz", "*.json", "*/dali.json") for path in sorted(folder.glob(pattern))]


def _audio_files(folder: Path) -> dict[str, Path]:
    """The audio of a folder by name without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in AUDIO_SUFFIXES:
            if path.stem in found:
                raise ValueError(
                    f"{path}: a second file for the song of {found[path.stem].name}; remove one of the two"
                )
            found[path.stem] = path
    return found


def _read_record(path: Path) -> _Record | None:
    """What a file holds; None for a JSON file of something else, such as DALI's metadata."""
    if path.suffix == ".gz":
        content = read_annotations(path)
    else:
        content = _read_json(path)
        if not isinstance(content, dict) or not {"info", "annotations"} <= content.keys():
            return None
    try:
        return _Record(_member(content, "info", dict), _member(content, "annotations", dict))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; download it again") from error


def _read_json(path: Path) -> Any:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: larger than {MOST_BYTES >> 20} MiB, far more than a song's annotations; not read")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}; export it again") from error


def _read_clocks(path: Path) -> dict[str, _Clock]:
    """The corrected clock of each song by its id."""
    clocks = {}
    for song_id, parameters in read_ground_truth(path).items():
        try:
            clocks[song_id] = _read_clock(parameters)
        except ValueError as error:
            raise ValueError(f"{path}: the song {song_id!r:.80}: {error}") from error
    return clocks
