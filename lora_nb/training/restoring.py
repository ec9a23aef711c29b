"""A project from its mirror: on a fresh machine, every file is checked, and its runs can go on where they were."""

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from lora_nb.config_file import change_settings, load_config, save_config
from lora_nb.errors import ConfigError, Problem, ProjectError
from lora_nb.files import write_whole
from lora_nb.project import Project, open_project
from lora_nb.training.checkpoints import find_damage, list_checkpoints, remove
from lora_nb.training.copies import Copy, SourceGone, TornCopy, copy_whole
from lora_nb.training.mirror_list import LIST, MirrorList, content_path, read_list
from lora_nb.training.mirror_place import ID

LOST = (errno.ENOTCONN, errno.ESTALE)  # not this file alone, but all of the disk
TRIES, PAUSE = 3, 1.0  # for a file that cannot be read; seconds between


def restore_project(mirror: str | Path, folder: str | Path) -> tuple[Project, list[Problem]]:
    """Make a project folder of what its mirror holds: settings, pictures, captions, and all runs with their LoRAs.

    mirror: the folder that bears the project's name inside that of run.mirror. Every file is compared with what the
    mirror's lists say; what is damaged is left out and named in the problems. There is a whole project afterwards, or,
    with a ProjectError, none. Then its last run can go on: launching.continue_run, or lora-nb continue.
    """
    place, target = Path(mirror).expanduser().resolve(), Path(folder).expanduser().resolve()
    _refuse_full(target, place)
    lists, problems = _read_lists(place)
    part = target.with_name(f".{target.name}.restored.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        newest = lists[-1][1]
        part.mkdir(parents=True)
        for name, copy in newest.project.items():
            problems += _take(content_path(place, name, copy), part / name, name, part, [copy])
        for run, listed in lists:
            problems += _restore_run(place / "runs" / run, part / "runs" / run, listed, part)
        _point_to(part, place.parent)
        if target.exists():
            shutil.rmtree(target)  # nothing but empty folders, as open_project makes them
        part.rename(target)
    except OSError as error:
        raise ProjectError(f"{place} could not be restored: {error}. Mount or make room, and try again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_project(target), problems


def _refuse_full(target: Path, place: Path) -> None:
    if target.is_file() or (target.is_dir() and any(path.is_file() for path in target.rglob("*"))):
        raise ProjectError(f"{target} is not empty. Choose another folder for what comes from {place}.")


def _read_lists(place: Path) -> tuple[list[tuple[str, MirrorList]], list[Problem]]:
    """The lists of all runs in a mirror, in the order in which those were started."""
    found, problems = [], []
    for path in sorted(place.glob(f"runs/*/{LIST}")):
        run = path.parent.name
        try:
            listed = read_list(path.parent)
        except (ValueError, OSError) as error:
            problems.append(Problem(run, f"{error}.", "The run is left out; its LoRAs can be copied by hand."))
            continue
        if listed is not None:
            found.append((run, listed))
    if not found:
        inside = sorted(path.parents[2].name for path in place.glob(f"*/runs/*/{LIST}"))
        others = f" It holds those of {', '.join(dict.fromkeys(inside))}: name one of them." if inside else ""
        raise ProjectError(
            "\n".join(
                [f"{place} holds no copies that can be used.{others}", *(f"  - {problem}" for problem in problems)]
            )
        )
    return sorted(found, key=lambda pair: pair[1].started), problems


def _restore_run(source: Path, folder: Path, listed: MirrorList, root: Path) -> list[Problem]:
    """Bring back one run. Damaged events are taken as they are: their reader leaves out what it cannot read."""
    problems = []
    for name in {**listed.files, **listed.coming}:
        expected = [table[name] for table in (listed.coming, listed.files) if name in table]
        where = f"{folder.name}/{name}"
        problems += _take(source / name, folder / name, where, root, expected, keep=name == "events.jsonl")
    for checkpoint in list_checkpoints(folder / "checkpoints"):
        if find_damage(checkpoint):  # one of its files was left out, which is said above
            remove(checkpoint)
    if (folder / "config.json").exists():
        os.utime(folder / "config.json", (listed.started, listed.started))  # by this, the last run is found
    write_whole(folder / ID, listed.id.encode())
    return problems


def _take(
    source: Path, target: Path, where: str, root: Path, expected: list[Copy], keep: bool = False
) -> list[Problem]:
    """Copy a file from the mirror, and say what is wrong with it. One that is wrong is not kept, unless told so."""
    for left in reversed(range(TRIES)):
        try:
            found = copy_whole(source, target, root)
            break
        except (SourceGone, TornCopy) as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return [Problem(where, "It is not in the mirror any more.", "It is left out.", "warning")]
            if not left and isinstance(error.__cause__, OSError) and error.__cause__.errno in LOST:
                raise error.__cause__ from None
            if not left:
                return [Problem(where, f"It cannot be read: {error}.", "It is left out.", "warning")]
            time.sleep(PAUSE)
    if found in expected:
        return []
    if keep:
        return [Problem(where, "It is damaged.", "What can be read of it is used.", "warning")]
    target.unlink()
    return [Problem(where, "It is damaged: some of its bytes have changed.", "It is left out.", "warning")]


def _point_to(root: Path, mirror: Path) -> None:
    """Let the copies go on to where these came from, though that may be called otherwise on this machine."""
    for path in [root / "config.json", *root.glob("runs/*/config.json")]:
        with suppress(ConfigError):  # not there, or of another version: whoever opens it is told so
            config = load_config(path)
            if config.run.mirror and config.run.mirror != str(mirror):
                times = path.stat().st_mtime
                save_config(change_settings(config, {"run.mirror": str(mirror)}), path)
                os.utime(path, (times, times))
