"""What the stages of a song take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch(dict[str, float]):
    """Wall-clock seconds of each stage, in the order in which the stages began."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block; blocks of one name add up."""
        self.setdefault(stage, 0.0)
        began = time.monotonic()
        try:
            yield
        finally:
            self[stage] += time.monotonic() - began
