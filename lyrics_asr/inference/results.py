"""The results of a job: their paths, and which of them may be written.

Conventions
- Results replace earlier results, but no file that a user wrote or changed, except with `force`.
- `.lyrics-asr.sha256` in the output folder has a line per written file, in the format of sha256sum. The line is
  appended before the file gets its name, so that a killed run does not leave a result that looks like a user's file.
- Lines are never removed. A file is ours if its contents equal any result that a run wrote under its name.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lyrics_asr.files import append_line, atomic_path, file_fingerprint
from lyrics_asr.formats import FORMATS, encode, suffix_of
from lyrics_asr.inference.jobs import Job, LayoutError
from lyrics_asr.inference.requests import Request
from lyrics_asr.types import Transcript

LEDGER_NAME = ".lyrics-asr.sha256"


def targets(job: Job, request: Request) -> dict[str, Path]:
    """The result of a job in each format."""
    assert request.output is not None
    return {name: job.target(request.output, suffix_of(name)) for name in request.formats}


def check_targets(jobs: Iterable[Job], output: Path, formats: Sequence[str]) -> None:
    """Make sure that no result overwrites an input song, or leaves the output folder.

    Raises:
        LayoutError: one would; the message names it.
    """
    jobs = tuple(jobs)
    sources = {job.source.resolve() for job in jobs if job.source.exists()}
    root = output.resolve()
    for job in jobs:
        for name in formats:
            target = job.target(output, suffix_of(name))
            if target.resolve() in sources:
                raise LayoutError(f"{target}: is an input and would be overwritten; choose another --output")
            if not target.resolve().is_relative_to(root):
                raise LayoutError(f"{target}: leads out of {output} by a symbolic link; choose another --output")


def writable_targets(job: Job, request: Request) -> dict[str, Path]:
    """The results of a job that may be written: all with `force`, else those that replace no file of a user."""
    assert request.output is not None
    found = targets(job, request)
    if request.force:
        return found
    return {name: path for name, path in found.items() if may_replace(path, request.output)}


def may_replace(path: Path, folder: Path) -> bool:
    """Whether a result may be written to `path`: there is no file, or one that is still as a run wrote it."""
    if not path.is_file() and not path.is_symlink():
        return True
    try:
        line = _line(path, folder, file_fingerprint(path))
        return line in (folder / LEDGER_NAME).read_bytes().split(b"\n")
    except OSError:  # no ledger, or a file that cannot be read
        return False


def write_transcript(
    job: Job, transcript: Transcript, request: Request, encode_as: Callable[[Transcript, str], bytes] = encode
) -> tuple[Path, ...]:
    """Write a transcript in each format, as UTF-8, and return the paths; without `output`, to stdout in the first.

    Args:
        job: the job.
        transcript: its transcript.
        request: formats, and the output folder.
        encode_as: returns a transcript in a format.

    Raises:
        OutputError: a file cannot be written.
    """
    if request.output is None:
        if request.formats[0] in FORMATS:
            sys.stdout.write(FORMATS[request.formats[0]](transcript))
        else:
            sys.stdout.buffer.write(encode_as(transcript, request.formats[0]))
        sys.stdout.flush()
        return ()

    def write(name: str, path: Path) -> None:
        path.write_bytes(encode_as(transcript, name))

    return write_results(job, request, write)


def write_results(job: Job, request: Request, write: Callable[[str, Path], None]) -> tuple[Path, ...]:
    """Write the results of a job that may be written, and return their paths.

    Args:
        job: the job.
        request: its formats, and the output folder.
        write: writes the result in a format to a path.

    Raises:
        OutputError: a file cannot be written.
    """
    assert request.output is not None
    writable = writable_targets(job, request)
    for name, path in writable.items():
        with own_path(path, request.output) as temporary:
            write(name, temporary)
    return tuple(writable.values())


@contextmanager
def own_path(path: Path, folder: Path) -> Iterator[Path]:
    """`files.atomic_path`, which also makes the file one of ours.

    Raises:
        OutputError: the file or the ledger cannot be written.
    """
    with atomic_path(path) as temporary:
        yield temporary
        append_line(folder / LEDGER_NAME, _line(path, folder, file_fingerprint(temporary)))


def _line(path: Path, folder: Path, digest: str) -> bytes:
    return f"{digest}  ".encode() + os.fsencode(path.relative_to(folder).as_posix())
