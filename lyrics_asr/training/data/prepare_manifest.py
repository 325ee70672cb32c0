"""Songs of a manifest to training data: cut into chunks and written as Lhotse cuts.

The output folder holds
- report.json: `SongCutReport`.
- cuts.jsonl.gz: a `lhotse.CutSet`, as `prepare_dali` writes them, written last. Cuts of songs with both stems have them
  as custom recordings, "vocals" and "accompaniment", whose sum is the song: `cut.load_vocals()` reads their window.
  Where the F0 is known, the custom field "f0" names its file, see `corpora.manifest.Song`.
  Where the phones are known, they are a second alignment of the supervision: "phone", beside "word". Pauses are cuts
  without a supervision; `CutLoaderOptions.silence_prob` says how many of them are used.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lyrics_asr.audio import AudioError, AudioHeader, read_header
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.files import require_writable_folder, write_text
from lyrics_asr.training.data.cut_reader import F0, STEMS
from lyrics_asr.training.data.finite_audio import drop_nonfinite, finite_chunks
from lyrics_asr.training.data.lhotse_io import make_recording, render_cut, write_cuts
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.segmentation import chunk_song, silent_chunks

CUTS_FILE = "cuts.jsonl.gz"

_TOLERANCE_SECONDS = 0.1  # between the lengths of a song and its stems: encoders pad to whole packets

_UNREADABLE = "with audio that cannot be read"
_NONFINITE = "with NaN or infinite samples in all chunks"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SongCutReport:
    """What became of the songs of a manifest.

    Args:
        options: as the songs were cut.
        songs: how many there were.
        songs_with_stems: how many were cut with their stems.
        dropped_songs: the reason for each song that was dropped, by its id.
        chunks: how many there are with words.
        silent_chunks: how many there are without.
        words: how many the songs have that were not dropped as a whole.
        dropped_words: how many of these are in no chunk, by reason.
        crowded_chunks: how many chunks were dropped as they have more tokens than CTC can place in their frames.
        nonfinite_chunks: how many chunks were dropped as they have NaN or infinite samples, see `finite_audio`.
        seconds: of all chunks with words.
    """

    options: ChunkOptions
    songs: int
    songs_with_stems: int
    dropped_songs: Mapping[str, str]
    chunks: int
    silent_chunks: int
    words: int
    dropped_words: Mapping[str, int]
    crowded_chunks: int
    nonfinite_chunks: int
    seconds: float


def cut_songs(manifest: Path, output: Path, options: ChunkOptions | None = None) -> SongCutReport:
    """Write the cuts of a manifest's songs, and the report, to a folder; older ones are replaced.

    Args:
        manifest: see `manifest`.
        output: folder of the results.
        options: None for the defaults.

    Raises:
        FileNotFoundError: no such manifest.
        ValueError: not a manifest.
        OutputError: the output cannot be written.
    """
    options = options or ChunkOptions()
    songs = read_manifest(manifest)
    require_writable_folder(output)
    dropped: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    lines: list[str] = []
    words = crowded = nonfinite = with_stems = chunks = 0
    seconds = 0.0
    for song in songs:
        recordings = _recordings(song)
        if isinstance(recordings, str):
            dropped[song.id] = recordings
            continue
        recording, stems = recordings
        paths = [song.audio] if song.vocals is None or song.accompaniment is None else [song.vocals, song.accompaniment]
        custom = stems if song.f0 is None else {**stems, F0: str(song.f0.absolute())}
        chunked = chunk_song(song.words, recording["duration"], language=song.language, options=options)
        try:
            chunked = drop_nonfinite(song.id, chunked, paths)
            silent = finite_chunks(song.id, silent_chunks(song.words, recording["duration"], options), paths)
        except AudioError as error:
            _logger.warning("%s", error)
            dropped[song.id] = _UNREADABLE
            continue
        if not chunked.chunks:
            dropped[song.id] = _NONFINITE if chunked.nonfinite_chunks else "without a chunk"
            continue
        lines += [
            render_cut(song, recording, number, chunk, custom) for number, chunk in enumerate(chunked.chunks + silent)
        ]
        chunks += len(chunked.chunks)
        with_stems += bool(stems)
        words += len(song.words)
        left_out += chunked.left_out
        crowded += chunked.crowded_chunks
        nonfinite += chunked.nonfinite_chunks
        seconds += sum(chunk.end_seconds - chunk.start_seconds for chunk in chunked.chunks)
    report = SongCutReport(
        options,
        len(songs),
        with_stems,
        dropped,
        chunks,
        len(lines) - chunks,
        words,
        dict(left_out.most_common()),
        crowded,
        nonfinite,
        seconds,
    )
    write_text(output / "report.json", json.dumps(asdict(report), indent=1) + "\n")
    write_cuts(output / CUTS_FILE, lines)
    return report


def _recordings(song: Song) -> tuple[dict[str, Any], dict[str, dict[str, Any]]] | str:
    """The recordings of a song and its stems, none where it lacks one of them; or why the song is dropped."""
    if not song.words:
        return "without times of words"
    paths = [song.audio] + [path for path in (song.vocals, song.accompaniment) if path is not None]
    try:
        headers = [read_header(path) for path in paths]
    except (AudioError, FileNotFoundError) as error:
        _logger.warning("%s", error)
        return _UNREADABLE
    recording = make_recording(song.id, song.audio, headers[0])
    if len(paths) < 1 + len(STEMS):
        return recording, {}
    if _differ(headers):
        return "with stems of another length"
    return recording, {
        name: make_recording(f"{song.id}-{name}", path, header)
        for name, path, header in zip(STEMS, paths[1:], headers[1:], strict=True)
    }


def _differ(headers: Sequence[AudioHeader]) -> bool:
    lengths = [header.duration_seconds for header in headers]
    return max(lengths) - min(lengths) > _TOLERANCE_SECONDS
