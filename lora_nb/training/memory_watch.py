"""How much main memory does this run take, and how much is left? Written down, because a killed process cannot say it.

When main memory is full, the system kills a process at once. What it leaves is the file of this watch.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

FILE = "memory.json"
EVERY = 1.0  # seconds between two looks
CHANGE = 0.02  # of the whole memory: smaller changes are not written down
SIZE = 512  # bytes of the file, always: so one system call replaces all of it
GROUPS = Path("/sys/fs/cgroup")  # where Linux keeps the limits and the counters of containers


@dataclass(frozen=True)
class MemoryLook:
    """Main memory as it was last seen. In bytes."""

    pid: int
    taken: int  # by the process and its children
    free: int  # for all programs, within the container's limit
    total: int  # of the machine, or the container's limit
    counter: str = ""  # the file in which the system counts the processes that it killed for memory
    kills: int = 0  # what stood there when the run began

    @property
    def was_full(self) -> bool:
        """Whether so little was left that the next larger piece did not fit."""
        return self.free < 0.08 * self.total

    @property
    def has_killed(self) -> bool:
        """Whether the system has killed a process for memory since the run began."""
        return bool(self.counter) and count_kills(Path(self.counter)) > self.kills


@contextmanager
def watch_memory(folder: Path) -> Iterator[None]:
    """Keep a run's memory.json up to date, in a thread; at its end the file goes. A killed process leaves it."""
    place, ended = folder / FILE, threading.Event()

    def watch() -> None:
        counter = find_counter()
        start = count_kills(counter) if counter else 0
        written: MemoryLook | None = None
        while True:
            with suppress(OSError, psutil.Error):  # on a full disk, on a lost Drive: the run does not need it
                look = look_at_memory(str(counter or ""), start)
                least = CHANGE * look.total
                if written is None or abs(look.taken - written.taken) > least or abs(look.free - written.free) > least:
                    _write(place, look)
                    written = look
            if ended.wait(EVERY):
                return

    thread = threading.Thread(target=watch, name="memory watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            place.unlink(missing_ok=True)


def look_at_memory(counter: str = "", kills: int = 0) -> MemoryLook:
    """This process's memory, and what is left, now."""
    process, machine = psutil.Process(), psutil.virtual_memory()
    taken = sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
    total, free = machine.total, machine.available
    limit, used = container_memory()
    if limit is not None and limit < total:
        total, free = limit, min(free, max(0, limit - used))
    return MemoryLook(process.pid, taken, free, total, counter, kills)


def last_look(folder: Path) -> MemoryLook | None:
    """What a run's process last saw of its memory; None if it left nothing that can be read."""
    try:
        return MemoryLook(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def container_memory() -> tuple[int | None, int]:
    """The memory limit of the container that this process is in (None: no limit), and what it uses of it. In bytes."""
    for place, limit, used, spare in (
        (_own_group(""), "memory.max", "memory.current", "inactive_file"),
        (_own_group("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (place / limit).read_text().strip()
            if most == "max":
                return None, 0
            # what files left in memory is given back when it is needed
            return int(most), int((place / used).read_text()) - _read_number(place / "memory.stat", spare)
        except (OSError, ValueError):
            continue
    return None, 0


def find_counter() -> Path | None:
    """Where the system counts the processes that it killed for memory: of this container, or of the machine."""
    places = [_own_group("") / "memory.events", _own_group("memory") / "memory.oom_control", Path("/proc/vmstat")]
    return next((place for place in places if _has_counter(place)), None)


def count_kills(counter: Path) -> int:
    """How many processes the system has killed for memory, as that file says."""
    try:
        return _read_number(counter, "oom_kill")
    except (OSError, ValueError):
        return 0


def _own_group(controller: str) -> Path:
    """This process's folder below /sys/fs/cgroup; inside a container that is the top one."""
    top = GROUPS / controller
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(",") and (top / path.lstrip("/")).is_dir():
                return top / path.lstrip("/")
    return top


def _has_counter(place: Path) -> bool:
    try:
        _read_number(place, "oom_kill")
    except (OSError, ValueError):
        return False
    return True


def _read_number(file: Path, name: str) -> int:
    """The number behind a name in a file of lines such as `oom_kill 3`."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise ValueError(f"{file} has no {name}")


def _write(place: Path, look: MemoryLook) -> None:
    file = os.open(place, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(file, json.dumps(asdict(look)).encode().ljust(SIZE - 1) + b"\n")
    finally:
        os.close(file)
