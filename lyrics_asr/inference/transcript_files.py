"""Transcripts as files: writing them in each format, and making other formats of them."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lyrics_asr import formats
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.runner import Task
from lyrics_asr.inference.stopwatch import Stopwatch
from lyrics_asr.types import Transcript
from lyrics_asr.version import __version__


class TranscriptWriter:
    """Writes transcripts: to stdout, or to files in each of the formats.

    Args:
        output: folder; None for stdout, in the first format.
        names: of the formats.
    """

    def __init__(self, output: Path | None, names: Sequence[str]) -> None:
        self._output = output
        self._names = names

    def write(self, job: Job, transcript: Transcript, stopwatch: Stopwatch) -> Sequence[Path]:
        """Write a transcript and name its files."""
        with stopwatch("writing"):
            if self._output is None:
                sys.stdout.write(formats.render(transcript, self._names[0]))
                sys.stdout.flush()
                return ()
            targets = [job.target(self._output, f".{name}") for name in self._names]
            for name, target in zip(self._names, targets, strict=True):
                write_text(target, formats.render(transcript, name))
            return targets


class RenderTask(Task[Transcript, Transcript]):
    """`lyrics-asr render`."""

    def __init__(self, writer: TranscriptWriter) -> None:
        self._writer = writer

    def check(self, job: Job) -> float:
        """See `Task`."""
        if not job.source.is_file():
            raise FileNotFoundError(f"{job.source}: no such file; give a .json file that transcribe or align wrote")
        return 0.0

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        yield

    def key(self, job: Job) -> str:
        """See `Task`."""
        return hashlib.sha256(json.dumps([__version__, file_fingerprint(job.source)]).encode()).hexdigest()

    def read(self, job: Job) -> Transcript:
        """See `Task`."""
        return formats.parse_json(job.source.read_bytes().decode("utf-8-sig", "replace"), str(job.source))

    def infer(self, songs: Sequence[tuple[Job, Transcript]], stopwatch: Stopwatch) -> Sequence[Transcript]:
        """See `Task`."""
        return [content for _, content in songs]

    def finish(self, job: Job, inferred: Transcript, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        return self._writer.write(job, inferred, stopwatch)
