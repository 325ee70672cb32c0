"""Several devices of one machine: a worker process for each, over one queue of songs.

The processes are spawned, for CUDA does not live through a fork. A worker asks for each song when it has room to read
it, so that none hoards songs that another could do. Songs whose worker dies are given out again, each to a worker that
has no other song meanwhile: the one to blame then dies alone, and all others get done.
"""

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from lyrics_asr.console import BatchProgress, quiet, say
from lyrics_asr.decoding.pool import end_with_caller, usable_cores
from lyrics_asr.inference.jobs import Outcome
from lyrics_asr.inference.runner import Song
from lyrics_asr.inference.workers import (
    PackedError,
    WorkerConfig,
    WorkerResult,
    exit_cause,
    is_device_failure,
    lost_song,
    serve,
)
from lyrics_asr.models.devices import find_devices

_END_SECONDS = 10.0
"""How long a worker that is told to end may tidy up."""


@dataclass(frozen=True)
class _Ask:
    """A worker that has loaded the task wants a song."""


@dataclass(frozen=True)
class _Share:
    """Arguments of `BatchProgress.show`."""

    name: str
    audio_seconds: float
    share: float | None


@dataclass(frozen=True)
class _Said:
    """A log message."""

    text: str


@dataclass(frozen=True)
class _Failed:
    """A worker cannot go on."""

    error: PackedError


def work(
    songs: Sequence[Song], config: WorkerConfig, progress: BatchProgress, on_result: Callable[[Outcome], None]
) -> None:
    """Work on songs with a process for each device.

    Args:
        songs: given out in this order.
        config: what to do, on which devices. Processor cores are divided evenly among them. An error in loading is
            raised, unless other workers are at work by then.
        progress: of the songs.
        on_result: called with each outcome as soon as it is there, in this thread.
    """
    devices = find_devices(config.request.device)[: len(songs)]
    dispatcher = _Dispatcher(songs, config, devices, progress, on_result)
    try:
        dispatcher.run()
    finally:
        dispatcher.end()


@dataclass(eq=False)
class _Worker:
    """What is known of a worker process.

    Args:
        has_loaded: whether it has asked for a song yet.
        is_asking: whether it waits for an answer.
        is_alone: whether its song is one that a worker died with, so that it gets no other meanwhile.
        was_told: that there is no song at present, since it got the last one.
        in_flight: the songs that it has, by their stems.
    """

    device: str
    process: Any
    connection: Connection
    has_loaded: bool = False
    is_asking: bool = False
    is_alone: bool = False
    was_told: bool = False
    in_flight: dict[Path, Song] = field(default_factory=dict)

    def answer(self, song: Song | None) -> None:
        self.is_asking = False
        self.was_told = song is None
        if song is not None:
            self.in_flight[song.job.stem] = song
        with suppress(OSError):  # it has died, which is found when it is listened to
            self.connection.send(song)

    def tell_to_end(self) -> None:
        self.process.terminate()
        self.connection.close()

    def exit_code(self) -> int | None:
        """Wait for the end of the process, and see to it."""
        self.process.join(_END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code: int | None = self.process.exitcode
        return code


class _Dispatcher:
    """Gives songs to workers, and replaces those that die."""

    def __init__(
        self,
        songs: Sequence[Song],
        config: WorkerConfig,
        devices: Sequence[str],
        progress: BatchProgress,
        on_result: Callable[[Outcome], None],
    ) -> None:
        self._waiting = deque(songs)
        self._suspects: deque[Song] = deque()
        self._config, self._progress, self._on_result = config, progress, on_result
        self._cores = max(1, usable_cores() // len(devices))
        self._devices = devices
        self._workers: list[_Worker] = []

    def run(self) -> None:
        for device in self._devices:
            self._start(device)
        while self._waiting or self._suspects or any(worker.in_flight for worker in self._workers):
            ready = wait([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._lose(worker, None)
                else:
                    self._take(worker, message)
            for worker in self._workers:
                if worker.is_asking:
                    self._answer(worker)

    def end(self) -> None:
        for worker in self._workers:
            worker.tell_to_end()
        for worker in self._workers:
            worker.exit_code()

    def _start(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        connection, theirs = context.Pipe()
        arguments = (theirs, self._config, device, self._cores)
        process = context.Process(target=_live, args=arguments, name=f"lyrics-asr {device}")
        process.start()
        theirs.close()  # so that the death of the process closes the pipe
        self._workers.append(_Worker(device, process, connection))

    def _take(self, worker: _Worker, message: object) -> None:
        if isinstance(message, _Ask):
            worker.has_loaded = worker.is_asking = True
        elif isinstance(message, _Share):
            self._progress.show(message.name, message.audio_seconds, message.share)
        elif isinstance(message, _Said):
            say(message.text)
        elif isinstance(message, _Failed):
            self._lose(worker, message.error.unpacked())
        elif isinstance(message, WorkerResult):
            outcome = message.unpacked()
            del worker.in_flight[outcome.job.stem]
            worker.is_alone = worker.is_alone and bool(worker.in_flight)
            self._on_result(outcome)

    def _answer(self, worker: _Worker) -> None:
        without_song = sum(not other.in_flight for other in self._workers)
        if self._suspects and not worker.in_flight:
            worker.is_alone = True
            worker.answer(self._suspects.popleft())
        elif self._waiting and not worker.is_alone and (not worker.in_flight or len(self._waiting) > without_song):
            worker.answer(self._waiting.popleft())
        elif not worker.was_told:
            worker.answer(None)

    def _lose(self, worker: _Worker, error: Exception | None) -> None:
        """See to the songs of a worker that died, or that cannot go on because of an error."""
        self._workers.remove(worker)
        if error is not None:
            worker.tell_to_end()
        exit_code = worker.exit_code()
        cause = exit_cause(exit_code) if error is None else f"{type(error).__name__}: {error}"
        if not worker.has_loaded:
            if any(other.has_loaded for other in self._workers):
                say(f"warning: the worker on {worker.device} could not load the model, the others go on: {cause}")
                return
            raise error or RuntimeError(
                f"the worker on {worker.device} ended while it loaded the model ({cause}); if memory ran out, name "
                "fewer devices"
            )
        songs = list(worker.in_flight.values())
        if worker.is_alone:
            self._on_result(lost_song(songs[0], cause))
        elif songs:
            say(f"warning: the worker on {worker.device} ended ({cause}); its {len(songs)} songs are done again")
            self._suspects += songs
        if len(self._waiting) + len(self._suspects) > sum(not other.in_flight for other in self._workers):
            self._start(worker.device)


def _live(connection: Connection, config: WorkerConfig, device: str, cores: int) -> None:
    """What a worker process does until it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Thread(target=end_with_caller, daemon=True).start()
    lock = Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    def songs() -> Iterator[Song | None]:
        while True:
            send(_Ask())
            try:
                song: Song | None = connection.recv()
            except (EOFError, OSError):  # the end
                return
            yield song

    def on_result(outcome: Outcome) -> None:
        if outcome.error is not None and is_device_failure(outcome.error):
            send(_Failed(PackedError.of(outcome.error)))
            raise outcome.error
        send(WorkerResult.of(outcome))

    progress = BatchProgress(lambda *share: send(_Share(*share)))
    with suppress(KeyboardInterrupt), quiet(config.debug):
        if not config.debug:
            logging.getLogger("lyrics_asr").addHandler(_Forward(send))
        try:
            serve(songs(), config, device, cores, progress, on_result)
        except BrokenPipeError:  # the parent has ended
            pass
        except Exception as error:
            with suppress(OSError):
                send(_Failed(PackedError.of(error)))


class _Forward(logging.Handler):
    """Sends what is logged to the parent."""

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._send(_Said(record.getMessage()))
