"""Decoding of uploads, in processes of their own with limits of time and memory.

A file that crashes or fills the decoder fails alone. The processes are forked from a server that has imported the
decoder once. Even so, starting and ending one takes longer than decoding a short song, so a process that has succeeded
waits for the next file.
"""

import multiprocessing
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal

from lyrics_asr.audio import AudioError, probe, read_audio
from lyrics_asr.decoding.pool import end_with_caller
from lyrics_asr.inference.mixtures import corrected_mixture
from lyrics_asr.inference.workers import PackedError, exit_cause
from lyrics_asr.lyrics.text import read_lyrics
from lyrics_asr.server import song_files
from lyrics_asr.server.settings import Limits
from lyrics_asr.types import AudioInfo

FORK_SERVER_MODULES = ("lyrics_asr.server.decoder", "lyrics_asr.server.processing")

_MAX_IDLE = 2
"""Processes that wait for a file."""


class LyricsError(ValueError):
    """Lyrics that cannot be aligned: empty, or not text."""


class TooLongError(ValueError):
    """Audio that is longer than the limit."""


class Decoder:
    """Reads headers and decodes files; methods may be called from any thread.

    Args:
        limits: time and memory for each file, and its longest duration.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._idle: list[_Process] = []

    def inspect(self, audio: Path, lyrics: Path | None) -> AudioInfo:
        """Read the header of an upload and its lyrics, and return the header.

        Raises:
            AudioError: not audio, or the decoder ran out of time or memory.
            TooLongError: the header states a longer duration than allowed.
            LyricsError: no sung line in the lyrics.
        """
        info: AudioInfo = self._call(_inspect, audio, lyrics, self._limits.audio_seconds)
        return info

    def decode(self, source: Path, target: Path, rate_hz: int, channels: Literal[1, 2]) -> None:
        """Decode an upload to a mixture, see `song_files.save_mixture`.

        Args:
            source: the upload.
            target: the mixture's file.
            rate_hz: sample rate of the separator.
            channels: channels of the separator.

        Raises:
            AudioError: no audio can be decoded, it is silent or not finite, or the decoder ran out of time or memory.
            TooLongError: the audio is longer than allowed.
        """
        self._call(_decode, source, target, rate_hz, channels, self._limits.audio_seconds)

    def close(self) -> None:
        """End the processes that wait."""
        while process := self._take():
            process.end()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        process = self._take()
        if process is not None:
            try:
                return self._result(process, function, arguments)
            except _CrashError:
                pass  # perhaps by what an earlier file left behind: this one gets a process of its own
        try:
            return self._result(_Process(self._limits), function, arguments)
        except _CrashError as error:
            raise AudioError(f"the decoder crashed ({error}); the file is damaged: convert it to FLAC") from None

    def _result(self, process: "_Process", function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call a function in a process, which waits for the next file if it succeeds and ends if not."""
        try:
            result = process.call(function, arguments)
        except BaseException:
            process.end()
            raise
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(process)
                return result
        process.end()
        return result

    def _take(self) -> "_Process | None":
        with self._lock:
            return self._idle.pop() if self._idle else None


class _CrashError(Exception):
    """The process ended during a call; the message says how."""


class _Process:
    """A process that calls functions, within limits, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        context = multiprocessing.get_context("forkserver")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve_calls, args=(theirs, limits.decoding_bytes), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call a function, and return its result or raise its exception."""
        try:
            self._connection.send((function, arguments))
            if not self._connection.poll(self._limits.decoding_seconds):
                seconds = self._limits.decoding_seconds
                raise AudioError(f"decoding takes more than {seconds:.0f} s; convert the file to FLAC")
            result = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise _CrashError(exit_cause(self._process.exitcode)) from None
        if isinstance(result, PackedError):
            raise result.unpacked()
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _inspect(audio: Path, lyrics: Path | None, max_seconds: float) -> AudioInfo:
    info = probe(audio)
    _check_duration(info.duration_seconds, max_seconds)
    if lyrics is not None:
        try:
            read_lyrics(lyrics)
        except ValueError as error:
            raise LyricsError(str(error)) from error
    return info


def _decode(source: Path, target: Path, rate_hz: int, channels: Literal[1, 2], max_seconds: float) -> None:
    # As `read_mixture` does, but headers can lie about the duration: what is read is bounded.
    audio = read_audio(source, sample_rate_hz=rate_hz, channels=2, duration_seconds=max_seconds + 1)
    _check_duration(audio.duration_seconds, max_seconds)
    song_files.save_mixture(target, corrected_mixture(audio, source, channels))


def _check_duration(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise TooLongError(f"the song lasts {seconds:.0f} s; at most {max_seconds:.0f} s are allowed: cut it")


def _serve_calls(connection: Connection, memory_bytes: int) -> None:
    """The main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=end_with_caller, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _used_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(EOFError):
        while True:
            function, arguments = connection.recv()
            try:
                result = function(*arguments)
            except Exception as error:
                # PyTorch says with a plain RuntimeError that memory ran out.
                if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                    error = AudioError("decoding takes too much memory; convert the file to FLAC")
                result = PackedError.of(error)
            connection.send(result)


def _used_bytes() -> int:
    """Private memory of this process, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmData; the server needs Linux")
