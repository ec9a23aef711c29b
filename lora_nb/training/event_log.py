"""A run's events.jsonl: one event a line, appended while it trains, and read while it is written."""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lora_nb.files import write_whole
from lora_nb.training.events import EVENTS, CheckpointSaved, ImageSampled, LoraSaved, OnEvent, ProblemFound, TrainEvent

CHECK = "check"  # the name of a line's checksum
WITH_PATHS = (CheckpointSaved, ImageSampled, LoraSaved)


def write_events_to(path: Path) -> OnEvent:
    """Make a listener that appends every event to a file; a line is flushed as soon as it is written.

    Paths inside the run's folder are written relative to it, so that the folder can be moved. A torn last line, which
    a run that was killed may have left, goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    heal(path)

    def write(event: TrainEvent) -> None:
        values = {"event": event.kind, **asdict(_pack(event, path.parent))}
        line = json.dumps(values | {CHECK: _checksum(values)}, ensure_ascii=False)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # file names may be no text
            file.write(line + "\n")

    return write


def read_events(path: Path) -> Iterator[TrainEvent]:
    """Read a run's events, also while it is still writing: a torn last line is left for the next call."""
    yield from EventReader(path).read()


class EventReader:
    """Follows a run's events: each `read()` returns those that were written since the last one.

    When a run is continued, what it had told after its checkpoint is taken back, because those steps are done again.
    The reader then starts from the beginning, and `from_start` says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.from_start = True  # whether the last read() began at the first event
        self._offset = 0  # bytes
        self._last_line = b""  # that was read: if it is not there any more, the file has been cut
        self._lines = 0

    def read(self) -> list[TrainEvent]:
        """The events since the last call; a line that cannot be read is told as a problem, and skipped."""
        lines = self._new_lines()
        events = []
        for line in lines:
            self._lines += 1
            self._offset += len(line)
            self._last_line = line
            events.append(self.parse(line))
        return events

    def _new_lines(self) -> list[bytes]:
        """Every whole line after those that were read."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            file.seek(self._offset - len(self._last_line))
            self.from_start = self._offset == 0 or file.read(len(self._last_line)) != self._last_line
            if self.from_start:
                self._offset, self._last_line, self._lines = 0, b"", 0
                file.seek(0)
            return [line for line in file.readlines() if line.endswith(b"\n")]

    def parse(self, line: bytes) -> TrainEvent:
        """What a line says."""
        try:
            values = json.loads(line)
            if values.pop(CHECK) != _checksum(values):
                raise ValueError("some of it has changed")
            return _unpack(EVENTS[values.pop("event")](**values), self.path.parent)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            where = f"{self.path.name}, line {self._lines}"
            return ProblemFound(where, "This line is damaged, or of a newer version.", "It is left out.", "warning")


def flush_events(path: Path) -> int:
    """Have everything told so far written to the disk. Returns how many bytes that is."""
    with path.open("ab") as file:
        os.fsync(file.fileno())
        return file.tell()


def cut_events(path: Path, size: int, stays: Callable[[TrainEvent], bool]) -> None:
    """Take back all events after the first `size` bytes, but for some that stay. Whole or not at all."""
    heal(path)
    content = path.read_bytes() if path.exists() else b""
    reader = EventReader(path)
    late = content[size:].splitlines(keepends=True)
    write_whole(path, content[:size] + b"".join(line for line in late if stays(reader.parse(line))))


def heal(path: Path) -> None:
    """Remove a torn last line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def _checksum(values: dict[str, Any]) -> str:
    """Eight letters that are others when one bit of an event has changed."""
    return f"{zlib.crc32(json.dumps(values).encode()):08x}"


def _pack(event: TrainEvent, folder: Path) -> TrainEvent:
    if not isinstance(event, WITH_PATHS) or not Path(event.path).is_relative_to(folder):
        return event
    return replace(event, path=Path(event.path).relative_to(folder).as_posix())


def _unpack(event: TrainEvent, folder: Path) -> TrainEvent:
    return replace(event, path=str(folder / event.path)) if isinstance(event, WITH_PATHS) else event
