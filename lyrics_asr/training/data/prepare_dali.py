"""DALI to training data: songs are checked, cut into chunks and written as Lhotse cuts with the times of their words.

The output folder holds
- train.jsonl.gz, validation.jsonl.gz, test.jsonl.gz: a `lhotse.CutSet` each. A cut is a window of the song's file, with
  one supervision: `text` has the words as they are annotated, `alignment["word"]` their times from the cut's start,
  `language` the ISO 639 code. Songs in mono are `MonoCut`s, others `MultiCut`s with all their channels.
- report.json: `CutReport`, with the reason for each song that was dropped.
- with Shar, shar/SPLIT/: the same cuts in random order with their sound (FLAC, 16 bit), for streaming.

Conventions
- Audio is not decoded, except for Shar, for the first frames of a file, which show whether windows of it are read by
  seeking, and for files of floating-point samples (see `finite_audio`). Windows are read during training: by Lhotse's
  own readers, or by ours in `lhotse_io.our_decoder`, which knows more formats. A file that the report calls slow is
  then decoded from its start for every window.
- A song is dropped if more than a tenth of its words are outside its audio: the annotation is of another recording or
  shifted. Smaller shifts are not detected, because the audio is not analysed.
- Of songs with the same lyrics (see `corpora.duplicates`), in whatever splits, the one with the highest NCC is kept, or
  the lower id if they are equal. Songs that are dropped for another reason are not considered.
- Every song is kept or dropped for one reason; every word of the songs that are not dropped as a whole is in a chunk or
  dropped for one reason.
"""

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lyrics_asr.audio import AudioError, read_header, reads_windows_by_seeking
from lyrics_asr.corpora.dali import DaliEntry, iterate_dali, require_language
from lyrics_asr.corpora.dali_remarks import Remark, read_remarks
from lyrics_asr.corpora.dali_songs import NEGATIVE_TIME
from lyrics_asr.corpora.dali_splits import SPLITS, Split, SplitThresholds
from lyrics_asr.corpora.duplicates import find_duplicates
from lyrics_asr.files import require_writable_folder, write_text
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.training.data.finite_audio import drop_nonfinite
from lyrics_asr.training.data.lhotse_io import make_recording, render_cut, write_cuts, write_shar
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.segmentation import PAST_THE_END, chunk_song

_MOST_OUTSIDE_SHARE = 0.1
_UNREADABLE = "with audio that cannot be read"
_UNREADABLE_ANNOTATIONS = "with annotations that cannot be read"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CutOptions:
    """Which songs of DALI are cut, and how.

    Args:
        language: as DALI names it; None for all.
        thresholds: the NCC of the splits.
        chunks: how songs are cut.
    """

    language: str | None = "english"
    thresholds: SplitThresholds = field(default_factory=SplitThresholds)
    chunks: ChunkOptions = field(default_factory=ChunkOptions)


@dataclass(frozen=True)
class SplitSize:
    """How much a split holds; seconds are those of its chunks."""

    songs: int
    chunks: int
    words: int
    seconds: float


@dataclass(frozen=True)
class CutReport:
    """What became of a corpus.

    Args:
        options: as the songs were cut.
        splits: what is in them.
        songs: how many there were.
        dropped_songs: the reason for each song that was dropped, by its id, or by the name of its file if that is
            unreadable.
        duplicates: the songs that were dropped as duplicates, and the song that was kept instead.
        words: how many the songs have that were not dropped as a whole.
        dropped_words: how many of these are in no chunk, by reason.
        crowded_chunks: how many chunks were dropped as they have more tokens than CTC can place in their frames.
        nonfinite_chunks: how many chunks were dropped as they have NaN or infinite samples, see `finite_audio`.
        slow_files: paths of the kept songs' audio that cannot be read window by window without decoding it from the
            start (see `lyrics_asr.audio`); converted to FLAC or Opus, they are read many times faster.
    """

    options: CutOptions
    splits: Mapping[Split, SplitSize]
    songs: int
    dropped_songs: Mapping[str, str]
    duplicates: Mapping[str, str]
    words: int
    dropped_words: Mapping[str, int]
    crowded_chunks: int
    nonfinite_chunks: int = 0
    slow_files: tuple[str, ...] = ()


def cut_dali(
    annotations: Path,
    audio: Path,
    output: Path,
    *,
    options: CutOptions | None = None,
    ground_truth: Path | None = None,
    remarks: Path | None = None,
    shar: bool = False,
) -> CutReport:
    """Write the cuts of DALI's songs, and the report, to a folder.

    Args:
        annotations: folder of the annotations.
        audio: folder of the audio, named by DALI's ids.
        output: folder of the results; older ones are replaced, but for Shar.
        options: None for the defaults.
        ground_truth: DALI's file of corrected timings; remarks are applied to the corrected times.
        remarks: a reviewer's table, see `dali_remarks`.
        shar: also write the cuts with their sound.

    Raises:
        FileNotFoundError: no annotations in the folder, or a file that was named is missing.
        ValueError: ground truth or remarks that are refused, damaged or not as their layout says, no song in the
            language, or older Shar in the output folder; the message names it.
        OutputError: the output cannot be written.
    """
    options = options or CutOptions()
    require_writable_folder(output)
    if shar and (output / "shar").exists():
        raise ValueError(f"{output / 'shar'}: holds older shards; remove them or choose another folder")
    remarked = {} if remarks is None else read_remarks(remarks)
    dropped: dict[str, str] = {}
    prepared: list[_Prepared] = []
    languages: set[str] = set()
    songs = 0

    def drop_unreadable(path: Path, error: Exception) -> None:
        nonlocal songs
        songs += 1
        _logger.warning("%s", error)
        dropped[str(path.relative_to(annotations))] = _UNREADABLE_ANNOTATIONS

    for entry in iterate_dali(annotations, audio, ground_truth=ground_truth, on_unreadable=drop_unreadable):
        songs += 1
        languages.add(entry.score.language)
        found = _prepare(entry, options, remarked.get(entry.score.id))
        if isinstance(found, str):
            dropped[entry.score.id] = found
        else:
            prepared.append(found)
    if not languages:
        raise ValueError(f"{annotations}: no annotations in it can be read; the warnings name the files")
    require_language(annotations, options.language, languages)
    prepared.sort(key=lambda each: (-each.ncc, each.id))
    duplicates = {
        prepared[copy].id: prepared[original].id
        for copy, original in find_duplicates([each.normalized for each in prepared]).items()
    }
    dropped |= dict.fromkeys(duplicates, "with the lyrics of another song")
    kept = sorted((each for each in prepared if each.id not in duplicates), key=lambda each: each.id)
    sizes = {split: _write_split(output, split, [each for each in kept if each.split == split]) for split in SPLITS}
    report = CutReport(
        options,
        sizes,
        songs,
        dict(sorted(dropped.items())),
        duplicates,
        sum(each.words for each in kept),
        dict(sum((each.left_out for each in kept), Counter()).most_common()),
        sum(each.crowded_chunks for each in kept),
        sum(each.nonfinite_chunks for each in kept),
        tuple(each.slow_file for each in kept if each.slow_file is not None),
    )
    write_text(output / "report.json", json.dumps(asdict(report), indent=1) + "\n")
    if shar:
        files: dict[str, Path] = {split: output / f"{split}.jsonl.gz" for split in SPLITS if sizes[split].chunks}
        write_shar(files, output / "shar")
    return report


# ---- One song ----


@dataclass(frozen=True)
class _Prepared:
    """A song that is cut, with what the report and the choice between duplicates need.

    Args:
        id: of the song.
        split: where it belongs.
        ncc: of its annotation.
        normalized: its lyrics, those of dropped words included.
        cuts: a line of JSON each. Objects would take several times the memory over all songs.
        size: how much the cuts hold.
        words: how many there are, dropped ones included.
        left_out: the dropped ones by reason.
        crowded_chunks: see `ChunkedSong`.
        nonfinite_chunks: see `ChunkedSong`.
        slow_file: the path of its audio if windows of it are not read by seeking.
    """

    id: str
    split: Split
    ncc: float
    normalized: str
    cuts: tuple[str, ...]
    size: SplitSize
    words: int
    left_out: Counter[str]
    crowded_chunks: int
    nonfinite_chunks: int
    slow_file: str | None


def _prepare(entry: DaliEntry, options: CutOptions, remark: Remark | None) -> _Prepared | str:
    """The song in chunks, or why it is dropped."""
    if options.language not in (None, entry.score.language):
        return "in another language"
    split = options.thresholds.split(entry.score.ncc)
    if split is None:
        return "with an NCC below all splits"
    if remark is not None and remark.fault:
        return remark.fault
    left_out: Counter[str] = Counter()
    try:
        annotated = entry.song(left_out)
    except ValueError as error:
        _logger.warning("%s", error)
        return _UNREADABLE_ANNOTATIONS
    if annotated is None:
        return "without words"
    if not entry.audio.is_file():
        return "without audio"
    try:
        header = read_header(entry.audio)
        seeks = reads_windows_by_seeking(entry.audio)
    except AudioError as error:
        _logger.warning("%s", error)
        return _UNREADABLE
    song = annotated if remark is None else remark.correct(annotated, left_out)
    chunked = chunk_song(song.words, header.duration_seconds, language=song.language, options=options.chunks)
    try:
        chunked = drop_nonfinite(song.id, chunked, [song.audio])
    except AudioError as error:
        _logger.warning("%s", error)
        return _UNREADABLE
    words = len(song.words) + left_out.total()
    left_out += chunked.left_out
    if left_out[NEGATIVE_TIME] + left_out[PAST_THE_END] > _MOST_OUTSIDE_SHARE * words:
        return "whose words lie outside the audio"
    if not chunked.chunks:
        return "with NaN or infinite samples in all chunks" if chunked.nonfinite_chunks else "without a chunk"
    recording = make_recording(song.id, song.audio, header)
    return _Prepared(
        song.id,
        split,
        entry.score.ncc,
        normalize(annotated.lyrics, annotated.language),
        tuple(render_cut(song, recording, number, chunk) for number, chunk in enumerate(chunked.chunks)),
        SplitSize(
            songs=1,
            chunks=len(chunked.chunks),
            words=sum(len(chunk.words) for chunk in chunked.chunks),
            seconds=sum(chunk.end_seconds - chunk.start_seconds for chunk in chunked.chunks),
        ),
        words,
        left_out,
        chunked.crowded_chunks,
        chunked.nonfinite_chunks,
        None if seeks else os.fsencode(entry.audio).decode("utf-8", "replace"),
    )


def _write_split(output: Path, split: Split, songs: Sequence[_Prepared]) -> SplitSize:
    write_cuts(output / f"{split}.jsonl.gz", (line for song in songs for line in song.cuts))
    return SplitSize(
        len(songs),
        sum(song.size.chunks for song in songs),
        sum(song.size.words for song in songs),
        math.fsum(song.size.seconds for song in songs),
    )
