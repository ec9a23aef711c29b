"""How does a run stand, and what is new? Read from its folder alone, by anybody, at any time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lora_nb.explaining.causes import Explanation, explain_failure
from lora_nb.project import Project
from lora_nb.training.claims import find_holder
from lora_nb.training.event_log import EventReader
from lora_nb.training.events import (
    CheckpointSaved,
    OnEvent,
    Preparing,
    RunContinued,
    RunFailed,
    RunFinished,
    RunPaused,
    RunStarted,
    StepDone,
    TrainEvent,
)
from lora_nb.training.requests import Request, ask_run, pending_requests
from lora_nb.training.vanished import Vanishing, explain_vanishing

Standing = Literal["starting", "running", "paused", "stopped", "finished", "crashed"]
ALIVE = ("starting", "running", "paused")
LINES_OF_LOG = 20


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    run: str  # its name
    state: Standing
    pid: int | None = None  # of the process that works on it
    step: int = 0
    steps: int = 0  # 0: not known yet
    epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0  # that it has trained, up to the last step
    preparing: Preparing | None = None  # what is being done before the first step
    checkpoint: CheckpointSaved | None = None  # the last one: its step, and its size
    error: str = ""  # why it crashed, as the error says it
    traceback: str = ""
    explanation: Explanation | None = None  # the same in plain words, with a way out; our own errors need none
    vanished: bool = False  # its process ended without a word
    pending: list[Request] = field(default_factory=list)  # what it was asked and has not answered yet

    @property
    def is_alive(self) -> bool:
        """Whether a process works on it, which answers requests."""
        return self.state in ALIVE


@dataclass(frozen=True)
class News:
    """What a look at a run brings."""

    state: RunState
    events: list[TrainEvent]  # since the last look
    from_start: bool  # these are all events there are: forget what was told before


class RunWatcher:
    """Follows a run: `look()` says how it stands and what is new. Cheap: only what is new is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = EventReader(folder / "events.jsonl")
        self._known = RunState(folder.name, "starting")  # as far as the events tell
        self._end: Vanishing | None = None  # how its process went, if it is gone

    def look(self) -> News:
        """How it stands, and the events since the last look."""
        holder = find_holder(self.folder)  # before the events: so a run's last words are never missed
        events = self._reader.read()
        if self._reader.from_start:
            self._known = RunState(self.folder.name, "starting")
        for event in events:
            self._known = _after(self._known, event)
        known = replace(self._known, pid=holder.pid if holder else None, pending=pending_requests(self.folder))
        if holder is not None:
            self._end = None
        elif known.is_alive:
            known = self._crashed(known)
        return News(known, events, self._reader.from_start)

    def _crashed(self, known: RunState) -> RunState:
        """Why its process is gone, found out once: memory that is full now says nothing of then."""
        log = _end_of_log(self.folder)
        end = self._end = self._end or explain_vanishing(self.folder, log)
        why = end.explanation
        return replace(known, state="crashed", error=end.said, traceback=log, explanation=why, vanished=True)


def run_state(folder: Path) -> RunState:
    """How a run stands now."""
    return RunWatcher(folder).look().state


def list_runs(project: Project) -> list[RunState]:
    """All runs of a project, in the order in which they were started."""
    return [run_state(folder) for folder in project.run_folders()]


def follow_run(folder: Path, on_event: OnEvent, every: float = 0.5) -> RunState:
    """Pass a run's events on as they come, until it has ended. Interrupting it asks the run to stop."""
    watcher = RunWatcher(folder)
    while True:
        try:
            for news in _looks(watcher, every):
                for event in news.events:
                    on_event(event)
                if not news.state.is_alive:
                    return news.state
        except KeyboardInterrupt:
            if run_state(folder).is_alive:
                ask_run(folder, "stop")


def _looks(watcher: RunWatcher, every: float) -> Iterator[News]:
    while True:
        yield watcher.look()
        time.sleep(every)


def _after(known: RunState, event: TrainEvent) -> RunState:
    """How a run stands after this event, as far as is known from those before it."""
    if isinstance(event, Preparing):
        return replace(known, state="starting", preparing=event, error="", traceback="", explanation=None)
    if isinstance(event, RunStarted):
        return replace(known, state="running", preparing=None, steps=event.steps, epochs=event.epochs)
    if isinstance(event, RunContinued):
        return replace(known, state="running", preparing=None, step=event.step, epoch=event.epoch)
    if isinstance(event, StepDone):
        return replace(known, step=event.step, epoch=event.epoch, seconds=event.seconds)
    if isinstance(event, CheckpointSaved):
        return replace(known, checkpoint=event)
    if isinstance(event, RunPaused):
        return replace(known, state="paused")
    if isinstance(event, RunFailed):
        explanation = explain_failure(event.error, event.message, event.traceback)
        error = event.message or event.error
        return replace(known, state="crashed", error=error, traceback=event.traceback, explanation=explanation)
    if isinstance(event, RunFinished):
        return replace(known, state="finished" if event.outcome == "finished" else "stopped", preparing=None)
    return known


def _end_of_log(folder: Path) -> str:
    """The last lines that the process has printed."""
    try:
        text = (folder / "log.txt").read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-LINES_OF_LOG:])
