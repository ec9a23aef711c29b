"""Copies of a run in another folder, such as Google Drive, made while it trains: so that no lost machine loses it.

A thread of its own copies what is finished: the training never waits for a slow or a lost disk. `restoring` makes a
project again of what is there, on another machine.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem
from lora_nb.project import Project
from lora_nb.training.events import (
    CheckpointSaved,
    ImageSampled,
    LoraSaved,
    OnEvent,
    ProblemFound,
    RunContinued,
    RunFinished,
    RunStarted,
    TrainEvent,
)
from lora_nb.training.mirror_pass import EVENTS_EVERY, Copier
from lora_nb.training.mirror_place import MirrorTaken, mirror_root

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a lost mirror is tried again; doubled each time
HANGS = 120.0  # seconds without a byte after which a mirror counts as lost
PATIENCE = 30.0  # seconds without a byte for which the end of a run waits
PATIENCE_AFTER_ERROR = 5.0
LONGEST_WAIT = 900.0  # seconds for which it waits at all


@contextmanager
def mirrored(project: Project, folder: Path, config: TrainConfig, is_first: bool) -> Iterator["Mirror | None"]:
    """Have a run copied while this lasts, if its settings say where to. At its end, what is left is waited for.

    is_first: of several processes, only the first one copies.
    """
    root = mirror_root(config)
    if root is None or not is_first:
        yield None
        return
    mirror = Mirror(project, folder, root)
    try:
        yield mirror
    except BaseException:
        mirror.close(PATIENCE_AFTER_ERROR)
        raise
    if not mirror.close():
        for problem in mirror.say_missing():
            print(problem)


class Mirror:
    """Has one run copied, with what a fresh machine needs of its project, to MIRROR/PROJECT."""

    def __init__(self, project: Project, folder: Path, root: Path) -> None:
        self.root = root
        self.place = root / project.name
        self._folder = folder
        self._copier = Copier(project, folder, root, self._on_bytes)
        self._thread: threading.Thread | None = None
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._is_ending = False
        self._asked, self._answered = 0, 0  # passes over all files: wanted, and done without an error
        self._moved = time.monotonic()  # when the mirror took or gave its last byte
        self._busy_since: float | None = None  # when the pass that is being made was begun
        self._error = ""  # why the mirror cannot be reached
        self._end = ""  # why it is given up
        self._told = False  # whether the user knows that it is lost

    # What the training calls: nothing here waits for the mirror's disk, but for `catch_up`.

    def beside(self, on_event: OnEvent) -> OnEvent:
        """A listener that passes events on, copies what they tell of, and tells how the mirror stands."""

        def listen(event: TrainEvent) -> None:
            if isinstance(event, RunFinished):
                done = self.catch_up()
                for problem in [*self.take_news(), *([] if done else self.say_missing())]:
                    on_event(_as_event(problem))
            on_event(event)
            if isinstance(event, RunStarted | RunContinued):
                self.start()
            if isinstance(event, LoraSaved | CheckpointSaved | ImageSampled) and not self._error:
                self._wake.set()
            for problem in self.take_news():
                on_event(_as_event(problem))

        return listen

    def start(self) -> None:
        """Begin to copy, if that has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()

    def catch_up(self, patience: float | None = None) -> bool:
        """Wait until all is copied, but not for a mirror that stands still. Returns whether it is."""
        if self._thread is None:
            return True
        patience = PATIENCE if patience is None else patience
        self._asked += 1
        asked, began = self._asked, time.monotonic()
        self._hurry.set()
        self._wake.set()
        while self._answered < asked and not self._end:
            now = time.monotonic()
            if now - max(self._moved, began) > patience or now - began > LONGEST_WAIT:
                return False
            time.sleep(0.05)
        return not self._end

    def close(self, patience: float | None = None) -> bool:
        """Copy what is left, and end. A thread that its disk does not let go is left behind."""
        done = self.catch_up(patience)
        self._is_ending = True
        self._wake.set()
        if self._thread and done:
            self._thread.join(5.0)
        return done

    def take_news(self) -> list[Problem]:
        """What the user should hear: once when the mirror is lost, once when it is back."""
        hangs = self._busy_since is not None and time.monotonic() - max(self._moved, self._busy_since) > HANGS
        trouble = self._end or self._error or ("It does not answer." if hangs else "")
        if bool(trouble) == self._told:
            return []
        self._told = bool(trouble)
        if self._end:
            return [Problem("run.mirror", self._end, "The run goes on without copies.", "warning")]
        if trouble:
            message = f"{self.root} is lost: {trouble}"
            fix = "It is tried again and again, and the run goes on. On Colab, mount Drive again."
            return [Problem("run.mirror", message, fix, "warning")]
        return [Problem("run.mirror", f"{self.root} is back, and what it had missed is copied.", "", "note")]

    def say_missing(self) -> list[Problem]:
        """Which files of the run are not in the mirror."""
        if self._thread is None:
            return []
        missing = self._copier.list_missing()
        if not missing:
            return []
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        fix = f"They are in {self._folder}: copy them by hand before this machine goes."
        return [Problem("run.mirror", f"Not copied to {self.root} yet: {some}.", fix, "warning")]

    # What the thread does.

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._is_ending:
            asked = self._asked
            try:
                self._busy_since = time.monotonic()
                self._copier.pass_over(with_events=asked > self._answered)
                self._answered, self._error, pause = asked, "", FIRST_PAUSE
            except OSError as error:
                self._error = str(error)
                self._copier.forget()  # what was copied last may be lost, too
            except Exception as error:  # nothing here may end the training
                self._end = str(error) if isinstance(error, MirrorTaken) else f"{type(error).__name__}: {error}"
                return
            finally:
                self._busy_since = None
            if self._error:  # no new file makes it hurry, only the run's end
                time.sleep(FIRST_PAUSE) if self._hurry.wait(pause) else None
                pause = min(2 * pause, LONGEST_PAUSE)
            elif self._asked == self._answered:
                self._wake.wait(EVENTS_EVERY)
            self._wake.clear()

    def _on_bytes(self, count: int) -> None:
        self._moved = time.monotonic()


def _as_event(problem: Problem) -> ProblemFound:
    return ProblemFound(problem.where, problem.message, problem.fix, problem.severity)
