"""Many songs: which files they are, where their results go, one failing song at a time.

Conventions
- A folder is searched at all depths, in the order of the names; hidden files and the output folder are left out.
- The tree below a folder is mirrored under the output folder; a file that was named alone lies at its top.
- `song.mp3` becomes `song.json`. Where two songs would, both keep their suffix: `song.mp3.json` and `song.wav.json`.
- Every song adds a line to `run.jsonl` in the output folder, whether it went well or not.
- Results replace earlier ones, but no text that somebody wrote or changed: `align` reads `song.txt` as lyrics.
"""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TypeVar

from lyrics_asr.files import OutputError

M = TypeVar("M")


class LayoutError(ValueError):
    """The named files cannot be worked on as asked: none there, or results would overwrite each other or an input."""


@dataclass(frozen=True)
class Job:
    """A file to work on.

    Args:
        source: the file.
        stem: where its results go, relative to the output folder and without a suffix.
        lyrics: the lyrics that are read with it, if any are.
    """

    source: Path
    stem: Path
    lyrics: Path | None = None

    def target(self, output: Path, suffix: str) -> Path:
        """The result with this suffix, e.g. ".json"."""
        return output / self.stem.with_name(self.stem.name + suffix)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the files it wrote, or why there are none."""

    job: Job
    outputs: tuple[Path, ...]
    seconds: float
    error: Exception | None


def find_jobs(inputs: Sequence[Path], suffixes: Collection[str], output: Path | None) -> tuple[Job, ...]:
    """The files among `inputs`, and those with one of `suffixes` in the folders among them.

    Args:
        inputs: files and folders; a file may have any suffix, and may be missing.
        suffixes: in lower case, with the dot.
        output: a folder that is left out of the search.

    Raises:
        LayoutError: a folder holds no such file, or two files would have the same results.
    """
    found: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            below = {path / each: each for each in sorted(_walk(path, suffixes, output))}
            if not below:
                raise LayoutError(f"{path}: no file in it ends with {' '.join(sorted(suffixes))}; check the folder")
            found.update(below)
        else:
            found[path] = Path(path.name)
    stems = Counter(relative.with_suffix("") for relative in found.values())
    jobs = tuple(
        Job(path, relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix(""))
        for path, relative in found.items()
    )
    taken: dict[Path, Job] = {}
    for job in jobs:
        if job.stem in taken:
            raise LayoutError(
                f"{taken[job.stem].source} and {job.source} would both be written to {job.stem}; "
                "rename one, or work on them with an output folder each"
            )
        taken[job.stem] = job
    return jobs


def check_targets(jobs: Iterable[Job], output: Path, suffixes: Sequence[str]) -> None:
    """Make sure that no result overwrites an input or somebody's lyrics, or leaves the output folder.

    A text in the output folder counts as somebody's lyrics, unless `run.jsonl` has it as an earlier result and it has
    not been changed since.

    Raises:
        LayoutError: one would; the message names it.
    """
    jobs = tuple(jobs)
    inputs = {path.resolve() for job in jobs for path in (job.source, job.lyrics) if path is not None and path.exists()}
    root = output.resolve()
    logged = _logged_results(output)
    for job in jobs:
        for suffix in suffixes:
            target = job.target(output, suffix)
            if target.resolve() in inputs:
                raise LayoutError(f"{target}: is an input and would be overwritten; choose another --output")
            if not target.resolve().is_relative_to(root):
                raise LayoutError(f"{target}: leads out of {output} by a symbolic link; choose another --output")
            # The log tells whole seconds, rounded down.
            if (
                suffix == ".txt"
                and target.exists()
                and target.stat().st_mtime >= logged.get(target.relative_to(output).as_posix(), -math.inf) + 1
            ):
                raise LayoutError(
                    f"{target}: was not written by lyrics-asr, or was changed since, and would be overwritten; "
                    "move it away, or choose another --output"
                )


def run(
    jobs: Sequence[Job],
    *,
    check: Callable[[Job], object],
    load: Callable[[], M],
    work: Callable[[Job, M], Sequence[Path]],
    report: Callable[[Outcome], None],
) -> tuple[Outcome, ...]:
    """Work on every job, whatever becomes of the others.

    Args:
        jobs: in this order.
        check: raises for a job whose input is unusable; it runs before anything is loaded.
        load: makes what `work` needs, once, and only if a job passes the check. If it fails, the run ends.
        work: does a job and names the files that it wrote.
        report: told each outcome as it comes.
    """
    loaded: list[M] = []
    outcomes = []
    for job in jobs:
        outcome = _attempt(job, partial(_checked, check, job))
        if outcome.error is None:
            if not loaded:
                loaded.append(load())
            outcome = _attempt(job, partial(work, job, loaded[0]))
        report(outcome)
        outcomes.append(outcome)
    return tuple(outcomes)


def describe(error: Exception) -> str:
    """What to tell the user about a failure: the message of an expected one, the class as well of any other."""
    expected = isinstance(error, ValueError | OSError) and str(error)
    return str(error) if expected else f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def append_log(output: Path, verb: str, outcome: Outcome) -> None:
    """Add an outcome to `run.jsonl`, in one write, so that runs side by side do not mix their lines."""
    entry = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "verb": verb,
        "source": str(outcome.job.source),
        "status": "done" if outcome.error is None else "failed",
        "outputs": [path.relative_to(output).as_posix() for path in outcome.outputs],
        "seconds": round(outcome.seconds, 3),
        "error": None if outcome.error is None else describe(outcome.error),
    }
    path = output / "run.jsonl"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; check the folder and the disk") from error


def _attempt(job: Job, work: Callable[[], Sequence[Path]]) -> Outcome:
    started = time.monotonic()
    outputs: Sequence[Path] = ()
    failure = None
    try:
        outputs = work()
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever is wrong with one song, the next one gets its turn
        failure = error
    return Outcome(job, tuple(outputs), time.monotonic() - started, failure)


def _checked(check: Callable[[Job], object], job: Job) -> Sequence[Path]:
    check(job)
    return ()


def _logged_results(output: Path) -> dict[str, float]:
    """The results that `run.jsonl` names, relative to `output`, and when they were written, in seconds since 1970."""
    try:
        lines = (output / "run.jsonl").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return {}
    results: dict[str, float] = {}
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):  # a line that is cut off, or not ours
            entry = json.loads(line)
            results.update(dict.fromkeys(entry["outputs"], datetime.fromisoformat(entry["time"]).timestamp()))
    return results


def _walk(folder: Path, suffixes: Collection[str], output: Path | None) -> Iterator[Path]:
    """Paths below `folder`, relative to it."""
    excluded = None if output is None else output.resolve()
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).resolve() != excluded]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield (here / name).relative_to(folder)
