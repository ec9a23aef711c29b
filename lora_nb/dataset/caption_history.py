"""How are edits of many captions undone? By a journal on disk, which a dead kernel does not forget.

One line of JSON an event: {"do": 3, "label": ..., "changes": [[file, before, after], ...]}, {"undo": 3}, {"redo": 3}.
An edit is written down before it is made, so that one that was cut half-way can be undone, too.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_nb.dataset.tags import CaptionChange, says, write_changes
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import write_whole
from lora_nb.locks import alone_in
from lora_nb.project import Project

REMEMBERED = 50  # edits; older ones are forgotten, and the journal stays small


@dataclass
class Action:
    """One edit of many captions, as the user knows it."""

    number: int
    label: str
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)  # file => before, after


@dataclass(frozen=True)
class Step:
    """What one undo or redo did."""

    label: str
    changed: tuple[CaptionChange, ...]
    left: tuple[Path, ...]  # files that were edited since: they were not touched


def open_history(project: Project) -> "CaptionHistory":
    """The edits of a project's captions, by whatever program or page they were made."""
    return CaptionHistory(project.images, project.history / "captions.jsonl")


class CaptionHistory:
    """The edits that can be undone, and those that can be made again."""

    def __init__(self, root: Path, file: Path) -> None:
        """root: the folder of pictures; file: the journal, which is made when it is needed."""
        self.root, self.file = root, file

    def apply(self, label: str, changes: Iterable[CaptionChange], number: int | None = None) -> int:
        """Make the changes that a dry run returned, so that they can be undone. Returns the edit's number.

        number: of an edit that these changes belong to, if they come in slices; it must be the last one. A caption that
        was edited since the dry run is left as it is.
        """
        with alone_in(self.root):
            found = [change for change in changes if says(change.path) == change.before]
            done, undone = self._read()
            if number is None or not done or done[-1].number != number:
                number = 1 + max((action.number for action in [*done, *undone]), default=0)
            if found:
                rows = [[self._name(change.path), change.before, change.after] for change in found]
                self._append({"do": number, "label": label, "changes": rows}, len(done))
                write_changes(found)
            return number

    def undo(self) -> Step:
        """Take the last edit back. A caption that was edited since is left as it is, and named."""
        with alone_in(self.root):
            done, _ = self._read()
            if not done:
                raise DatasetError("Nothing was undone.", [Problem("undo", "There is no edit to undo.", "", "note")])
            self._append({"undo": done[-1].number}, 0)
            return self._move(done[-1], {name: (after, before) for name, (before, after) in done[-1].changes.items()})

    def redo(self) -> Step:
        """Make the edit again that was undone last."""
        with alone_in(self.root):
            _, undone = self._read()
            if not undone:
                raise DatasetError("Nothing was redone.", [Problem("redo", "There is no undone edit.", "", "note")])
            self._append({"redo": undone[-1].number}, 0)
            return self._move(undone[-1], undone[-1].changes)

    def next_undo(self) -> str:
        """What undo would take back, in words; "" if there is nothing."""
        done, _ = self._read()
        return done[-1].label if done else ""

    def next_redo(self) -> str:
        """What redo would make again, in words; "" if there is nothing."""
        _, undone = self._read()
        return undone[-1].label if undone else ""

    def is_last(self, number: int) -> bool:
        """Whether this edit is the one that undo would take back."""
        done, _ = self._read()
        return bool(done) and done[-1].number == number

    def _move(self, action: Action, changes: dict[str, tuple[str, str]]) -> Step:
        wanted, left = [], []
        for name, (before, after) in changes.items():
            path = self._path(name)
            now = says(path)
            if now == before and path.parent.is_dir():
                wanted.append(CaptionChange(path, before, after))
            elif now != after:
                left.append(path)
        changed = write_changes(wanted)
        left += [change.path for change in wanted if change not in changed]
        return Step(action.label, tuple(changed), tuple(left))

    def _read(self) -> tuple[list[Action], list[Action]]:
        """Play the journal: the edits that are done, and those that are undone, the last one at the end of each."""
        done: list[Action] = []
        undone: list[Action] = []
        for event in self._events():
            if "do" in event:
                if not (done and done[-1].number == event["do"]):
                    done.append(Action(event["do"], event["label"]))
                    undone.clear()
                for name, before, after in event["changes"]:
                    first, _ = done[-1].changes.get(name, (before, after))
                    done[-1].changes[name] = (first, after)
            elif "undo" in event and done and done[-1].number == event["undo"]:
                undone.append(done.pop())
            elif "redo" in event and undone and undone[-1].number == event["redo"]:
                done.append(undone.pop())
        return done, undone

    def _events(self) -> list[dict[str, Any]]:
        events = []
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line of a process that was killed while it wrote: nothing was done yet
            events += [event] if isinstance(event, dict) else []
        return events

    def _append(self, event: dict[str, Any], done: int) -> None:
        line = json.dumps(event, ensure_ascii=False).encode()
        if done >= 2 * REMEMBERED:
            kept = self._read()[0][-REMEMBERED:]
            rows = [
                {
                    "do": each.number,
                    "label": each.label,
                    "changes": [[name, *both] for name, both in each.changes.items()],
                }
                for each in kept
            ]
            write_whole(self.file, b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            file.write(b"\n" + line + b"\n")  # the first break ends a line that was cut
            file.flush()
            os.fsync(file.fileno())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _path(self, name: str) -> Path:
        path = self.root / name
        if path.suffix != ".txt" or not path.resolve().is_relative_to(self.root.resolve()):
            fix = "Delete the journal; the captions themselves are not affected."
            raise DatasetError("Nothing was undone.", [Problem(str(self.file), f"It names {name!r}.", fix)])
        return path
