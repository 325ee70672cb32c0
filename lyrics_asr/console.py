"""What the command line shows: messages on stderr, a counter on a terminal, no noise from libraries."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator


def say(message: str) -> None:
    """Tell the user something that is not a result."""
    print(f"lyrics-asr: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[float], None] | None]:
    """A counter on the terminal that removes itself; nothing where stderr is a file."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda share: print(f"\r\033[K{name}: {share:4.0%}", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Keep the libraries' remarks off stderr, and let our own warnings through."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    with contextlib.ExitStack() as stack:
        if not debug:
            stack.enter_context(_no_native_stderr())
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("lyrics-asr: %(message)s"))
        stack.enter_context(_handler(logging.getLogger(None if debug else "lyrics_asr"), shown))
        # Without any handler, logging prints the warnings of other packages by itself.
        stack.enter_context(_handler(logging.getLogger(), logging.NullHandler()))
        yield


@contextlib.contextmanager
def _handler(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _no_native_stderr() -> Iterator[None]:
    """Take file descriptor 2 from compiled code; our own messages go out through a copy of it.

    KenLM writes there whatever it is told. The copy stays open, for libraries that are imported meanwhile may keep it.
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
    try:
        yield
    finally:
        os.dup2(copy, 2)
        sys.stderr = shown
