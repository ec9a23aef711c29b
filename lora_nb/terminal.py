"""What the commands share: the project's folder and changed settings as arguments, a progress bar, printed findings."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lora_nb.checkup.findings import Finding
    from lora_nb.errors import Problem

ProjectFolder = Annotated[Path, typer.Argument(help="The project's folder.")]
UNEXPLAINED = (
    "something happened that lora-nb has no explanation for. Please report it with the lines below and what this "
    "prints: lora-nb doctor --json"
)
MARKS = {"ok": "✓", "error": "✗", "warning": "!", "note": "·"}


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar in the terminal for functions that report (done, total)."""
    from tqdm.auto import tqdm

    with tqdm(unit=unit, mininterval=1.0) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def print_problems(problems: "Sequence[Problem | Finding]") -> None:
    """What was found, with the way out of each; a tick if nothing stands in the way."""
    for problem in problems:
        print(f"{MARKS[problem.severity]} {problem}")
    if not any(problem.severity == "error" for problem in problems):
        print("✓ Nothing stands in the way." if problems else "✓ Nothing to mend.")


def print_crash(error: Exception) -> None:
    """An error that nobody expected: what it means, above the traceback. Both go to stderr."""
    from lora_nb.explaining.causes import explain

    found = explain(error)
    lines = found.lines() if found else [UNEXPLAINED]
    print("lora-nb: " + "\n  ".join(lines), end="\n\n", file=sys.stderr)
    traceback.print_exception(error)


def read_change(text: str) -> tuple[str, Any]:
    """Read "run.epochs=5": the value is JSON if it can be, else text."""
    name, found, value = text.partition("=")
    if not found:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE. For example: --set run.epochs=5")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value
