"""How is a folder of pictures watched by something that asks all the time? By looking seldom enough to cost little."""

import time
from pathlib import Path

from lora_nb.dataset.images import Dataset, scan_images

SHARE = 0.05  # of the time at most for looking at the pictures: a thousand on Drive take seconds


class Scan:
    """The pictures of a folder as they are now, or were a moment ago."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: Dataset | None = None
        self._next = 0.0  # when to look again

    def dataset(self) -> Dataset:
        """What `scan_images` has found. Raises DatasetError as it does."""
        started = time.monotonic()
        if self._found is None or started >= self._next:
            self._found = scan_images(self._folder)
            ended = time.monotonic()
            self._next = ended + (ended - started) / SHARE
        return self._found
