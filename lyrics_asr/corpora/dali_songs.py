"""A song from DALI's annotations: its lines and words, with corrected times."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lyrics_asr.corpora.dali_schema import (
    Clock,
    Record,
    horizontal,
    list_entries,
    optional_part,
    read_clock,
    read_entry_text,
    read_index,
    read_times,
)
from lyrics_asr.corpora.dali_splits import SongScore
from lyrics_asr.corpora.manifest import LineTimes, Song
from lyrics_asr.types import TimedWord

NEGATIVE_TIME = "with a negative time"

# DALI's names of the languages in v1. The codes are ISO 639-1, or ISO 639-3 for languages without one.
_LANGUAGE_CODES = {
    "albanian": "sq", "azeri": "az", "cebuano": "ceb", "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl",
    "english": "en", "estonian": "et", "finnish": "fi", "french": "fr", "german": "de", "hausa": "ha",
    "hawaiian": "haw", "hungarian": "hu", "italian": "it", "latin": "la", "latvian": "lv", "norwegian": "no",
    "polish": "pl", "portuguese": "pt", "romanian": "ro", "slovak": "sk", "slovene": "sl", "spanish": "es",
    "swahili": "sw", "swedish": "sv", "tagalog": "tl", "turkish": "tr", "welsh": "cy",
}  # fmt: skip
_UNKNOWN_LANGUAGE = "und"  # ISO 639: undetermined

# "~" extends the last syllable in UltraStar's karaoke files, which DALI is built from. parse_lyrics would read a line
# in square brackets as a heading, and drop a byte order mark.
_REWRITTEN = str.maketrans({"~": None, "\ufeff": None, "[": "(", "]": ")"})


def build_song(
    record: Record, score: SongScore, audio: Path, corrected: Clock | None, left_out: Counter[str]
) -> Song | None:
    """Build a song as described in `dali.read_dali`; None if it has no words.

    Args:
        record: the annotations.
        score: id and language of the song.
        audio: its audio file.
        corrected: clock of the ground truth, which replaces that of the annotations.
        left_out: counter of dropped words by reason; updated.

    Raises:
        ValueError: the annotations are not in the layout.
    """
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


@dataclass(frozen=True)
class _Line:
    """An annotated line and its words, without dropped words."""

    paragraph: int
    start_seconds: float
    end_seconds: float
    words: list[TimedWord]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def timed(self) -> LineTimes:
        """The line with its own times, or with those of its words if its own are invalid."""
        start, end = self.start_seconds, self.end_seconds
        if _fault(self.text, start, end):
            start = min(word.start_seconds for word in self.words)
            end = max(word.end_seconds for word in self.words)
        return LineTimes(self.text, start, end)


def _fault(text: str, start_seconds: float, end_seconds: float) -> str | None:
    """Why a word is dropped; None if it is valid."""
    if not text:
        return "without text"
    if not (math.isfinite(start_seconds) and math.isfinite(end_seconds)):
        return "with a time that is not finite"
    if start_seconds < 0:
        return NEGATIVE_TIME
    return "that end before they start" if end_seconds < start_seconds else None


def _change_time(seconds: float, original: Clock, corrected: Clock) -> float:
    """Convert a time from one clock to another, by beats.

    As in `time2beat` and `beat2time` of DALI.utilities (packages 1.0.0 and 1.1, for DALI v1 and its ground truth), the
    beat is rounded to an integer, half to even. Later commits of DALI scale the times and shift them to the new offset
    instead, which gives other times for songs that do not start on beat 0.
    """
    beat = (seconds - original.offset_seconds) * (original.beats_per_minute / 60)
    if not math.isfinite(beat):
        return beat
    return round(beat) / (corrected.beats_per_minute / 60) + corrected.offset_seconds


def _first_genre(info: dict[str, Any]) -> str | None:
    genres = optional_part(info, "metadata").get("genres")
    first = genres[0] if isinstance(genres, list) and genres else None
    return first if isinstance(first, str) and first else None
