"""One pass of a mirror: what is new in a run is copied, and the checkpoints that it has deleted are deleted there.

`mirror` says when: its thread makes one pass after another.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

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
from lora_nb.training.mirror_list import LIST, MirrorList, content_path, list_project, list_run
from lora_nb.training.mirror_place import find_list, own_id

EVENTS = "events.jsonl"
EVENTS_EVERY = 60.0  # seconds between two copies of the events, when nothing else is new


class Copier:
    """Copies one run's files, and what a fresh machine needs of its project, to ROOT/PROJECT.

    on_bytes: called whenever the mirror's disk has taken or given some.
    """

    def __init__(self, project: Project, folder: Path, root: Path, on_bytes: Callable[[int], None]) -> None:
        self._project, self._folder, self._root = project, folder, root
        self._place = root / project.name
        self._target = self._place / "runs" / folder.name
        self._on_bytes = on_bytes
        self._list: MirrorList | None = None  # as it is in the mirror; None until that has been reached
        self._seen: dict[str, tuple[int, int]] = {}  # size and time of the files whose copies are as they should be
        self._is_project_copied = False
        self._events_copied = 0.0

    def pass_over(self, with_events: bool) -> None:
        """Copy all that is new, and delete the checkpoints that are gone. The events too, if asked or after a minute.

        Raises OSError if the mirror cannot be reached, MirrorTaken if another run is there.
        """
        known = self._list or self._meet()
        if not self._is_project_copied:
            self._copy_project(known)
        others, checkpoints = list_run(self._folder)
        others.pop(EVENTS, None)
        new = [name for name, path in others.items() if self._is_new(name, path)]
        of_steps = {name: path for files in checkpoints.values() for name, path in files.items()}
        new += [name for name, path in of_steps.items() if self._is_new(name, path)]
        if new or with_events or time.monotonic() - self._events_copied > EVENTS_EVERY:
            self._copy_events(known)
        for name in new:
            self._copy_file(known, name, others.get(name) or of_steps[name])
        self._follow_deletions(known, set(checkpoints))

    def forget(self) -> None:
        """Trust nothing that was copied: after a fault, the next pass looks what is really there."""
        self._list = None
        self._seen.clear()

    def list_missing(self) -> list[str]:
        """Which files of the run are not in the mirror."""
        others, checkpoints = list_run(self._folder)
        wanted = {name: path for part in (others, *checkpoints.values()) for name, path in part.items()}
        return [name for name, path in wanted.items() if self._is_new(name, path)]

    def _meet(self) -> MirrorList:
        """Look what is in the mirror already, from before it was lost, an earlier process or another machine."""
        self._root.stat()
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
            self._is_there(content_path(self._place, *entry), entry[1]) for entry in found.project.items()
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
                target = content_path(self._place, name, copy)
                if not self._is_there(target, copy):
                    copy = copy_whole(path, target, self._root, on_bytes=self._on_bytes)
                    if content_path(self._place, name, copy) != target:  # changed meanwhile
                        copy = copy_whole(target, content_path(self._place, name, copy), self._root)
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
            known.files[name] = copy_whole(path, self._target / name, self._root, size, self._on_bytes)
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
        write_copy(known.write(), self._target / LIST, self._root)
        self._on_bytes(0)

    def _is_new(self, name: str, path: Path) -> bool:
        signature = _signature(path)
        return signature is not None and self._seen.get(name) != signature


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
