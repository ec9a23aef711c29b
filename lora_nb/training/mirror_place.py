"""May copies of this run go there? What is looked at before a run starts, because nothing could be copied later."""

import secrets
import threading
from contextlib import suppress
from pathlib import Path

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem
from lora_nb.files import write_whole
from lora_nb.project import Project
from lora_nb.training.mirror_list import LIST, MirrorList, read_list

ID = "mirror_id.txt"  # in the run's own folder: by it, the run knows its copies again
ANSWERS = 20.0  # seconds within which a disk should answer
WHERE = "run.mirror"


def mirror_root(config: TrainConfig) -> Path | None:
    """The folder that copies go to, if the settings name one."""
    return Path(config.run.mirror).expanduser() if config.run.mirror else None


def check_mirror(project: Project, config: TrainConfig, run: str) -> list[Problem]:
    """What is wrong with the folder for a run that is about to start. Makes it, if the folder around it is in use."""
    root = mirror_root(config)
    if root is None:
        return []
    if not root.is_absolute():
        return [Problem(WHERE, f"{config.run.mirror!r} is not a whole path.", "Begin it with a slash (or a drive).")]
    found: list[list[Problem]] = []
    thread = threading.Thread(target=lambda: found.append(_look(project, root, run)), daemon=True)
    thread.start()
    thread.join(ANSWERS)
    if not found:
        message = f"{root} has not answered for {ANSWERS:.0f} seconds."
        return [Problem(WHERE, message, "Mount that disk anew, or leave the setting empty.")]
    return found[0]


def own_id(folder: Path) -> str:
    """The name by which a run knows its copies again, made when it is first asked for."""
    with suppress(OSError):
        if found := (folder / ID).read_text().strip():
            return found
    made = secrets.token_hex(16)
    write_whole(folder / ID, made.encode())
    return made


def find_list(target: Path, folder: Path) -> MirrorList | None:
    """The list of this run's copies, if there are any. Raises MirrorTaken if they are another run's, and OSError."""
    try:
        found = read_list(target)
    except ValueError:
        if (folder / ID).exists():
            return None  # a torn list of this run: all is copied anew
        raise MirrorTaken(_say_taken(target, folder.name)) from None
    if found is not None and (not (folder / ID).exists() or found.id != own_id(folder)):
        raise MirrorTaken(_say_taken(target, folder.name))
    return found


class MirrorTaken(Exception):
    """Another run has its copies there."""


def _look(project: Project, root: Path, run: str) -> list[Problem]:
    place = root / project.name
    if place.resolve().is_relative_to(project.root) or project.root.is_relative_to(place.resolve()):
        message = f"The project {project.root} is there itself, so copies would save nothing."
        return [Problem(WHERE, message, "Leave the setting empty, or choose a folder on another disk.")]
    try:
        if not root.is_dir():
            if root.exists() or not any(root.parent.iterdir()):
                raise FileNotFoundError
            root.mkdir()
        find_list(place / "runs" / run, project.run_folder(run))
    except FileNotFoundError:
        fix = "Mount that disk (on Colab: Drive, in the bar on the left), make the folder, or leave the setting empty."
        return [Problem(WHERE, f"There is no folder {root}.", fix)]
    except OSError as error:
        return [Problem(WHERE, f"{root} cannot be used: {error}.", "Mount it anew, or leave the setting empty.")]
    except MirrorTaken as taken:
        fix = f"Go on with that one (lora-nb restore {place}), or give this run another name."
        return [Problem(WHERE, str(taken), fix)]
    return []


def _say_taken(target: Path, run: str) -> str:
    return f"{target / LIST} belongs to another run that is called {run}, too."
