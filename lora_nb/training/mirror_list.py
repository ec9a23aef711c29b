"""What is in a mirror? A list of every file of one run, by which torn, lost and changed copies are found.

MIRROR/my_lora/content/<hash>.png       the project's files (pictures, captions, settings), once each
MIRROR/my_lora/runs/run1/mirror.json    this list
MIRROR/my_lora/runs/run1/loras/...      the run's files, under their own names
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lora_nb.project import Project
from lora_nb.training.copies import Copy

FORMAT = 1
LIST = "mirror.json"


@dataclass
class MirrorList:
    """The files of one run and of its project, as they were when the list was written."""

    id: str  # of the run: another run of the same name has another one
    started: float = 0.0  # when the run was, in seconds since 1970
    project: dict[str, Copy] = field(default_factory=dict)  # by the place in the project; kept under their hash
    files: dict[str, Copy] = field(default_factory=dict)  # by the place in the run's folder
    coming: dict[str, Copy] = field(default_factory=dict)  # are about to take the place of those in `files`, or have

    def knows(self, name: str, found: Copy) -> bool:
        """Whether this may be found in the place of one of the run's files."""
        return found in (self.files.get(name), self.coming.get(name))

    def write(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False).encode()


def read_list(folder: Path) -> MirrorList | None:
    """The list of a run in a mirror, or None if there is none. Raises ValueError if it cannot be used, and OSError."""
    try:
        content = (folder / LIST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(content)
        if values.pop("format") != FORMAT:
            raise ValueError("it was written by another version")
        tables = {name: _read_table(values.pop(name)) for name in ("project", "files", "coming")}
        return MirrorList(str(values["id"]), float(values["started"]), **tables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / LIST} is damaged: {error}") from error


def content_path(place: Path, name: str, copy: Copy) -> Path:
    """Where one of the project's files lies in its mirror: two that are the same lie there once."""
    return place / "content" / f"{copy.sha256}{PurePosixPath(name).suffix.lower()}"


def list_project(project: Project) -> dict[str, Path]:
    """The files of a project that a fresh machine needs, by their place in it: all but runs, grids and the cache."""
    found = {"config.json": project.config_file} if project.config_file.exists() else {}
    places = (project.images, project.root / "regularisation", project.originals, project.history)
    for path in (path for place in places for path in sorted(_walk(place, set()))):
        if not path.name.endswith(".part"):
            found[path.relative_to(project.root).as_posix()] = path
    return found


def list_run(folder: Path) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """The files of a run by their place in it: those that tell of it, and each checkpoint's, the newest first.

    Checkpoints are looked for first: so all that they look back on is among the others.
    """
    steps = sorted((folder / "checkpoints").glob("step-*"), reverse=True)
    checkpoints = {f"checkpoints/{step.name}": _list_below(step, folder) for step in steps}
    names = ("config.json", "beginning.json", "events.jsonl")
    others = {name: folder / name for name in names if (folder / name).exists()}
    for place in ("loras", "samples"):
        others |= _list_below(folder / place, folder)
    return others, checkpoints


def _walk(place: Path, seen: set[Path]) -> Iterator[Path]:
    """All files in a folder, those in linked folders included; links that lead in a circle end."""
    if not place.is_dir() or place.resolve() in seen:
        return
    seen.add(place.resolve())
    for path in place.iterdir():
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.is_file():
            yield path


def _list_below(place: Path, folder: Path) -> dict[str, Path]:
    files = sorted(path for path in place.glob("[!.]*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


def _read_table(values: Any) -> dict[str, Copy]:
    table = {}
    for name, entry in values.items():
        place = Path(name)
        if place.is_absolute() or place.drive or ".." in place.parts:
            raise ValueError(f"{name!r} lies outside")
        table[name] = Copy(int(entry["bytes"]), str(entry["sha256"]))
        if not table[name].sha256.isalnum():
            raise ValueError(f"{name!r} has no hash")
    return table
