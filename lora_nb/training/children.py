"""The processes that this one has started for runs: how did they end?"""

import subprocess

_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}  # by their number; Python warns of one that nobody keeps


def keep_child(process: "subprocess.Popen[bytes]") -> None:
    """Remember a process that was started here."""
    _CHILDREN[process.pid] = process


def exit_code(pid: int) -> int | None:
    """What a process of ours ended with: 0, an error's number, or minus the signal that killed it.

    None if it still runs, or if another process has started it: only the one that started it is told.
    """
    process = _CHILDREN.get(pid)
    return process.poll() if process else None
