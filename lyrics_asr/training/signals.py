"""Ctrl-C and SIGTERM: the current step is finished and saved before the run stops."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from threading import current_thread, main_thread
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; the warning of cluster schedulers before they kill a job


@contextlib.contextmanager
def asked_to_stop(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at the first Ctrl-C or SIGTERM; a second one interrupts at once.

    Only the main thread receives signals; in any other this does nothing.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.default_int_handler)
        ask()

    for each in _SIGNALS:
        signal.signal(each, handle)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def leave_to_parent(worker: int) -> None:
    """Make a data loader's worker ignore both signals, which may reach all processes of a run; its parent stops it.

    Args:
        worker: its number, as `torch.utils.data.DataLoader` gives it.
    """
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
