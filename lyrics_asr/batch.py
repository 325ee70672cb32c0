"""Many songs: one failing song at a time, stages of different songs at the same time."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from lyrics_asr.jobs import Job
from lyrics_asr.stopwatch import Stopwatch

Content = TypeVar("Content")
Inferred = TypeVar("Inferred")


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the files it wrote, or why there are none.

    Args:
        key: of the work, see `Task.key`; None where none was made.
        audio_seconds: length of the song; 0 where it is not known.
        stages: seconds that each stage took; stages of different songs overlap.
        is_kept: whether the files are those of an earlier run.
    """

    job: Job
    outputs: tuple[Path, ...]
    error: Exception | None
    key: str | None = None
    audio_seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    is_kept: bool = False


class Task(ABC, Generic[Content, Inferred]):
    """What is done with a song, in three stages; each may raise, which ends its song alone."""

    finishers = 1
    """Threads for the last stage."""

    @abstractmethod
    def check(self, job: Job) -> float:
        """The seconds of the song's audio, 0 for none; raises for a job whose input is unusable."""

    @abstractmethod
    def load(self) -> AbstractContextManager[None]:
        """Make what the stages need, for the time of a run."""

    @abstractmethod
    def key(self, job: Job) -> str:
        """A hash of everything that the results depend on: content, model and options."""

    @abstractmethod
    def read(self, job: Job) -> Content:
        """The first stage, in a thread."""

    @abstractmethod
    def infer(self, job: Job, content: Content, stopwatch: Stopwatch) -> Inferred:
        """The second stage, in the thread of `run`."""

    @abstractmethod
    def finish(self, job: Job, inferred: Inferred, stopwatch: Stopwatch) -> Sequence[Path]:
        """The last stage, in a thread: writes files and names them."""


def run(
    jobs: Sequence[Job],
    task: Task[Any, Any],
    *,
    kept: Callable[[Job, str], Sequence[Path] | None] | None,
    report: Callable[[Outcome], None],
) -> tuple[Outcome, ...]:
    """Do a task with every job, whatever becomes of the others.

    While one song is in the second stage, a thread reads the next one, and other threads finish those before it. As
    many songs wait to be finished as there are such threads, no more: memory does not grow with the number of songs.

    Args:
        jobs: in this order. All are checked before anything is loaded, which is not done if none is usable.
        task: what to do. If it cannot be loaded, the run ends.
        kept: tells the results of an earlier run with this key, None where the work has to be done. Without it, as when
            results go to a terminal, no key is made.
        report: told each outcome as soon as it is there, one at a time, in any thread.
    """
    outcomes: list[Outcome] = []

    lock = Lock()

    def tell(outcome: Outcome) -> None:
        with lock:
            report(outcome)
            outcomes.append(outcome)

    def finish(song: _Song, inferred: Any) -> None:
        tell(song.finish(task, inferred))

    songs: list[_Song] = []
    for job in jobs:
        try:
            songs.append(_Song(job, task.check(job)))
        except Exception as error:
            tell(Outcome(job, (), error))
    if not songs:
        return tuple(outcomes)

    with task.load(), ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(task.finishers) as finisher:
        finishing: deque[Future[None]] = deque()
        try:
            reading = reader.submit(songs[0].read, task, kept)
            for number, song in enumerate(songs, start=1):
                outcome, content = reading.result()
                if number < len(songs):
                    reading = reader.submit(songs[number].read, task, kept)
                if outcome is None:
                    outcome, inferred = song.infer(task, content)
                    if outcome is None:
                        finishing.append(finisher.submit(finish, song, inferred))
                    del inferred
                del content  # samples of a whole song
                if outcome is not None:
                    tell(outcome)
                while finishing and (len(finishing) > task.finishers or finishing[0].done()):
                    finishing.popleft().result()
            while finishing:
                finishing.popleft().result()
        except BaseException:
            for threads in (reader, finisher):
                threads.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(outcomes)


def describe(error: Exception) -> str:
    """What to tell the user about a failure: the message of an expected one, the class as well of any other."""
    expected = isinstance(error, ValueError | OSError) and str(error)
    return str(error) if expected else f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


class _Song:
    """A job on its way; its stages give an outcome where it is at its end, and else what the next stage needs."""

    def __init__(self, job: Job, audio_seconds: float) -> None:
        self._job = job
        self._audio_seconds = audio_seconds
        self._key: str | None = None
        self._stopwatch = Stopwatch()

    def read(
        self, task: Task[Any, Any], kept: Callable[[Job, str], Sequence[Path] | None] | None
    ) -> tuple[Outcome | None, Any]:
        try:
            with self._stopwatch("reading"):
                if kept is not None:
                    self._key = task.key(self._job)
                    results = kept(self._job, self._key)
                    if results is not None:
                        return self._outcome(results, None, is_kept=True), None
                return None, task.read(self._job)
        except Exception as error:
            return self._outcome((), error), None

    def infer(self, task: Task[Any, Any], content: Any) -> tuple[Outcome | None, Any]:
        try:
            return None, task.infer(self._job, content, self._stopwatch)
        except Exception as error:
            return self._outcome((), error), None

    def finish(self, task: Task[Any, Any], inferred: Any) -> Outcome:
        try:
            return self._outcome(task.finish(self._job, inferred, self._stopwatch), None)
        except BrokenPipeError:  # whoever reads the results has had enough
            raise
        except Exception as error:
            return self._outcome((), error)

    def _outcome(self, outputs: Sequence[Path], error: Exception | None, *, is_kept: bool = False) -> Outcome:
        stages = {} if is_kept else dict(self._stopwatch)
        return Outcome(self._job, tuple(outputs), error, self._key, self._audio_seconds, stages, is_kept)
