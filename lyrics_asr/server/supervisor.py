"""One worker process per device, and a thread of the server that gives it songs from the queue.

Conventions
- A song is decoded in a process with limits, then processed by the worker. It is done when its files are complete and
  the database says so, in this order.
- A worker that dies is replaced. Its song is tried again, up to `library.MAX_ATTEMPTS` times.
- Cancelling a running song ends its worker, because a network in the middle of a song cannot be stopped otherwise.
"""

import contextlib
import multiprocessing
import os
import shutil
import time
from multiprocessing.connection import Connection
from threading import Event, Thread

from lyrics_asr.console import describe, say
from lyrics_asr.inference.workers import exit_cause
from lyrics_asr.server import song_files
from lyrics_asr.server.decoder import Decoder
from lyrics_asr.server.library import RUNNING, Library, Progress, StoredSong
from lyrics_asr.server.metrics import Metrics
from lyrics_asr.server.processing import Order, Ready, Result, StageProgress, start_worker
from lyrics_asr.server.settings import ServerSettings
from lyrics_asr.types import AudioInfo

_POLL_SECONDS = 0.1
_IDLE_SECONDS = 0.5


class WorkerDied(Exception):
    """The worker process ended, or was ended because its song was cancelled."""


class Supervisor:
    """Processes the queue of a library, one song at a time on one device.

    Args:
        settings: settings of the server.
        library: the library.
        metrics: counts songs and seconds.
        decoder: decodes uploads.
        device: where the worker runs.
        cores: CPU cores of the worker.
    """

    def __init__(
        self,
        settings: ServerSettings,
        library: Library,
        metrics: Metrics,
        decoder: Decoder,
        device: str,
        cores: int,
    ) -> None:
        self._settings, self._library, self._metrics, self._decoder = settings, library, metrics, decoder
        self._device, self._cores = device, cores
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._ready: Ready | None = None
        self._stopping = Event()
        self.wake = Event()
        self.failure: str | None = None
        """Why the model cannot be loaded."""
        self._thread = Thread(target=self._run, name=f"supervisor of {device}", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return self._ready is not None

    def start(self) -> None:
        """Start the worker and process songs, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; its song waits for the next start."""
        self._stopping.set()
        self.wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._ensure_worker()
                    song = self._library.claim()
                    if song is None:
                        self.wake.wait(_IDLE_SECONDS)
                        self.wake.clear()
                    else:
                        self._process_song(song)
                except WorkerDied:
                    continue
        finally:
            self._end_worker()

    def _ensure_worker(self) -> None:
        if self._process is not None and self._process.is_alive() and self._ready is not None:
            return
        self._end_worker()
        self._process, self._connection = start_worker(
            self._settings.load, self._settings.overrides, self._device, self._cores
        )
        while not self._connection.poll(_POLL_SECONDS):
            if self._stopping.is_set() or not self._process.is_alive():
                raise WorkerDied
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerDied from None
        if isinstance(message, Ready):
            self._ready, self.failure = message, None
            return
        self.failure = message.error
        say(f"error: no model on {self._device}: {message.error}")
        self._stopping.wait(30.0)
        raise WorkerDied

    def _process_song(self, song: StoredSong) -> None:
        song_id = song.song.id
        try:
            result = self._result(song)
        except WorkerDied:
            if self._stopping.is_set():
                self._library.requeue(song_id)
            elif self._is_running(song_id):
                cause = exit_cause(None if self._process is None else self._process.exitcode)
                self._library.lose_worker(song_id, cause)
                self._metrics.count("worker died")
            raise
        except Exception as error:  # of the decoder: the song fails alone
            result = Result({}, describe(error))
        finally:
            with contextlib.suppress(OSError):
                (self._settings.folder(song_id) / song_files.MIXTURE).unlink()
            self._library.set_progress(song_id, None)
            if self._library.get(song_id) is None:  # deleted while the worker wrote to its folder
                shutil.rmtree(self._settings.folder(song_id), ignore_errors=True)
        if result.error is None:
            self._library.finish(song_id, result.stages)
            self._metrics.song(song.song.duration_seconds, result.stages)
        else:
            self._library.fail(song_id, self._public(result.error, song))
            self._metrics.count("failed")

    def _result(self, song: StoredSong) -> Result:
        new, folder = song.song, self._settings.folder(song.song.id)
        assert self._ready is not None
        assert self._connection is not None
        self._library.set_progress(new.id, Progress("decoding", 0.0))
        began = time.monotonic()
        mixture = folder / song_files.MIXTURE
        ready = self._ready
        self._decoder.decode(folder / song_files.SOURCE, mixture, ready.sample_rate_hz, ready.channels)
        decoding_seconds = time.monotonic() - began
        audio = AudioInfo(new.name, new.duration_seconds, new.sample_rate_hz)
        try:
            self._connection.send(Order(folder, new.task, new.language, new.hot_words, audio))
            while True:
                while not self._connection.poll(_POLL_SECONDS):
                    if self._stopping.is_set() or not self._is_running(new.id):
                        self._end_worker()
                        raise WorkerDied
                message = self._connection.recv()
                if isinstance(message, Result):
                    return Result({"decoding": decoding_seconds, **message.stages}, message.error)
                assert isinstance(message, StageProgress)
                self._library.set_progress(new.id, Progress(message.stage, message.fraction))
        except (EOFError, OSError):
            if self._process is not None:
                self._process.join(5.0)
            raise WorkerDied from None

    def _is_running(self, song_id: str) -> bool:
        song = self._library.get(song_id)
        return song is not None and song.status == RUNNING

    def _public(self, error: str, song: StoredSong) -> str:
        """An error without the server's paths."""
        folder = self._settings.folder(song.song.id)
        for path in (folder / song_files.MIXTURE, folder / song_files.SOURCE, folder / song_files.LYRICS, folder):
            error = error.replace(os.fspath(path), song.song.name)
        return error

    def _end_worker(self) -> None:
        self._ready = None
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._connection = None
