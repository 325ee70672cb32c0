"""Manual remarks on DALI songs: corrupt parts, offsets, and songs to drop.

Layout: a CSV table with the delimiter ";" and the columns id, url, corrupt from, noisy, offset, non-english, as in
`dali_remarks.csv` of https://github.com/tikick/LyricsAlignment. The columns are interpreted as there:
- `corrupt from`: annotation time in seconds, before the offset; words that start at or after it are wrong. 0 means the
  whole song, 10000000000.0 means no word.
- `offset`: seconds to add to the annotation times; with 0.5, words are sung half a second later than annotated.
  `linear` means that the offset changes over the song, so that no constant corrects it.
- `noisy`, `non-english`: True or False.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lyrics_asr.corpora.dali_songs import NEGATIVE_TIME
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.corpora.parsing import read_csv, seconds_digits

_COLUMNS = ("id", "corrupt from", "noisy", "offset", "non-english")
_LINEAR = "linear"


@dataclass(frozen=True)
class Remark:
    """A remark on a song.

    Args:
        corrupt_from_seconds: annotation time from which the annotations are wrong.
        offset_seconds: added to annotation times; None if no constant corrects them.
        noisy: whether the audio is too noisy to use.
        foreign: whether the song is not in English.
    """

    corrupt_from_seconds: float
    offset_seconds: float | None
    noisy: bool
    foreign: bool

    @property
    def fault(self) -> str | None:
        """Why to drop the whole song; None to keep it."""
        if self.noisy:
            return "noisy (remarks)"
        if self.foreign:
            return "not in English (remarks)"
        if self.offset_seconds is None:
            return "with a changing offset (remarks)"
        return "corrupt from the start (remarks)" if self.corrupt_from_seconds <= 0 else None

    def correct(self, song: Song, left_out: Counter[str]) -> Song:
        """Apply the offset and drop words in the corrupt part; lyrics and lines are unchanged.

        Args:
            song: a song without `fault`.
            left_out: counter of dropped words by reason; updated.
        """
        assert self.offset_seconds is not None  # else `fault` is set
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
    """Read remarks, by song id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not in this layout, or two remarks on one song; the message has file and row.
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
        raise ValueError(f"corrupt from {row['corrupt from']} s or offset {row['offset']} s is not a valid time")
    return Remark(corrupt_from_seconds, offset_seconds, _flag(row, "noisy"), _flag(row, "non-english"))


def _flag(row: dict[str, str], column: str) -> bool:
    if row[column] not in ("True", "False"):
        raise ValueError(f"{column} must be True or False, not {row[column]!r:.80}")
    return row[column] == "True"
