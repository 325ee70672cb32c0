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
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from lyrics_asr.corpora.dali_schema import (
    Clock,
    Record,
    annotation_files,
    audio_files_by_id,
    horizontal,
    list_entries,
    member,
    optional_part,
    read_clock,
    read_clocks,
    read_entry_text,
    read_index,
    read_number,
    read_record,
    read_times,
)
from lyrics_asr.corpora.manifest import LineTimes, Song
from lyrics_asr.types import TimedWord

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

NEGATIVE_TIME = "with a negative time"

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
    song_id = member(info, "id", str)
    if not song_id or song_id in (".", "..") or "\0" in song_id or PureWindowsPath(song_id).name != song_id:
        raise ValueError(f"the id {song_id!r:.80} is no plain file name, which audio could be found by")
    ncc, language = optional_part(info, "scores").get("NCC"), optional_part(info, "metadata").get("language")
    return SongScore(
        id=song_id,
        ncc=math.nan if ncc is None else read_number(ncc, "NCC"),
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
    clocks = {} if ground_truth is None else read_clocks(ground_truth)
    audio_files = audio_files_by_id(audio)
    sources: dict[str, Path] = {}
    for path in annotation_files(annotations):
        record = read_record(path)
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
    _record: Record
    _corrected: Clock | None

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
    record: Record, score: SongScore, audio: Path, corrected: Clock | None, left_out: Counter[str]
) -> Song | None:
    """The song, or None if it has no words; the words left out are counted by reason."""
    annot = horizontal(record.annotations)
    original = None if corrected is None else read_clock(record.annotations.get("annot_param"))

    def times(entry: dict[str, Any]) -> tuple[float, float]:
        start, end = read_times(entry)
        if original is None or corrected is None:
            return start, end
        return _change_time(start, original, corrected), _change_time(end, original, corrected)

    lines = [_Line(read_index(line), *times(line), []) for line in list_entries(annot.get("lines"), "lines")]
    for word in list_entries(annot.get("words"), "words"):
        number = read_index(word)
        if number >= len(lines):
            raise ValueError(f"a word belongs to line {number} of {len(lines)}, counted from 0")
        text = "-".join(read_entry_text(word).translate(_REWRITTEN).split())
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


def _change_time(seconds: float, original: Clock, corrected: Clock) -> float:
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
    genres = optional_part(info, "metadata").get("genres")
    first = genres[0] if isinstance(genres, list) and genres else None
    return first if isinstance(first, str) and first else None
