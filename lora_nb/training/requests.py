"""What the outside asks of a run: requests as files in its folder, which the loop takes within a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from lora_nb.errors import TrainingError
from lora_nb.training.claims import find_holder
from lora_nb.training.events import OnEvent, TrainEvent

Request = Literal["save_now", "sample_now", "pause", "go_on", "stop"]
REQUESTS: tuple[Request, ...] = get_args(Request)  # in the order in which they are answered
OPPOSITES: dict[str, Request] = {"pause": "go_on", "go_on": "pause"}


class StopAsked(KeyboardInterrupt):
    """The run was asked to stop, and does so between two steps."""


def ask_run(folder: Path, request: Request) -> None:
    """Ask a run that is going on for something. It answers with its next step, and tells so in its events.

    "stop" saves what was learned and ends; "pause" waits until "go_on"; "save_now" and "sample_now" do what they do
    after an epoch. Raises TrainingError if nobody is there to answer.
    """
    if find_holder(folder) is None:
        raise TrainingError(f"{folder.name} is not running, so it cannot be asked to {request.replace('_', ' ')}.")
    drop_request(folder, request)


def drop_request(folder: Path, request: Request) -> None:
    """Put a request into a run's folder: an empty file, which is there or not, never half. The last word counts."""
    place = folder / "requests"
    place.mkdir(parents=True, exist_ok=True)
    if request in OPPOSITES:
        (place / OPPOSITES[request]).unlink(missing_ok=True)
    (place / request).touch()


def pending_requests(folder: Path) -> list[Request]:
    """What was asked and is not answered yet."""
    place = folder / "requests"
    found = {path.name for path in place.iterdir()} if place.is_dir() else set()
    return [request for request in REQUESTS if request in found]


def take_requests(folder: Path) -> list[Request]:
    """What was asked since the last time, for whoever answers it."""
    found = pending_requests(folder)
    for request in found:
        (folder / "requests" / request).unlink(missing_ok=True)
    return found


def unless_stopped(folder: Path, on_event: OnEvent) -> OnEvent:
    """A listener that passes events on, and ends the work that tells them when a stop was asked: raises StopAsked."""

    def listen(event: TrainEvent) -> None:
        on_event(event)
        if "stop" in pending_requests(folder):
            take_requests(folder)
            raise StopAsked

    return listen


@contextmanager
def interrupts_as_requests(folder: Path) -> Iterator[None]:
    """Within this, Ctrl-C (or the notebook's stop button) asks the run to stop after its step; twice stops it at once.

    So does the signal by which a system asks a process to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    seen: set[int] = set()

    def ask(number: int, frame: Any) -> None:
        if number in seen:
            raise KeyboardInterrupt
        seen.add(number)
        drop_request(folder, "stop")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
