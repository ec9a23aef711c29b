"""Why is a run's process gone without a word? From what it left behind, and what the system still knows."""

import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from lora_nb.explaining.causes import Explanation, explain_log
from lora_nb.training.children import exit_code
from lora_nb.training.claims import Holder, read_holder
from lora_nb.training.memory_watch import MemoryLook, last_look

GIB = 2**30
MEMORY_FIX = (
    "Close other programs and notebooks, which keep their memory until their kernel is shut down; then continue the "
    "run: it goes on from its last checkpoint. If it happens again, `lora-nb plan` says how much memory these settings "
    "need, and the cheapest change if that is too much."
)
MEMORY_SETTINGS = ("run.batch_size", "run.quantization", "data.resolution")
GO_ON = "Continue the run: it goes on from its last checkpoint."


@dataclass(frozen=True)
class Vanishing:
    """How a process ended that did not say so itself."""

    said: str  # what is known for sure
    explanation: Explanation


def explain_vanishing(folder: Path, log: str) -> Vanishing:
    """Why the process that worked on this run is gone. log: the last lines that it has printed."""
    holder, look = read_holder(folder), last_look(folder)
    if holder is not None and look is not None and look.pid != holder.pid:
        look = None  # of an earlier process
    code = exit_code(holder.pid) if holder else None
    said = f"The process ended without a word{_say_code(code)}."
    return Vanishing(said, _explain(holder, look, code, log))


def _explain(holder: Holder | None, look: MemoryLook | None, code: int | None, log: str) -> Explanation:
    if holder is not None and not holder.is_here:
        happened = f"It ran on another machine, {holder.host}, which is not heard of any more: its session has ended."
        return Explanation("machine-gone", happened, GO_ON)
    if holder is not None and holder.started < psutil.boot_time():
        return Explanation("restarted", "This machine was restarted or switched off meanwhile.", GO_ON)
    if look is not None and look.has_killed:
        happened = "The system has killed a process because main memory ran out, and most likely it was this one."
        return _memory("killed-for-memory", f"{happened} {_say_look(look)}")
    if look is not None and look.was_full:
        happened = "Most likely the system has killed it because main memory ran out."
        return _memory("killed-for-memory", f"{happened} {_say_look(look)}")
    if found := explain_log(log):
        return found
    if code is not None and code not in (-signal.SIGKILL, 0):
        happened = "It crashed inside a library, or was told to end." if code < 0 else "It ended with an error."
        return Explanation("crashed", f"{happened} Its last lines are below.", GO_ON)
    if look is not None:
        happened = f"Somebody or something has killed it. Memory was hardly the reason: {_say_look(look)}"
        return Explanation("killed", happened, GO_ON)
    happened = "The system has killed it, most often because main memory ran out; or the machine was switched off."
    return _memory("killed", happened)


def _memory(cause: str, happened: str) -> Explanation:
    return Explanation(cause, happened, MEMORY_FIX, MEMORY_SETTINGS)


def _say_look(look: MemoryLook) -> str:
    free, total = look.free / GIB, look.total / GIB
    return f"When last seen, it took {look.taken / GIB:.1f} GiB, and {free:.1f} of {total:.1f} GiB were free."


def _say_code(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f" (exit code {code})"
    try:
        return f" (killed by signal {-code}, {signal.Signals(-code).name})"
    except ValueError:
        return f" (killed by signal {-code})"
