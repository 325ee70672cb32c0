"""Reader for DALI (Meseguer-Brocal et al., ISMIR 2018, TISMIR 2020); its files are treated as untrusted.

Layout
- Annotations: ID.gz, a gzipped pickle of `DALI.Annotations.Annotations`; or its JSON export, NAME.json or, in synthetic
  corpora, NAME/dali.json.
- Audio: the DALI id plus the suffix of any audio format; files may be missing.

Conventions
- Annotations are horizontal (one list per level; `index` is the number of the parent in the level above) or vertical
  (paragraphs contain lines, which contain words, which contain notes). Notes and phonemes are dropped.
- Pickles are read by `corpora.dali_pickles`, which never runs code that they name.
- NCC is the normalized cross-correlation, at most 1, between the annotations and the singing voice detected in the
  audio.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from lyrics_asr.corpora.dali_schema import (
    Clock,
    Record,
    annotation_files,
    audio_files_by_id,
    member,
    optional_part,
    read_clocks,
    read_number,
    read_record,
)
from lyrics_asr.corpora.dali_songs import build_song
from lyrics_asr.corpora.dali_splits import SongScore, Split, SplitThresholds
from lyrics_asr.corpora.manifest import Song

_logger = logging.getLogger(__name__)


def read_score(info: Any) -> SongScore:
    """Read id, NCC and language from a song's `info`, in the annotations or in DALI's metadata file.

    A missing NCC is NaN, and a missing language is "".

    Raises:
        ValueError: the NCC is not a number, or the id is missing or not a valid file name for the audio.
    """
    song_id = member(info, "id", str)
    if not song_id or song_id in (".", "..") or "\0" in song_id or PureWindowsPath(song_id).name != song_id:
        raise ValueError(f"the id {song_id!r:.80} is not a plain file name, so its audio cannot be found")
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
    """Read the songs of a split and a language, sorted by id.

    Lyrics have one line per annotated line and a blank line between paragraphs; their words are those of `Song.words`.
    In words, "~" is removed, spaces become "-", and square brackets become parentheses. Words without text, with a
    negative or infinite time, or that end before they start are dropped and logged, and so are songs without words. A
    line with such a time takes the times of its words. The language code is "und" if DALI gives no language or an
    unknown one.

    Args:
        annotations: folder of the annotations.
        audio: folder of the audio; missing audio is listed as the mp3 that DALI's downloader would write.
        split: None for all songs, including those in no split.
        language: DALI's name; None for all.
        ground_truth: DALI's file of corrected timings, which replace the times of the songs in it.
        thresholds: of the splits; None for the defaults.

    Raises:
        FileNotFoundError: the folder has no annotations, or the ground truth does not exist.
        ValueError: a file is refused, damaged or not in the layout, a song has two files, or no song has the language;
            the message names the file.
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
            _logger.warning("%s: the song was dropped: it has no words", entry.path)
        else:
            songs.append(song)
    require_language(annotations, language, languages)
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        _logger.warning("%s: %d words were dropped: %s", annotations, left_out.total(), reasons)
    return tuple(sorted(songs, key=lambda song: song.id))


def iterate_dali(
    annotations: Path,
    audio: Path,
    *,
    ground_truth: Path | None = None,
    on_unreadable: Callable[[Path, Exception], None] | None = None,
) -> Iterator["DaliEntry"]:
    """Read the annotations of a folder one by one, sorted by file name.

    Args:
        annotations: folder of the annotations.
        audio: folder of the audio.
        ground_truth: DALI's file of corrected timings.
        on_unreadable: called with a file that cannot be used and the reason, instead of raising it.

    Raises:
        FileNotFoundError: the folder has no annotations, or the ground truth does not exist.
        ValueError: a file is refused, damaged or not in the layout, or a song has two files.
        OSError: a file cannot be read.
    """
    clocks = {} if ground_truth is None else read_clocks(ground_truth)
    audio_files = audio_files_by_id(audio)
    sources: dict[str, Path] = {}
    unreadable = False
    for path in annotation_files(annotations):
        try:
            record = read_record(path)
            if record is None:
                continue
            score = _score_of_file(path, record, sources)
        except (ValueError, OSError) as error:
            if on_unreadable is None:
                raise
            on_unreadable(path, error)
            unreadable = True
            continue
        sources[score.id] = path
        audio_path = audio_files.get(score.id, audio / f"{score.id}.mp3")
        yield DaliEntry(path, score, audio_path, record, clocks.get(score.id))
    if not sources and not unreadable:
        raise FileNotFoundError(
            f"{annotations}: no DALI annotations in this folder; give the folder with the .gz files"
        )


def _score_of_file(path: Path, record: Record, sources: Mapping[str, Path]) -> SongScore:
    try:
        score = read_score(record.info)
        if score.id in sources:
            raise ValueError(f"a second file for the song of {sources[score.id]}; remove one of the two")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return score


def require_language(annotations: Path, language: str | None, languages: Collection[str]) -> None:
    """Check that a language, by DALI's name, is one of the songs' `languages`; None is always valid.

    Raises:
        ValueError: no song has the language.
    """
    if language is not None and language not in languages:
        raise ValueError(f"{annotations}: no song in {language!r}; its languages are {sorted(languages)}")


@dataclass(frozen=True)
class DaliEntry:
    """An annotation file: the song's score, and the song itself, built on demand.

    Args:
        path: of the annotations.
        score: id, NCC and language.
        audio: of the song; the file may not exist.
    """

    path: Path
    score: SongScore
    audio: Path
    _record: Record
    _corrected: Clock | None

    def song(self, left_out: Counter[str]) -> Song | None:
        """Build the song as described in `read_dali`; None if it has no words.

        Args:
            left_out: counter of dropped words by reason; updated.

        Raises:
            ValueError: the annotations are not in the layout; the message names the file.
        """
        try:
            return build_song(self._record, self.score, self.audio, self._corrected, left_out)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
