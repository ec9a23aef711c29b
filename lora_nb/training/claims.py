"""Who writes in this run's folder? One process at a time; a dead one holds nothing."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from lora_nb.errors import TrainingError
from lora_nb.files import write_whole

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CLOCKS_DIFFER = 5.0  # seconds: how exactly a process's start is known
SILENCE = 600.0  # seconds after which a process on another machine counts as dead


@dataclass(frozen=True)
class Holder:
    """The process that works on a run, or did before it died."""

    pid: int
    started: float  # when, in seconds since 1970: a number is given to another process later
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine, where it can be seen."""
        return self.host == socket.gethostname()

    def is_alive(self, record: Path) -> bool:
        """Whether it still runs. One of another machine cannot be seen: it counts while it keeps its record fresh."""
        if not self.is_here:
            return time.time() - record.stat().st_mtime < SILENCE
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCKS_DIFFER
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def find_holder(folder: Path) -> Holder | None:
    """The process that works on this run now."""
    holder = read_holder(folder)
    try:
        return holder if holder and holder.is_alive(folder / "process.json") else None
    except OSError:  # it has just ended
        return None


def read_holder(folder: Path) -> Holder | None:
    """The process that works on this run, or that died while it did. One that ended as it should leaves no record."""
    try:
        return Holder(**json.loads((folder / "process.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def note_holder(folder: Path, pid: int) -> None:
    """Write down that this process works on the run from now on."""
    holder = Holder(pid, psutil.Process(pid).create_time(), socket.gethostname())
    write_whole(folder / "process.json", json.dumps(asdict(holder)).encode())


def show_life(folder: Path) -> None:
    """Tell other machines, which cannot see this process, that it is alive."""
    with suppress(OSError):
        os.utime(folder / "process.json")


@contextmanager
def claim_run(folder: Path) -> Iterator[None]:
    """Work on a run alone. Raises TrainingError if another process does already.

    The system itself forgets the lock when a process ends, however it ends.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        holder = find_holder(folder)
        others = holder is not None and not (holder.is_here and holder.pid == os.getpid())
        if not _take(lock) or others:
            raise TrainingError(_explain(folder, holder))
        try:
            note_holder(folder, os.getpid())
        except OSError:  # a full disk
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            yield
        finally:
            (folder / "process.json").unlink(missing_ok=True)


def _take(lock: IO[str]) -> bool:
    if fcntl is None:
        return True  # the record alone must do
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # this kind of disk knows no locks
    return True


def _explain(folder: Path, holder: Holder | None) -> str:
    who = "another process" if holder is None else f"process {holder.pid}"
    if holder is not None and not holder.is_here:
        return (
            f"{folder} is being worked on by {who} of another machine, {holder.host}. Stop that one, or, if it is "
            f"gone, wait {SILENCE / 60:.0f} minutes and try again."
        )
    return f"{folder} is being worked on by {who}. Stop it first (lora-nb stop), or start another run beside it."
