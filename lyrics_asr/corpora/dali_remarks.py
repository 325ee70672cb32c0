"""A reviewer's remarks on songs of DALI: where annotations go wrong, by how much they are off, what to leave out.

Layout: a table with ";" between its cells and the columns id, url, corrupt from, noisy, offset, non-english, as
`dali_remarks.csv` of https://github.com/tikick/LyricsAlignment, whose reading of them is followed here:
- `corrupt from` is a time of the annotations in seconds, before any offset: words that start there or later are wrong.
  0 is the whole song, 10000000000.0 nowhere.
- `offset` is in seconds and is added to the times of the annotations: with 0.5 the words are sung half a second later
  than they say. `linear` is an offset that grows through the song, which no constant corrects.
- `noisy` and `non-english` are True or False.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.corpora.dali import NEGATIVE_TIME
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.corpora.parsing import read_csv, seconds_digits

_COLUMNS = ("id", "corrupt from", "noisy", "offset", "non-english")
_LINEAR = "linear"


@dataclass(frozen=True)
class Remark:
    """What a reviewer says of a song.

    Args:
        corrupt_from_seconds: time of the annotations from which they are wrong.
        offset_seconds: what to add to the times; None where no constant corrects them.
        noisy: the audio is too bad to be used.
        foreign: the song is not in English.
    """

    corrupt_from_seconds: float
    offset_seconds: float | None
    noisy: bool
    foreign: bool

    @property
    def fault(self) -> str | None:
        """Why the whole song is to be dropped."""
        if self.noisy:
            return "noisy (remarks)"
        if self.foreign:
            return "not in English (remarks)"
        if self.offset_seconds is None:
            return "with an offset that grows (remarks)"
        return "corrupt from the start (remarks)" if self.corrupt_from_seconds <= 0 else None

    def correct(self, song: Song, left_out: Counter[str]) -> Song:
        """The song without its corrupt end and with the offset applied.

        Its lyrics and lines stay as they were.

        Args:
            song: a song that has no `fault`.
            left_out: the words that are left out are added here, by reason.
        """
        assert self.offset_seconds is not None  # that is a fault
        words = []
        for word in song.words:
            start = word.start_seconds + self.offset_seconds
            if word.start_seconds >= self.corrupt_from_seconds:
                left_out["in a corrupt part (remarks)"] += 1
            elif start < 0:
                left_out[NEGATIVE_TIME] += 1
            else:
                words.append(replace(word, start_seconds=start, end_seconds=word.end_seconds + self.offset_seconds))
        return replace(song, words=tuple(words))


def read_remarks(path: Path) -> Mapping[str, Remark]:
    """Read the remarks on each song by its id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a table of this layout, or two remarks on a song; the message names file and row.
    """
    try:
        rows = read_csv(path, _COLUMNS, delimiter=";")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such remarks; give a table like DALI's dali_remarks.csv") from error
    remarks: dict[str, Remark] = {}
    for number, row in enumerate(rows, start=1):
        try:
            if row["id"] in remarks:
                raise ValueError(f"a second remark on the song {row['id']!r:.80}; keep one of them")
            remarks[row["id"]] = _parse_remark(row)
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return remarks


def _parse_remark(row: dict[str, str]) -> Remark:
    corrupt_from_seconds = seconds_digits(row, "corrupt from")
    offset_seconds = None if row["offset"] == _LINEAR else seconds_digits(row, "offset")
    if math.isnan(corrupt_from_seconds) or not math.isfinite(offset_seconds or 0):
        raise ValueError(f"corrupt from {row['corrupt from']} s and offset {row['offset']} s are no times")
    return Remark(corrupt_from_seconds, offset_seconds, _flag(row, "noisy"), _flag(row, "non-english"))


def _flag(row: dict[str, str], column: str) -> bool:
    if row[column] not in ("True", "False"):
        raise ValueError(f"{column} must be True or False, not {row[column]!r:.80}")
    return row[column] == "True"
