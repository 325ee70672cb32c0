"""Process many songs on one device: stages of different songs overlap, and a failing song does not stop the others.

Callers use `run.run`, which calls `work` for each device.
"""

import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.types import AudioInfo

Content = TypeVar("Content")
Inferred = TypeVar("Inferred")


@dataclass(frozen=True)
class Song:
    """A job whose input has been checked, with what was read for that; picklable.

    Args:
        job: the job.
        audio: duration and sample rate from the header; None if the input is not audio.
        lyrics: lyrics to align.
        hot_words: text whose words are likely to be sung.
        language: language of the lyrics or hot words, as `spell` takes it.
    """

    job: Job
    audio: AudioInfo | None = None
    lyrics: Lyrics | None = None
    hot_words: str = ""
    language: str = "en"

    @property
    def audio_seconds(self) -> float:
        """Duration of the audio; 0 without audio."""
        return 0.0 if self.audio is None else self.audio.duration_seconds


ResumeLookup = Callable[[Song, str], Sequence[Path] | None]
"""Finds the results of an earlier run for a song and its key; None if there are none."""


class Stopwatch(dict[str, float]):
    """Wall-clock seconds of each stage, in order of their start."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block; times of blocks with the same name add up."""
        self.setdefault(stage, 0.0)
        began = time.monotonic()
        try:
            yield
        finally:
            self[stage] += time.monotonic() - began


class Task(ABC, Generic[Content, Inferred]):
    """The work on a song, in three stages; an exception in a stage fails only its song."""

    finishers = 1
    """Number of threads for the last stage."""

    group_seconds = 0.0
    """Songs are grouped for the second stage up to this duration; with 0, each song is a group."""

    @abstractmethod
    def check(self, job: Job) -> Song:
        """Read the header and other small inputs, once; raises if the input is unusable."""

    @abstractmethod
    def load(self) -> AbstractContextManager[None]:
        """Load what the stages need, for the duration of a run."""

    @abstractmethod
    def key(self, song: Song) -> str:
        """A hash of everything that the results depend on: content, model and options."""

    @abstractmethod
    def read(self, song: Song) -> Content:
        """The first stage, in a thread."""

    @abstractmethod
    def infer(self, songs: Sequence[tuple[Song, Content]], stopwatch: Stopwatch) -> Sequence[Inferred]:
        """The second stage, for a group of songs, in the thread of `work`; results are in the same order."""

    def decoded_seconds(self, song: Song, inferred: Inferred) -> float:
        """Duration of a song as it was decoded; a header may state another one."""
        return song.audio_seconds

    @abstractmethod
    def finish(self, song: Song, inferred: Inferred, stopwatch: Stopwatch) -> Sequence[Path]:
        """The last stage, in a thread: write files and return their paths."""


def check(jobs: Iterable[Job], task: Task[Any, Any], on_result: Callable[[Outcome], None]) -> list[Song]:
    """Check jobs and return those with usable input; `on_result` gets the outcomes of the others."""
    songs = []
    for job in jobs:
        try:
            songs.append(task.check(job))
        except Exception as error:
            on_result(Outcome(job, (), error))
    return songs


def work(
    songs: Iterable[Song | None],
    task: Task[Any, Any],
    *,
    resume: ResumeLookup | None,
    on_result: Callable[[Outcome], None],
) -> None:
    """Load a task and run it on songs; stages of different songs overlap.

    While one group of songs is in the second stage, a thread reads the next group, and other threads finish earlier
    songs. At most as many songs wait to be finished as there are such threads, or songs in a group, so memory does not
    grow with the number of songs.

    Args:
        songs: taken one by one as they are read, in a thread. None means that no song is available now: the songs read
            so far are processed without waiting for more.
        task: the work; exceptions while loading are raised.
        resume: songs for which it finds results are skipped. If None (results go to a terminal), keys are not computed.
        on_result: called with each outcome as it arrives, one at a time, in any thread.
    """
    lock, coming = Lock(), iter(songs)

    def give(outcome: Outcome) -> None:
        with lock:
            on_result(outcome)

    def read_group() -> list[tuple[_SongRun, Any]]:
        group: list[tuple[_SongRun, Any]] = []
        audio_seconds = 0.0
        for song in coming:
            if song is None:
                if group:
                    break
                continue
            song_run = _SongRun(song)
            outcome, content = song_run.read(task, resume)
            if outcome is not None:
                give(outcome)
                continue
            group.append((song_run, content))
            audio_seconds += song.audio_seconds
            if audio_seconds >= task.group_seconds:
                break
        return group

    with task.load(), ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(task.finishers) as finisher:
        finishing: deque[Future[None]] = deque()
        try:
            reading = reader.submit(read_group)
            while group := reading.result():
                reading = reader.submit(read_group)
                for (song_run, _), inferred in zip(group, _infer(task, group), strict=True):
                    if isinstance(inferred, Exception):
                        give(song_run.failed(inferred))
                    else:
                        finishing.append(finisher.submit(song_run.finish, task, inferred, give))
                del group, inferred  # samples of whole songs
                while finishing and (len(finishing) > task.finishers or finishing[0].done()):
                    finishing.popleft().result()
            while finishing:
                finishing.popleft().result()
        except BaseException:
            for threads in (reader, finisher):
                threads.shutdown(wait=False, cancel_futures=True)
            raise


def _infer(task: Task[Any, Any], group: Sequence[tuple["_SongRun", Any]]) -> list[Any]:
    """Run the second stage on a group; failing songs have an exception in place of their result."""
    stopwatch = Stopwatch()
    songs, audio_seconds = [], 0.0
    for song_run, content in group:
        songs.append((song_run.song, content))
        audio_seconds += song_run.song.audio_seconds
    try:
        inferred = list(task.infer(songs, stopwatch))
    except Exception as error:
        inferred = [error]
    if len(inferred) != len(group):  # one of them failed; the error and the tensors that it held are freed by now
        return [each for one in group for each in _infer(task, [one])]
    for song_run, _ in group:
        share = song_run.song.audio_seconds / audio_seconds if audio_seconds else 1 / len(group)
        for stage, seconds in stopwatch.items():
            song_run.stopwatch[stage] = share * seconds
    return inferred


class _SongRun:
    """A song in progress: each stage returns its outcome if it has ended, and else the input of the next stage."""

    def __init__(self, song: Song) -> None:
        self.song = song
        self._audio_seconds = song.audio_seconds
        self._key: str | None = None
        self.stopwatch = Stopwatch()

    def read(self, task: Task[Any, Any], resume: ResumeLookup | None) -> tuple[Outcome | None, Any]:
        try:
            with self.stopwatch("reading"):
                if resume is not None:
                    self._key = task.key(self.song)
                    results = resume(self.song, self._key)
                    if results is not None:
                        return self._outcome(results, None, is_kept=True), None
                return None, task.read(self.song)
        except Exception as error:
            return self.failed(error), None

    def finish(self, task: Task[Any, Any], inferred: Any, give: Callable[[Outcome], None]) -> None:
        try:
            self._audio_seconds = task.decoded_seconds(self.song, inferred)
            outcome = self._outcome(task.finish(self.song, inferred, self.stopwatch), None)
        except BrokenPipeError:  # the reader of stdout has closed it
            raise
        except Exception as error:
            outcome = self.failed(error)
        give(outcome)

    def failed(self, error: Exception) -> Outcome:
        traceback.clear_frames(error.__traceback__)  # outcomes are kept, and frames hold the samples of songs
        return self._outcome((), error)

    def _outcome(self, outputs: Sequence[Path], error: Exception | None, *, is_kept: bool = False) -> Outcome:
        stages = {} if is_kept else dict(self.stopwatch)
        return Outcome(self.song.job, tuple(outputs), error, self._key, self._audio_seconds, stages, is_kept)
