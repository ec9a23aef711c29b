"""The processes that this one has started for runs: how did they end?"""

import subprocess

LAST_THREADS = 1.0  # seconds that a killed process may take until it is gone with all its threads
_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}  # by their number; Python warns of one that nobody keeps


def keep_child(process: "subprocess.Popen[bytes]") -> None:
    """Remember a process that was started here."""
    _CHILDREN[process.pid] = process


def exit_code(pid: int) -> int | None:
    """What a process of ours has ended with: 0, an error's number, or minus the signal that killed it.

    None if it still runs, or if another process has started it: only the one that started it is told.
    """
    process = _CHILDREN.get(pid)
    try:
        return process.wait(LAST_THREADS) if process else None
    except subprocess.TimeoutExpired:
        return None
