"""Messages on stderr, progress counters on a terminal, and log files; library output is suppressed."""

import contextlib
import faulthandler
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lyrics_asr.files import require_writable_folder

DONE, FAILED, WRONG_USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""

_CLEAR = "\r\033[K"

_tracebacks = logging.getLogger("lyrics_asr.tracebacks")
_tracebacks.propagate = False
_tracebacks.addHandler(logging.NullHandler())  # without a handler, logging would print to stderr


class UsageError(ValueError):
    """Arguments that do not fit together."""


def say(message: str) -> None:
    """Print a message for the user on stderr."""
    clear = _CLEAR if sys.stderr.isatty() else ""  # of what a counter shows
    print(f"{clear}lyrics-asr: {message}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Format a duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe(error: Exception) -> str:
    """Describe a failure in one line: the message of an expected error, or the class and message of any other."""
    expected = isinstance(error, ValueError | OSError) and str(error)
    return str(error) if expected else f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[float], None] | None]:
    """A counter on the terminal that removes itself; shows nothing if stderr is a file."""
    with _line(lambda share: f"{name}: {share:4.0%}") as show:
        yield show


@contextlib.contextmanager
def steps(name: str, done: int, total: int) -> Iterator[Callable[[int], None]]:
    """A counter of steps on the terminal, with their rate and the time left; it removes itself.

    Args:
        name: label of the counter.
        done: number of steps done before.
        total: total number of steps.

    Yields:
        Progress callback with the number of steps done; it shows nothing if stderr is a file.
    """
    began = time.monotonic()

    def text(share: float) -> str:
        step = round(share * total)
        per_second = (step - done) / max(time.monotonic() - began, 1e-9)
        left = duration((total - step) / per_second) if per_second else "unknown time"
        return f"{name}: step {step} of {total}, {per_second:.2f} steps/s, {left} left"

    with _line(text) as show:
        yield (lambda step: None) if show is None else (lambda step: show(step / total))


class BatchProgress:
    """Progress over songs: songs done, audio done, and the time left.

    It is shown if stderr is a terminal, and removes itself.

    Args:
        on_progress: called instead of showing progress, with the name, the seconds of audio and the fraction done; at
            the end of a song with the finished seconds and None.
    """

    def __init__(self, on_progress: Callable[[str, float, float | None], None] | None = None) -> None:
        self._on_progress = on_progress
        self._songs = self._finished = 0
        self._audio_seconds = self._done_seconds = 0.0
        self._in_progress: dict[str, float] = {}
        self._began: float | None = None

    def expect(self, audio_seconds: float) -> None:
        """Add an expected song of this duration."""
        self._songs += 1
        self._audio_seconds += audio_seconds

    def skip(self, audio_seconds: float) -> None:
        """An expected song takes no time."""
        self._songs -= 1
        self._audio_seconds -= audio_seconds

    def finish(self) -> None:
        """A song is done, or has failed."""
        self._finished += 1

    @contextlib.contextmanager
    def songs(self, name: str, audio_seconds: float) -> Iterator[Callable[[float], None]]:
        """Show a song, or several that are processed together; yields a progress callback (fraction in 0..1)."""
        show = self._on_progress or self.show
        show(name, audio_seconds, 0.0)
        done_seconds = 0.0
        try:
            yield partial(show, name, audio_seconds)
            done_seconds = audio_seconds
        finally:
            show(name, done_seconds, None)

    def show(self, name: str, audio_seconds: float, share: float | None) -> None:
        """Show the fraction done of songs in progress; None at their end, with 0 seconds if they failed."""
        self._began = self._began or time.monotonic()
        if share is None:
            self._in_progress.pop(name, None)
            self._done_seconds += audio_seconds
        else:
            self._in_progress[name] = share * audio_seconds
        if sys.stderr.isatty():
            _write_over(self._text(name, share) if share else "")

    @property
    def left_seconds(self) -> float:
        """Estimated time until all expected songs are done; 0 before any audio is."""
        done_seconds = self._done_seconds + sum(self._in_progress.values())
        if self._began is None or not done_seconds:
            return 0.0
        return (time.monotonic() - self._began) * max(0.0, self._audio_seconds / done_seconds - 1)

    def _text(self, name: str, share: float) -> str:
        if self._songs == 1:
            return f"{name}: {share:4.0%}"
        done_seconds = self._done_seconds + sum(self._in_progress.values())
        audio = f"{duration(done_seconds)} of {duration(self._audio_seconds)} of audio"
        left = f"{duration(self.left_seconds)} left"
        return f"{self._finished} of {self._songs} songs done, {audio}, {left}, {name}: {share:4.0%}"


@contextlib.contextmanager
def quiet(debug: bool, *, hide_libraries: bool = True) -> Iterator[None]:
    """Show our own messages on stderr, and hide those of libraries.

    Args:
        debug: show everything.
        hide_libraries: without it, warnings of libraries are shown, in Python and in compiled code, such as NCCL's.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    with contextlib.ExitStack() as stack:
        if not debug and hide_libraries:
            stack.enter_context(_no_native_stderr())
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("lyrics-asr: %(message)s"))
        shows_all = debug or not hide_libraries
        stack.enter_context(_handler(logging.getLogger(None if shows_all else "lyrics_asr"), shown))
        # Without any handler, logging prints the warnings of other packages by itself.
        stack.enter_context(_handler(logging.getLogger(), logging.NullHandler()))
        yield


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append warnings, log messages and tracebacks to a file while the block runs.

    An exception that leaves the block is recorded with its traceback; `log_traceback` records one that is handled
    inside it. The file is created with the first record, so runs without records have no file.

    Args:
        path: path of the log file; its folder is created if missing.

    Raises:
        OutputError: the folder cannot be created or written to.
    """
    require_writable_folder(path.parent)
    handler = _LogFileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        with _handler(logging.getLogger(), handler), _handler(_tracebacks, handler):
            try:
                yield
            except (Exception, KeyboardInterrupt) as error:
                log_traceback(error)
                raise
    finally:
        handler.close()


def log_traceback(error: BaseException) -> None:
    """Write an exception with its traceback to the `log_file`, and nothing to the terminal."""
    _tracebacks.error("%s: %s", type(error).__name__, error, exc_info=error)


class _LogFileHandler(logging.FileHandler):
    """A log file that cannot be written does not stop the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


@contextlib.contextmanager
def _handler(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Hide the output of compiled code on file descriptor 2; our own messages use a copy of it.

    KenLM always writes there. The copy stays open, because libraries imported in the block may keep it. A crash of
    compiled code still prints where it happened.
    """
    shown = sys.stderr
    try:
        real = shown.fileno() == 2
    except (OSError, ValueError):
        real = False
    if not real:
        yield
        return
    copy = os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    sys.stderr = os.fdopen(copy, "w", encoding=shown.encoding, errors=shown.errors, buffering=1)
    shows_crashes = not faulthandler.is_enabled()
    if shows_crashes:
        faulthandler.enable(copy)
    try:
        yield
    finally:
        if shows_crashes:
            faulthandler.disable()
        os.dup2(copy, 2)
        sys.stderr = shown


@contextlib.contextmanager
def _line(text: Callable[[float], str]) -> Iterator[Callable[[float], None] | None]:
    """Lend what writes a text over itself on the terminal; None where stderr is a file."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(share: float) -> None:
        if share > 0:
            _write_over(text(share))

    try:
        yield show
    finally:
        _write_over("")


def _write_over(text: str) -> None:
    print(f"{_CLEAR}{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)
