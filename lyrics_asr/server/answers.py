"""What the API answers about jobs, and the files that it hands out."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, Field

from lyrics_asr.audio import read_audio, write_audio
from lyrics_asr.files import atomic_path
from lyrics_asr.formats import BINARY_FORMATS, FORMATS, MELODY_FORMATS, encode, parse_json, render, suffix_of
from lyrics_asr.server import song_files
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.library import DONE, QUEUED, RUNNING, StoredSong
from lyrics_asr.server.melody import sung_transcript
from lyrics_asr.server.share import share_html
from lyrics_asr.server.state import ServerState
from lyrics_asr.types import Transcript

_MEDIA_TYPES = {
    "json": "application/json",
    "vtt": "text/vtt; charset=utf-8",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "html": "text/html; charset=utf-8",
    "zip": "application/zip",
    "mid": "audio/midi",
}
STEMS = ("vocals", "accompaniment")
STEM_FORMATS = ("flac", "mp3", "wav")
OFFERED_FORMATS = tuple(name for name in FORMATS if name not in MELODY_FORMATS)
_FORMATS = {f"transcript{suffix_of(name)}": name for name in (*FORMATS, *BINARY_FORMATS)}
"""The format of each transcript among the results."""


class JobAnswer(BaseModel):
    """A job, as it is now."""

    id: str = Field(examples=["5f0c1d2e3a4b5c6d"])
    object: str = "job"
    name: str = Field(description="name of the uploaded file, without its suffix")
    task: str = Field(description="transcribe, align or separate")
    language: str
    status: str = Field(description="queued, running, done, failed or cancelled")
    stage: str | None = Field(description="stage of a running job: decoding, separation, acoustic, writing, lyrics")
    progress: float = Field(description="fraction of the stage that is done, in 0..1")
    position: int | None = Field(description="place in the queue; 0 is running")
    seconds_left: float | None = Field(description="estimated seconds until this job is done")
    error: str | None
    created: float = Field(description="time stamp, seconds since 1970")
    duration_seconds: float
    offset_seconds: float = Field(description="shift of the words against the audio")
    is_edited: bool = Field(description="whether a person has changed the words or their times")
    results: list[str] = Field(description="files at /v1/jobs/{id}/results/NAME")


def describe_jobs(state: ServerState, songs: list[StoredSong]) -> list[JobAnswer]:
    """The answers for songs."""
    queue = state.library.queue()
    positions = {song_id: place for place, (song_id, _) in enumerate(queue)}
    factor = state.library.real_time_factor()
    devices = max(1, len(state.settings.devices))
    answers = []
    for stored in songs:
        song, folder = stored.song, state.settings.folder(stored.song.id)
        position = positions.get(song.id)
        seconds_left = None
        if position is not None and factor is not None:
            ahead_seconds = sum(seconds for _, seconds in queue[: position + 1])
            seconds_left = round(factor * ahead_seconds / min(devices, position + 1), 1)
        progress = state.library.progress(song.id)
        answers.append(
            JobAnswer(
                id=song.id,
                name=song.name,
                task=song.task,
                language=song.language,
                status=stored.status,
                stage=None if progress is None else progress.stage,
                progress=0.0 if progress is None else round(progress.fraction, 3),
                position=position if stored.status in (QUEUED, RUNNING) else None,
                seconds_left=seconds_left,
                error=stored.error,
                created=stored.created,
                duration_seconds=song.duration_seconds,
                offset_seconds=stored.offset_seconds,
                is_edited=(folder / song_files.EDITED).is_file(),
                results=result_names(state, stored),
            )
        )
    return answers


def describe_job(state: ServerState, song_id: str) -> JobAnswer:
    """The answer for one song.

    Raises:
        ApiError: there is none.
    """
    return describe_jobs(state, [state.get(song_id)])[0]


def result_names(state: ServerState, stored: StoredSong) -> list[str]:
    """Names of the results of a song: transcripts as soon as they are found, the others when it is done."""
    transcripts = [] if not state.has_transcript(stored) else [*_FORMATS]
    if stored.status != DONE:
        return [name for name in transcripts if _FORMATS[name] not in MELODY_FORMATS]
    shared = ["share.html"] if transcripts else []
    return [*transcripts, *shared, *(f"{stem}.{suffix}" for stem in STEMS for suffix in STEM_FORMATS), "all.zip"]


def media_type(name: str) -> str:
    """The media type of a result."""
    return _MEDIA_TYPES.get(name.rsplit(".", 1)[-1], "text/plain; charset=utf-8")


def read_transcript(state: ServerState, stored: StoredSong) -> Transcript:
    """The transcript of a song that is done, as edited.

    Raises:
        ApiError: the song has no transcript.
    """
    if not state.has_transcript(stored):
        raise ApiError(404, "this job has no transcript", "not_found")
    path = song_files.current_transcript(state.settings.folder(stored.song.id))
    return parse_json(path.read_text(encoding="utf-8"), stored.song.name)


def result_file(state: ServerState, stored: StoredSong, name: str) -> Path | str | bytes:
    """A result of a song: a file, or the content of a transcript; what is derived from others is made on demand.

    Raises:
        ApiError: there is no such result.
    """
    if name not in result_names(state, stored):  # the names are a fixed list: nothing else is a path
        raise ApiError(404, f"no result {name[:40]!r}", "not_found")
    folder = state.settings.folder(stored.song.id)
    format = _FORMATS.get(name)
    if format in MELODY_FORMATS:
        return encode(sung_transcript(folder, read_transcript(state, stored), stored.song.name), format)
    if format is not None:
        return render(read_transcript(state, stored), format)
    if name == "all.zip":
        return _made(folder / name, lambda path: _write_zip(path, state, stored), again=True)
    if name == "share.html":
        stems = {stem: _stem_file(folder, f"{stem}.mp3") for stem in STEMS}
        return share_html(stored.song.name, read_transcript(state, stored), stems, stored.offset_seconds)
    return _stem_file(folder, name)


def _stem_file(folder: Path, name: str) -> Path:
    stem = folder / f"{name.rsplit('.', 1)[0]}.flac"
    path = folder / name
    return path if path == stem else _made(path, lambda path: write_audio(path, read_audio(stem)))


def _made(path: Path, make: Callable[[Path], None], *, again: bool = False) -> Path:
    if again or not path.is_file():
        with atomic_path(path) as temporary:
            make(temporary)
    return path


def _write_zip(path: Path, state: ServerState, stored: StoredSong) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in result_names(state, stored):
            if name == "all.zip" or name.endswith((".wav", ".mp3", ".html")):
                continue
            content = result_file(state, stored, name)
            if isinstance(content, Path):
                archive.write(content, name)
            else:
                archive.writestr(name, content)
