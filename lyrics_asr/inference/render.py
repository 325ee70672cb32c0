"""Transcripts in other formats, with no model."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lyrics_asr.console import BatchProgress
from lyrics_asr.files import file_fingerprint
from lyrics_asr.formats import parse_json
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.requests import RenderRequest
from lyrics_asr.inference.results import write_transcript
from lyrics_asr.inference.runner import Song, Stopwatch, Task
from lyrics_asr.types import Transcript
from lyrics_asr.version import RESULTS_VERSION


class RenderTask(Task[Transcript, Transcript]):
    """`lyrics-asr render`."""

    def __init__(self, request: RenderRequest, progress: BatchProgress, cores: int | None = None) -> None:
        self.request = request

    def check(self, job: Job) -> Song:
        """See `Task`."""
        if not job.source.is_file():
            raise FileNotFoundError(f"{job.source}: no such file; give a .json file that transcribe or align wrote")
        return Song(job)

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        yield

    def key(self, song: Song) -> str:
        """See `Task`."""
        return hashlib.sha256(json.dumps([RESULTS_VERSION, file_fingerprint(song.job.source)]).encode()).hexdigest()

    def read(self, song: Song) -> Transcript:
        """See `Task`."""
        path = song.job.source
        return parse_json(path.read_bytes().decode("utf-8-sig", "replace"), str(path))

    def infer(self, songs: Sequence[tuple[Song, Transcript]], stopwatch: Stopwatch) -> Sequence[Transcript]:
        """See `Task`."""
        return [content for _, content in songs]

    def finish(self, song: Song, inferred: Transcript, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("writing"):
            return write_transcript(song.job, inferred, self.request)
