"""What a worker does, wherever it runs: loads a task on a device, processes songs, sends back their outcomes.

`multi_gpu` has workers as processes on this machine, `ray_engine` on those of a cluster. What goes to and fro is
defined here; it is pickled between processes of one run alone.
"""

import pickle
import signal
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from lyrics_asr.console import BatchProgress
from lyrics_asr.inference import runner
from lyrics_asr.inference.jobs import Outcome
from lyrics_asr.inference.requests import ModelRequest
from lyrics_asr.inference.runner import ResumeLookup, Song, Task


@dataclass(frozen=True)
class WorkerConfig:
    """What workers need to know; it can be pickled.

    Args:
        make_task: see `run.run`.
        request: what to do; a worker's own device takes the place of the request's.
        resume: see `runner.work`.
        debug: whether the remarks of libraries are shown.
    """

    make_task: Callable[[Any, BatchProgress, int | None], Task[Any, Any]]
    request: ModelRequest
    resume: ResumeLookup | None
    debug: bool = False

    def task(self, device: str, progress: BatchProgress, cores: int | None = None) -> Task[Any, Any]:
        """The task on a device; `cores` are those that it may use, None for all."""
        return self.make_task(replace(self.request, device=device), progress, cores)


@dataclass(frozen=True)
class PackedError:
    """An exception on its way to another process, with its traceback as text.

    Many classes of exceptions cannot be pickled, or not be made again; those come out as one of the same name, kind
    (see `console.describe`) and message.
    """

    pickled: bytes | None
    name: str
    kind: type[Exception]
    message: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> "PackedError":
        """Pack an exception."""
        pickled = None
        with suppress(Exception):  # whatever a foreign class does when it is pickled
            made = pickle.dumps(error)
            copy = pickle.loads(made)
            pickled = made if type(copy) is type(error) and str(copy) == str(error) else None
        kind = next(kind for kind in (ValueError, OSError, Exception) if isinstance(error, kind))
        return cls(pickled, type(error).__name__, kind, str(error), "".join(traceback.format_exception(error)))

    def unpacked(self) -> Exception:
        """The exception; its cause is the traceback."""
        error: Exception = type(self.name, (self.kind,), {})(self.message)
        if self.pickled is not None:
            with suppress(Exception):  # this process may lack what the other one has
                error = pickle.loads(self.pickled)
        error.__cause__ = WorkerTraceback(f"\n{self.trace}")
        return error


class WorkerTraceback(Exception):
    """Where an exception came from in another process."""


@dataclass(frozen=True)
class WorkerResult:
    """An outcome on its way to another process."""

    outcome: Outcome
    error: PackedError | None

    @classmethod
    def of(cls, outcome: Outcome) -> "WorkerResult":
        """Pack an outcome."""
        return cls(replace(outcome, error=None), None if outcome.error is None else PackedError.of(outcome.error))

    def unpacked(self) -> Outcome:
        """The outcome."""
        return self.outcome if self.error is None else replace(self.outcome, error=self.error.unpacked())


def serve(
    songs: Iterable[Song | None],
    config: WorkerConfig,
    device: str,
    cores: int,
    progress: BatchProgress,
    on_result: Callable[[Outcome], None],
) -> None:
    """Load the task and process songs until there are no more.

    Args:
        songs: see `runner.work`.
        config: what to do.
        device: where.
        cores: how many processor cores it may use.
        progress: of the songs.
        on_result: called with each outcome; what it raises ends the work.
    """
    torch.set_num_threads(cores)
    runner.work(songs, config.task(device, progress, cores), resume=config.resume, on_result=on_result)


def is_device_failure(error: Exception | None) -> bool:
    """Whether the device is of no use to this process any more, so that another has to go on.

    After an illegal access or an assertion on a CUDA device, every call of the process fails.
    """
    return isinstance(error, torch.AcceleratorError)


def lost_song(song: Song, cause: str) -> Outcome:
    """What became of a song that took its worker with it, twice, the second time while it was alone.

    Args:
        song: which.
        cause: how the worker ended.
    """
    error = RuntimeError(
        f"{song.job.source}: the worker ended with this song, and another one that had no other song ({cause}); memory "
        "may have run out, or a library crashed on the file: try it alone, with smaller windows, or encode it again"
    )
    return Outcome(song.job, (), error, None, song.audio_seconds)


def exit_cause(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
