"""The prediction of a model for each song, as a run of `EvaluateTask` or another system wrote it to files.

Conventions
- A prediction is kept in three files under the output folder: transcripts/ID.json and alignments/ID.json, as
  `lyrics-asr transcribe` and `align` write them, and songs/ID.json with the rest. It counts as done while the audio,
  the stem, the lyrics, the model and all options are the same (see `inference.run`).
- Stage times are wall-clock seconds. For emissions from the cache, they are the time to read them.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lyrics_asr.audio import probe
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.evaluation.bss_eval import BssEval
from lyrics_asr.formats import parse_json
from lyrics_asr.inference.jobs import Job
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import Candidate, ModelInfo, SegmentText, SongText, TimedLine, Transcript

SCHEMA = "lyrics-asr/evaluated-song/2"


@dataclass(frozen=True)
class SeparationScores:
    """Scores of the separated vocals against the vocal stem and, as the baseline, of the mixture.

    Args:
        mixture_si_sdr_db: SI-SDR of the mixture; None for a cappella songs, whose mixture equals the stem.
        vocals_si_sdr_db: SI-SDR of the separated vocals; None for a cappella songs.
        mixture: BSS Eval of the mixture; None if not requested or undefined.
        vocals: BSS Eval of the separated vocals; None if not requested or undefined.
    """

    mixture_si_sdr_db: float | None
    vocals_si_sdr_db: float | None
    mixture: BssEval | None
    vocals: BssEval | None


@dataclass(frozen=True)
class StageSeconds:
    """Wall-clock seconds of each stage."""

    reading: float
    separation: float
    acoustic: float
    transcriber: float
    greedy: float
    beam_search: float
    alignment: float


@dataclass(frozen=True)
class Prediction:
    """The prediction for a song; fields that are unknown are None.

    Args:
        duration_seconds: duration of the song.
        text: transcript with line breaks.
        greedy: words of greedy decoding.
        lines: lyrics with estimated times.
        separation: separation scores, if the song has a vocal stem.
        seconds: time of each stage.
        model: the model that made the prediction.
        decoding: options of the beam search.
        confidence: probability that the lyrics belong to the song.
    """

    duration_seconds: float | None
    text: str | None
    greedy: str | None = None
    lines: tuple[TimedLine, ...] | None = None
    separation: SeparationScores | None = None
    seconds: StageSeconds | None = None
    model: ModelInfo | None = None
    decoding: DecodingOptions | None = None
    confidence: float | None = None


def job_of(song: ReferenceSong) -> Job:
    """The job of a song, whose result is its record in songs/ID.json.

    Raises:
        ValueError: an id that cannot name a file.
    """
    return Job(song.audio, song_file(Path("songs"), song.id, ""), lyrics_text=song.lyrics)


def read_prediction(song: ReferenceSong, transcripts: Path | None, alignments: Path | None) -> Prediction:
    """Read the prediction for a song from files of any system.

    Args:
        song: its id names the files.
        transcripts: folder with ID.json, as `lyrics-asr transcribe` writes it, or ID.txt.
        alignments: folder with ID.json, as `lyrics-asr align` writes it, for the same lyrics.

    Raises:
        FileNotFoundError: no file for this song.
        ValueError: a file has the wrong format.
    """
    duration_seconds = text = lines = None
    if transcripts is not None:
        path = next(
            (path for suffix in (".json", ".txt") if (path := song_file(transcripts, song.id, suffix)).is_file()), None
        )
        if path is None:
            raise FileNotFoundError(f"{song_file(transcripts, song.id)}: no transcript of this song, nor a .txt")
        if path.suffix == ".json":
            transcript = _read_transcript(path)
            duration_seconds, text = transcript.audio.duration_seconds, transcript.text
        else:
            text = _read(path)
    if alignments is not None:
        alignment = _read_transcript(song_file(alignments, song.id))
        duration_seconds, lines = alignment.audio.duration_seconds, alignment.lines
    if duration_seconds is None and song.audio.is_file():
        duration_seconds = probe(song.audio).duration_seconds
    return Prediction(duration_seconds, text, lines=lines)


def kept_prediction(song: ReferenceSong, output: Path) -> Prediction:
    """Read the prediction that `EvaluateTask` wrote for a song.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        record = read_record(job_of(song).target(output, ".json"))
        if record is None:
            raise ValueError("its record is missing or damaged")
        transcript = _read_transcript(song_file(output / "transcripts", song.id))
        alignment = _read_transcript(song_file(output / "alignments", song.id))
        return Prediction(
            record["duration_seconds"],
            transcript.text,
            record["greedy"],
            alignment.lines,
            parse_separation(record["separation"]),
            StageSeconds(**record["seconds"]),
            transcript.model,
            DecodingOptions(**record["decoding"]),
            alignment.confidence,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{song.id}: its saved prediction cannot be read: {error}") from error


def song_file(folder: Path, song_id: str, suffix: str = ".json") -> Path:
    """The file of a song; slashes in its id are folders, and the path never leaves `folder`."""
    parts = PurePosixPath(song_id).parts
    if not parts or song_id.startswith("/") or ".." in parts or "\\" in song_id or "\0" in song_id:
        raise ValueError(
            f"the song id {song_id!r} cannot be a file name; use an id without '..', '\\' or a leading '/'"
        )
    return folder.joinpath(*parts[:-1], parts[-1] + suffix)


def _read_transcript(path: Path) -> Transcript:
    try:
        return parse_json(_read(path), str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such prediction") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of an earlier run; None if missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def parse_song_text(kept: dict[str, Any] | None) -> SongText | None:
    """What the transcriber found, from a record."""
    if kept is None:
        return None
    segments = []
    for each in kept["segments"]:
        candidates = (Candidate(tuple(own["lines"]), own["log_prob"]) for own in each["candidates"])
        segments.append(SegmentText(each["start_seconds"], each["end_seconds"], tuple(candidates)))
    return SongText(kept["language"], kept["heard"], kept["heard_probability"], tuple(segments))


def parse_separation(kept: dict[str, Any] | None) -> SeparationScores | None:
    """The separation scores of a record."""
    if kept is None:
        return None
    mixture, vocals = (None if kept[key] is None else BssEval(**kept[key]) for key in ("mixture", "vocals"))
    return SeparationScores(kept["mixture_si_sdr_db"], kept["vocals_si_sdr_db"], mixture, vocals)
