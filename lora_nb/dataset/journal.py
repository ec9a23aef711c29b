"""Edits that can be taken back, today or next week: each is written down before it is done.

`originals/journal.jsonl` in the project holds one line for every edit, undo and redo; reading it from the top gives the
state. Pictures are never changed twice: an edited file is made anew from its original, which is kept in `originals/`
under its name and hash, and the steps that were done to it. So a JPEG is compressed once, however often it is edited.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lora_nb.dataset.rendering import Step, render
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import write_whole
from lora_nb.locks import alone_in
from lora_nb.project import Project

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Version:
    """What a picture's file holds: an original, and what was done to it."""

    original: str  # the file in originals/
    steps: tuple[Step, ...] = ()
    sha256: str = ""  # of the file's bytes; "" if the program was stopped before it knew them


@dataclass(frozen=True)
class Write:
    """A picture whose content changes. Paths are relative to the project, with slashes."""

    path: str
    before: Version
    after: Version


@dataclass(frozen=True)
class Edit:
    """One thing that was done, and can be undone as a whole."""

    number: int
    text: str  # what was done, for people
    moves: tuple[tuple[str, str], ...] = ()  # files and folders: from, to
    writes: tuple[Write, ...] = ()


@dataclass
class History:
    """What the journal says: the edits that are in force, those that were undone, and what each edited file holds."""

    done: list[Edit] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)
    versions: dict[str, Version] = field(default_factory=dict)
    count: int = 0  # of all edits that ever were


def perform(
    project: Project,
    text: str,
    moves: Iterable[tuple[Path, Path]] = (),
    steps: Mapping[Path, Step | None] | None = None,
) -> Edit:
    """Do an edit and write it down: move files, and do one step to each of some pictures; None means its original.

    All of it happens or nothing. Raises DatasetError if something is in the way.
    """
    with alone_in(project.originals):
        return _perform(project, text, moves, steps or {})


def _perform(
    project: Project, text: str, moves: Iterable[tuple[Path, Path]], steps: Mapping[Path, Step | None]
) -> Edit:
    history = read_history(project)
    writes = tuple(_plan_write(project, path, step, history) for path, step in steps.items())
    named = tuple((relative(project, source), relative(project, target)) for source, target in moves)
    edit = Edit(history.count + 1, text, named, writes)
    _check_moves(project, edit.moves)
    _append(project, {"do": asdict(edit)})
    try:
        _apply(project, edit, forwards=True)
    except BaseException:
        _append(project, {"failed": edit.number})
        _apply(project, edit, forwards=False)
        raise
    return edit


def record(project: Project, text: str, moves: Iterable[tuple[Path, Path]]) -> Edit:
    """Write down moves that have just been made by other means: new files, which an undo puts to their `from`."""
    named = tuple((relative(project, source), relative(project, target)) for source, target in moves)
    with alone_in(project.originals):
        edit = Edit(read_history(project).count + 1, text, named)
        _append(project, {"do": asdict(edit)})
    return edit


def undo(project: Project) -> Edit:
    """Take back the last edit. Raises DatasetError if there is none, or another program has changed its files."""
    with alone_in(project.originals):
        history = read_history(project)
        if not history.done:
            raise DatasetError("Nothing can be undone.", [Problem(project.name, "No edit is in force.", "")])
        return _repeat(project, history, history.done[-1], forwards=False)


def redo(project: Project) -> Edit:
    """Do again what was undone last."""
    with alone_in(project.originals):
        history = read_history(project)
        if not history.undone:
            raise DatasetError("Nothing can be redone.", [Problem(project.name, "No edit was undone.", "")])
        return _repeat(project, history, history.undone[-1], forwards=True)


def read_history(project: Project) -> History:
    """Replay the journal."""
    history = History()
    path = project.originals / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:  # the machine stopped while it was written
            continue
        _replay(history, line)
    return history


def relative(project: Project, path: Path) -> str:
    """A path as the journal names it."""
    return path.relative_to(project.root).as_posix()


def _replay(history: History, line: dict[str, Any]) -> None:
    if "do" in line:
        edit = _parse_edit(line["do"])
        history.done.append(edit)
        history.undone.clear()
        history.count = max(history.count, edit.number)
        _follow(history, edit, forwards=True)
    elif "undo" in line or "failed" in line:
        edit = history.done.pop()
        if "undo" in line:
            history.undone.append(edit)
        _follow(history, edit, forwards=False)
    elif "redo" in line:
        edit = history.undone.pop()
        history.done.append(edit)
        _follow(history, edit, forwards=True)
    for path, sha256 in line.get("wrote", {}).items():
        history.versions[path] = replace(history.versions[path], sha256=sha256)


def _follow(history: History, edit: Edit, forwards: bool) -> None:
    """Keep account of what each file holds."""
    for source, target in edit.moves:
        old, new = (source, target) if forwards else (target, source)
        inside = [path for path in history.versions if path == old or path.startswith(f"{old}/")]
        for path in inside:
            history.versions[new + path[len(old) :]] = history.versions.pop(path)
    for write in edit.writes:
        history.versions[write.path] = write.after if forwards else write.before


def _repeat(project: Project, history: History, edit: Edit, forwards: bool) -> Edit:
    problems = [problem for write in edit.writes if (problem := _find_foreign(project, write.path, history))]
    if problems:
        raise DatasetError("It cannot be undone." if not forwards else "It cannot be redone.", problems)
    _check_moves(project, edit.moves if forwards else tuple((target, source) for source, target in edit.moves))
    _append(project, {"redo" if forwards else "undo": edit.number})
    _apply(project, edit, forwards)
    return edit


def _apply(project: Project, edit: Edit, forwards: bool) -> None:
    for source, target in edit.moves if forwards else reversed(edit.moves):
        old, new = (source, target) if forwards else (target, source)
        if (project.root / old).exists() and not (project.root / new).exists():  # else half done before, or deleted
            (project.root / new).parent.mkdir(parents=True, exist_ok=True)
            (project.root / old).rename(project.root / new)
        if not forwards:
            _remove_empty(project, (project.root / old).parent)
    wrote = {}
    for write in edit.writes:
        version = write.after if forwards else write.before
        path = project.root / write.path
        content = render(project.originals / version.original, version.steps, path.suffix)
        write_whole(path, content)
        wrote[write.path] = _hash(content)
    if wrote:
        _append(project, {"wrote": wrote})


def _remove_empty(project: Project, folder: Path) -> None:
    """Folders that an edit had made go with it: an empty 12_mochi would still count as one."""
    while folder.is_relative_to(project.root) and folder not in (project.root, project.images):
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
        folder = folder.parent


def _plan_write(project: Project, path: Path, step: Step | None, history: History) -> Write:
    """What a step makes of a picture; its original is kept before anything is changed."""
    name = relative(project, path)
    content = path.read_bytes()
    before = history.versions.get(name)
    if before is None or before.sha256 != _hash(content):  # never edited, or changed by another program since
        before = Version(_keep(project, path, content), (), _hash(content))
    after = replace(before, steps=() if step is None else (*before.steps, step), sha256="")
    return Write(name, before, after)


def _keep(project: Project, path: Path, content: bytes) -> str:
    name = f"{path.stem}.{_hash(content)[:12]}{path.suffix}"
    if not (project.originals / name).exists():
        write_whole(project.originals / name, content)
    return name


def _check_moves(project: Project, moves: Iterable[tuple[str, str]]) -> None:
    taken = [
        target for source, target in moves if (project.root / target).exists() and (project.root / source).exists()
    ]
    if taken:
        fix = "Rename or remove it first."
        problems = [Problem(name, "There is a file or folder of this name already.", fix) for name in taken]
        raise DatasetError("Nothing was changed.", problems)


def _find_foreign(project: Project, name: str, history: History) -> Problem | None:
    """Why a file cannot be written over: it is not what this program has left there."""
    path, version = project.root / name, history.versions.get(name)
    if not path.is_file():
        return Problem(name, "The file is no longer there.", "Put it back.")
    if version and version.sha256 and version.sha256 != _hash(path.read_bytes()):
        message = "Another program has changed it since."
        return Problem(name, message, f"If that was not meant, copy originals/{version.original} over it.")
    return None


def _append(project: Project, line: dict[str, Any]) -> None:
    project.originals.mkdir(parents=True, exist_ok=True)
    path = project.originals / JOURNAL
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that was cut off must not spoil the next
                file.write(b"\n")
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _parse_edit(raw: dict[str, Any]) -> Edit:
    writes = tuple(
        Write(each["path"], _parse_version(each["before"]), _parse_version(each["after"])) for each in raw["writes"]
    )
    return Edit(raw["number"], raw["text"], tuple((source, target) for source, target in raw["moves"]), writes)


def _parse_version(raw: dict[str, Any]) -> Version:
    return Version(raw["original"], tuple(raw["steps"]), raw["sha256"])


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
