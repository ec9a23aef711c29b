"""Everything that a run needs to go on, on disk: written whole, checked when it is read, the last few kept."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nb.errors import Problem
from lora_nb.training.snapshots import LORA, VALUES

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """One that was checked: every byte is as it was written."""

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def step(self) -> int:
        """How many steps lie behind it."""
        return int(self.facts["step"])

    @property
    def epoch(self) -> int:
        """In which epoch it was saved; all of that epoch's steps may lie behind."""
        return int(self.facts["epoch"])

    @property
    def lora(self) -> Path:
        """The weights, as a LoRA file in full precision."""
        return self.folder / LORA


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def write_checkpoint(place: Path, step: int, files: Iterable[tuple[str, bytes]]) -> int:
    """Write a checkpoint's files and a manifest of their hashes. Returns its size in bytes.

    Into a folder of another name, flushed to the disk, and only then renamed: whatever happens meanwhile, there is
    either a whole checkpoint of this name or none.
    """
    part, folder = place / f".{checkpoint_name(step)}.part", place / checkpoint_name(step)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        manifest: dict[str, Any] = {"format": FORMAT, "files": {}}
        for name, content in files:
            _write_through(part / name, content)
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        _write_through(part / MANIFEST, json.dumps(manifest, indent=1).encode())
        _flush_folder(part)
        remove(folder)  # a damaged one
        part.rename(folder)
        _flush_folder(place)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return sum(int(entry["bytes"]) for entry in manifest["files"].values())


def list_checkpoints(place: Path) -> list[Path]:
    """The checkpoints' folders, the newest first. Whether they are whole is not looked at."""
    return sorted(place.glob("step-*"), reverse=True)


def find_checkpoint(place: Path) -> tuple[Checkpoint | None, list[Problem]]:
    """The newest checkpoint that is whole, and what is wrong with those that are newer."""
    problems: list[Problem] = []
    for folder in list_checkpoints(place):
        damage = find_damage(folder)
        if not damage:
            return Checkpoint(folder, json.loads((folder / VALUES).read_text())), problems
        problems.append(Problem(f"checkpoints/{folder.name}", damage, "It is left out.", "warning"))
    return None, problems


def find_damage(folder: Path) -> str:
    """What is wrong with a checkpoint; empty if every byte is as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return f"It was written by another version (format {manifest['format']}, not {FORMAT})."
        for name, entry in manifest["files"].items():
            content = (folder / name).read_bytes()
            if len(content) != entry["bytes"]:
                return f"{name} has {len(content)} bytes instead of {entry['bytes']}."
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                return f"{name} is damaged: some of its bytes have changed."
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing."
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"It cannot be read ({error})."
    return ""


def remove_old(place: Path, step: int, keep: int, every: int = 0) -> None:
    """Keep the last few checkpoints up to this step, and of every so many steps the first one (0: none of these).

    Later ones are damaged: the run came back from before them.
    """
    folders = [folder for folder in list_checkpoints(place) if folder.name <= checkpoint_name(step)]
    stays = {*folders[:keep], *milestones(folders, every)}
    for folder in list_checkpoints(place):
        if folder not in stays:
            remove(folder)


def milestones(folders: Iterable[Path], every: int) -> list[Path]:
    """Of every so many steps, the first checkpoint. Those of the first steps are none: little is learned in them."""
    first: dict[int, Path] = {}
    for folder in sorted(folders) if every else ():
        first.setdefault(step_of(folder) // every, folder)
    return [folder for stretch, folder in first.items() if stretch]


def step_of(folder: Path) -> int:
    """step-00000012 => 12"""
    return int(folder.name.removeprefix("step-"))


def remove_all(place: Path, every: int) -> None:
    """Once a run is finished, its checkpoints go, but for those that are kept for good."""
    stays = milestones(list_checkpoints(place), every)
    for folder in list_checkpoints(place):
        if folder not in stays:
            remove(folder)
    if not stays:
        remove(place)


def remove(folder: Path) -> None:
    """Delete a folder; it loses its name first, so that nobody finds a part of it."""
    if folder.exists():
        nameless = folder.with_name(f".{folder.name}.gone.part")
        shutil.rmtree(nameless, ignore_errors=True)
        folder.rename(nameless)
        shutil.rmtree(nameless, ignore_errors=True)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
