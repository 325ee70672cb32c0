"""Many songs: one failing song at a time, stages of different songs at the same time."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.stopwatch import Stopwatch

Content = TypeVar("Content")
Inferred = TypeVar("Inferred")
Kept = Callable[[Job, str], Sequence[Path] | None]
"""Tells the results that an earlier run has for a job, where they have this key; None where there are none."""


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


@dataclass(frozen=True)
class Song:
    """A job whose input is usable, and the seconds of its audio, 0 for none."""

    job: Job
    audio_seconds: float


class Task(ABC, Generic[Content, Inferred]):
    """What is done with a song, in three stages; each may raise, which ends its song alone."""

    finishers = 1
    """Threads for the last stage."""

    group_seconds = 0.0
    """Songs are put together for the second stage until they have so much audio; with 0 each is on its own."""

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
    def infer(self, songs: Sequence[tuple[Job, Content]], stopwatch: Stopwatch) -> Sequence[Inferred]:
        """The second stage, of some songs at once, in the thread of `work`; what it gives is in their order."""

    @abstractmethod
    def finish(self, job: Job, inferred: Inferred, stopwatch: Stopwatch) -> Sequence[Path]:
        """The last stage, in a thread: writes files and names them."""


def run(
    jobs: Sequence[Job],
    task: Task[Any, Any],
    *,
    kept: Kept | None,
    report: Callable[[Outcome], None],
    engine: Callable[[Sequence[Song], Callable[[Outcome], None]], None] | None = None,
) -> tuple[Outcome, ...]:
    """Do a task with every job, whatever becomes of the others.

    Args:
        jobs: in this order. All are checked before anything is loaded, which is not done if none is usable.
        task: what to do. If it cannot be loaded, the run ends.
        kept: see `work`.
        report: see `work`.
        engine: what works on the songs and reports the outcomes, such as processes; `work` itself when None.
    """
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        report(outcome)
        outcomes.append(outcome)

    songs = check(jobs, task, tell)
    if songs and engine is not None:
        engine(songs, tell)
    elif songs:
        work(songs, task, kept=kept, report=tell)
    return tuple(outcomes)


def check(jobs: Iterable[Job], task: Task[Any, Any], report: Callable[[Outcome], None]) -> list[Song]:
    """The jobs whose input is usable; `report` is told of the others."""
    songs = []
    for job in jobs:
        try:
            songs.append(Song(job, task.check(job)))
        except Exception as error:
            report(Outcome(job, (), error))
    return songs


def work(
    songs: Iterable[Song | None],
    task: Task[Any, Any],
    *,
    kept: Kept | None,
    report: Callable[[Outcome], None],
) -> None:
    """Load a task and do it with songs, stages of different songs at the same time.

    While one group of songs is in the second stage, a thread reads the next one, and other threads finish those before
    it. As many songs wait to be finished as there are such threads, or as a group has, no more: memory does not grow
    with the number of songs.

    Args:
        songs: taken one by one, as they are read, in a thread. None is for no song at present: those that have been
            read do not wait for more.
        task: what to do; an error in loading it is raised.
        kept: songs that it has results of are not worked on. Without it, as when results go to a terminal, no key is
            made.
        report: told each outcome as soon as it is there, one at a time, in any thread.
    """
    lock, coming = Lock(), iter(songs)

    def tell(outcome: Outcome) -> None:
        with lock:
            report(outcome)

    def read_group() -> list[tuple[_Passage, Any]]:
        group: list[tuple[_Passage, Any]] = []
        audio_seconds = 0.0
        for song in coming:
            if song is None:
                if group:
                    break
                continue
            passage = _Passage(song)
            outcome, content = passage.read(task, kept)
            if outcome is not None:
                tell(outcome)
                continue
            group.append((passage, content))
            audio_seconds += song.audio_seconds
            if audio_seconds >= task.group_seconds:
                break
        return group

    def finish(passage: _Passage, inferred: Any) -> None:
        tell(passage.finish(task, inferred))

    with task.load(), ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(task.finishers) as finisher:
        finishing: deque[Future[None]] = deque()
        try:
            reading = reader.submit(read_group)
            while group := reading.result():
                reading = reader.submit(read_group)
                for passage, inferred in zip([each for each, _ in group], _infer(task, group), strict=True):
                    if isinstance(inferred, Exception):
                        tell(passage.failed(inferred))
                    else:
                        finishing.append(finisher.submit(finish, passage, inferred))
                del group, inferred  # samples of whole songs
                while finishing and (len(finishing) > task.finishers or finishing[0].done()):
                    finishing.popleft().result()
            while finishing:
                finishing.popleft().result()
        except BaseException:
            for threads in (reader, finisher):
                threads.shutdown(wait=False, cancel_futures=True)
            raise


def describe(error: Exception) -> str:
    """What to tell the user about a failure: the message of an expected one, the class as well of any other."""
    expected = isinstance(error, ValueError | OSError) and str(error)
    return str(error) if expected else f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def _infer(task: Task[Any, Any], group: Sequence[tuple["_Passage", Any]]) -> list[Any]:
    """What the second stage makes of each song; an exception for one that fails, which others do not fail with."""
    stopwatch = Stopwatch()
    try:
        inferred = list(task.infer([(passage.song.job, content) for passage, content in group], stopwatch))
    except Exception as error:
        if len(group) > 1:
            return [each for one in group for each in _infer(task, [one])]
        inferred = [error]
    audio_seconds = sum(passage.song.audio_seconds for passage, _ in group)
    for passage, _ in group:
        passage.took(stopwatch, passage.song.audio_seconds / audio_seconds if audio_seconds else 1 / len(group))
    return inferred


class _Passage:
    """A song on its way; its stages give an outcome where it is at its end, and else what the next stage needs."""

    def __init__(self, song: Song) -> None:
        self.song = song
        self._key: str | None = None
        self._stopwatch = Stopwatch()

    def read(self, task: Task[Any, Any], kept: Kept | None) -> tuple[Outcome | None, Any]:
        try:
            with self._stopwatch("reading"):
                if kept is not None:
                    self._key = task.key(self.song.job)
                    results = kept(self.song.job, self._key)
                    if results is not None:
                        return self._outcome(results, None, is_kept=True), None
                return None, task.read(self.song.job)
        except Exception as error:
            return self.failed(error), None

    def took(self, stages: Mapping[str, float], share: float) -> None:
        """Note this song's share of what a group took."""
        for stage, seconds in stages.items():
            self._stopwatch[stage] = share * seconds

    def finish(self, task: Task[Any, Any], inferred: Any) -> Outcome:
        try:
            return self._outcome(task.finish(self.song.job, inferred, self._stopwatch), None)
        except BrokenPipeError:  # whoever reads the results has had enough
            raise
        except Exception as error:
            return self.failed(error)

    def failed(self, error: Exception) -> Outcome:
        return self._outcome((), error)

    def _outcome(self, outputs: Sequence[Path], error: Exception | None, *, is_kept: bool = False) -> Outcome:
        stages = {} if is_kept else dict(self._stopwatch)
        return Outcome(self.song.job, tuple(outputs), error, self._key, self.song.audio_seconds, stages, is_kept)
