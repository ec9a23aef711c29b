"""How long has the run trained? Without its pauses, and over all the processes that worked on it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self, already: float = 0.0) -> None:
        self._start = time.monotonic() - already

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Within this, no time passes."""
        before = self.seconds
        try:
            yield
        finally:
            self._start = time.monotonic() - before
