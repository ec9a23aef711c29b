"""Copies of a run in another folder, such as Google Drive, made while it trains: so that no lost machine loses it.

A thread of its own copies what is finished: the training never waits for a slow or a lost disk. `restoring` makes a
project again of what is there, on another machine.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem
from lora_nb.project import Project
from lora_nb.training.copies import (
    Copy,
    SourceGone,
    copy_whole,
    measure_file,
    remove_copies,
    sweep_parts,
    write_copy,
)
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
from lora_nb.training.mirror_list import LIST, MirrorList, content_path, list_project, list_run
from lora_nb.training.mirror_place import MirrorTaken, find_list, mirror_root, own_id

EVENTS = "events.jsonl"
EVENTS_EVERY = 60.0  # seconds between two copies of the events, when nothing else is new
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
    """Copies one run's files, and what a fresh machine needs of its project, to MIRROR/PROJECT."""

    def __init__(self, project: Project, folder: Path, root: Path) -> None:
        self.root = root
        self.place = root / project.name
        self._project, self._folder = project, folder
        self._target = self.place / "runs" / folder.name
        self._list: MirrorList | None = None  # as it is in the mirror; None until that has been reached
        self._seen: dict[str, tuple[int, int]] = {}  # size and time of the files whose copies are as they should be
        self._is_project_copied = False
        self._events_copied = 0.0
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
        others, checkpoints = list_run(self._folder)
        wanted = {name: path for part in (others, *checkpoints.values()) for name, path in part.items()}
        missing = [name for name, path in wanted.items() if self._is_new(name, path)]
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
                self._pass_over()
                self._answered, self._error, pause = asked, "", FIRST_PAUSE
            except OSError as error:
                self._error, self._list = str(error), None  # what was copied last may be lost, too: it is looked at
                self._seen.clear()
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

    def _pass_over(self) -> None:
        """Copy all that is new, and delete the checkpoints that are gone."""
        known = self._list or self._meet()
        if not self._is_project_copied:
            self._copy_project(known)
        others, checkpoints = list_run(self._folder)
        others.pop(EVENTS, None)
        new = [name for name, path in others.items() if self._is_new(name, path)]
        of_steps = {name: path for files in checkpoints.values() for name, path in files.items()}
        new += [name for name, path in of_steps.items() if self._is_new(name, path)]
        if new or self._asked > self._answered or time.monotonic() - self._events_copied > EVENTS_EVERY:
            self._copy_events(known)
        for name in new:
            self._copy_file(known, name, others.get(name) or of_steps[name])
        self._follow_deletions(known, set(checkpoints))

    def _meet(self) -> MirrorList:
        """Look what is in the mirror already, from before it was lost, an earlier process or another machine."""
        self.root.stat()
        found = find_list(self._target, self._folder)
        if found is None:
            started = (self._folder / "config.json").stat().st_mtime
            found = MirrorList(own_id(self._folder), started)
        for name, copy in found.coming.items():
            with suppress(SourceGone):
                if measure_file(self._target / name, on_bytes=self._on_bytes) == copy:
                    found.files[name] = copy
        found.coming.clear()
        sweep_parts(self._target)
        self._is_project_copied &= all(
            self._is_there(content_path(self.place, *entry), entry[1]) for entry in found.project.items()
        )
        others, checkpoints = list_run(self._folder)
        for name, path in [pair for part in (others, *checkpoints.values()) for pair in part.items()]:
            self._recognise(found, name, path)
        self._list = found
        return found

    def _recognise(self, known: MirrorList, name: str, path: Path) -> None:
        """Remember a file whose copy is there already."""
        signature, copy = _signature(path), known.files.get(name)
        if name == EVENTS or signature is None or copy is None or signature[0] != copy.bytes:
            return
        with suppress(SourceGone):
            if self._is_there(self._target / name, copy) and measure_file(path) == copy:
                self._seen[name] = signature

    @staticmethod
    def _is_there(target: Path, copy: Copy) -> bool:
        return target.exists() and target.stat().st_size == copy.bytes

    def _copy_project(self, known: MirrorList) -> None:
        """Copy what the run was started with; what is edited later belongs to a later run."""
        found = {}
        for name, path in list_project(self._project).items():
            with suppress(SourceGone):
                copy = measure_file(path)
                target = content_path(self.place, name, copy)
                if not self._is_there(target, copy):
                    copy = copy_whole(path, target, self.root, on_bytes=self._on_bytes)
                    if content_path(self.place, name, copy) != target:  # changed meanwhile
                        copy = copy_whole(target, content_path(self.place, name, copy), self.root)
                        target.unlink()
                found[name] = copy
        if found != known.project:
            known.project = found
            self._write(known)
        self._is_project_copied = True

    def _copy_events(self, known: MirrorList) -> None:
        """Copy the events up to the last whole line."""
        path = self._folder / EVENTS
        if path.exists():
            self._copy_file(known, EVENTS, path, path.read_bytes().rfind(b"\n") + 1)
            self._events_copied = time.monotonic()

    def _copy_file(self, known: MirrorList, name: str, path: Path, size: int | None = None) -> None:
        """Copy a file, and then say in the list that it is there.

        One that takes another one's place is announced first: so the list is true at any moment.
        """
        signature = _signature(path)
        with suppress(SourceGone):
            if name in known.files:
                known.coming[name] = measure_file(path, size)
                self._write(known)
            known.files[name] = copy_whole(path, self._target / name, self.root, size, self._on_bytes)
            known.coming.clear()
            self._write(known)
            if signature is not None:
                self._seen[name] = signature

    def _follow_deletions(self, known: MirrorList, steps: set[str]) -> None:
        """Delete the checkpoints that the run has deleted. Other files stay, whoever deletes the run's own."""
        if not (self._folder / "config.json").exists():
            return
        gone = [name for name in known.files if name.startswith("checkpoints/") and _step_of(name) not in steps]
        for name in gone:
            del known.files[name]
            self._seen.pop(name, None)
        if gone:
            self._write(known)
        for place in (self._target / "checkpoints").glob("step-*"):
            if f"checkpoints/{place.name}" not in steps:
                remove_copies(place)

    def _write(self, known: MirrorList) -> None:
        write_copy(known.write(), self._target / LIST, self.root)
        self._on_bytes(0)

    def _is_new(self, name: str, path: Path) -> bool:
        signature = _signature(path)
        return signature is not None and self._seen.get(name) != signature

    def _on_bytes(self, count: int) -> None:
        self._moved = time.monotonic()


def _signature(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, by which a change is seen; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _step_of(name: str) -> str:
    """Of which checkpoint a file is: checkpoints/step-00000012."""
    return "/".join(name.split("/")[:2])


def _as_event(problem: Problem) -> ProblemFound:
    return ProblemFound(problem.where, problem.message, problem.fix, problem.severity)
