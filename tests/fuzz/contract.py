"""What bad input may lead to, stated once: a right result, or an error that says in words what is wrong and what to do.

Never another exception, never a changed or lost file, never a hang, never more memory than the input deserves. Chance
draws the cases. Its seed is printed; `FUZZ_SEED=123 pytest tests/fuzz` draws other ones.
"""

import hashlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nb.errors import LoraNbError, Problem, ProblemsError

SEED = int(os.environ.get("FUZZ_SEED", 1))
SECONDS = 10  # that one case may take
MOST_MEMORY = 1 << 30  # bytes that one case may take
LONGEST_ERROR = 12_000  # characters that somebody may have to read

Case = Callable[[random.Random, Path], Any]  # chance and an empty folder => "result" or "error", or what is counted


class Hang(BaseException):
    """A case that took too long. No handler of the package catches it."""


@dataclass(frozen=True)
class Outcome:
    """What came of bad input."""

    result: Any = None
    error: LoraNbError | None = None

    @property
    def word(self) -> str:
        return "error" if self.error else "result"


def run_cases(kind: str, count: int, case: Case, folder: Path) -> None:
    """Draw so many cases and try each in a folder of its own. A failure names the seed and the case."""
    started, outcomes, slowest = time.monotonic(), Counter[str](), 0.0
    print(f"fuzz {kind}: seed {SEED}")
    for number in only_or_all(count):
        place = folder / f"{kind}{number}"
        place.mkdir(parents=True)
        begun = time.monotonic()
        try:
            outcomes[str(case(random.Random(f"{SEED}/{kind}/{number}"), place))] += 1
        except BaseException as error:
            error.add_note(f"Case {number} of {kind}, seed {SEED}: FUZZ_SEED={SEED} FUZZ_CASE={number}")
            raise
        slowest = max(slowest, time.monotonic() - begun)
        shutil.rmtree(place, ignore_errors=True)
    seconds = time.monotonic() - started
    print(f"fuzz {kind}: {count} cases in {seconds:.1f} s, the slowest {slowest:.2f} s: {dict(outcomes)}")


def only_or_all(count: int) -> Iterator[int]:
    only = os.environ.get("FUZZ_CASE")
    yield from [int(only)] if only else range(count)


def attempt(action: Callable[[], Any], *, names: str = "", untouched: Path | None = None) -> Outcome:
    """Do something with bad input, and see to it that the contract holds.

    names: what an error must name, the file or the value. untouched: a folder in which nothing may change.
    """
    before = contents_of(untouched) if untouched else {}
    with time_limit(), memory_limit():
        try:
            outcome = Outcome(action())
        except LoraNbError as error:
            outcome = Outcome(error=error)
    if outcome.error:
        check_error(outcome.error, names)
    if untouched:
        assert contents_of(untouched) == before, "files have changed"
    return outcome


def check_error(error: LoraNbError, names: str = "") -> None:
    """It names the place and the value, can be printed everywhere, and says what to do."""
    text = str(error)
    text.encode()
    assert len(text) <= LONGEST_ERROR, f"{len(text)} characters: {text[:300]}"
    assert names in text, f"{names!r} is not named: {text[:300]}"
    if isinstance(error, ProblemsError):
        assert error.problems
        for problem in error.problems:
            check_problem(problem)
    else:
        assert text.rstrip().endswith((".", ")")) or ": " in text, f"no way out: {text[:300]}"


def check_problem(problem: Problem) -> None:
    str(problem).encode()
    assert problem.where and problem.message, problem
    assert problem.fix or problem.severity == "note", f"no way out: {problem}"
    assert len(str(problem)) <= LONGEST_ERROR


def contents_of(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash; what is no file, with its kind."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(place, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found[path] = "no file"
    return found


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise Hang in whatever takes longer, again and again until it has ended."""

    def stop(number: int, frame: Any) -> None:
        raise Hang(f"It has not ended after {seconds} s.")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(most: int = MOST_MEMORY) -> Iterator[None]:
    """Fail if the process grows by more than this meanwhile, even if it shrinks again."""
    forget_peak()
    before = memory_of("VmRSS")
    yield
    grown = memory_of("VmHWM") - before
    assert grown <= most, f"It took {grown / 2**20:.0f} MiB."


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory_of(what: str) -> int:
    """In bytes: VmRSS is what the process has now, VmHWM the most that it had since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) << 10
