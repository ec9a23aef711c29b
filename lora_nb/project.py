"""Where do files go? The project folder, the only thing that notebooks, processes and days share."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings, load_config, save_config
from lora_nb.errors import ProjectError, quote
from lora_nb.locks import alone_in


@dataclass(frozen=True)
class Project:
    """A folder that holds one LoRA's pictures, settings, runs and grids."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def images(self) -> Path:
        """Pictures and captions: `<repeats>_<class>` folders, or the pictures directly."""
        return self.root / "images"

    @property
    def config_file(self) -> Path:
        return self.root / "config.json"

    @property
    def cache(self) -> Path:
        """Latents by content; always safe to delete."""
        return self.root / "cache"

    @property
    def originals(self) -> Path:
        """Pictures as they were before their first edit, and the journal of the edits; see dataset/journal.py."""
        return self.root / "originals"

    @property
    def history(self) -> Path:
        """The journal of edits of many captions, so that they can be undone on another day."""
        return self.root / "history"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def grids(self) -> Path:
        return self.root / "grids"

    def load_config(self) -> TrainConfig:
        """The saved settings, or the defaults when none were saved yet."""
        return load_config(self.config_file) if self.config_file.exists() else TrainConfig()

    def save_config(self, config: TrainConfig) -> None:
        save_config(config, self.config_file)

    def change_settings(self, changes: dict[str, Any]) -> TrainConfig:
        """Change some of the saved settings, {"run.epochs": 5}, and leave all others as they are on disk now.

        Another notebook may have changed those since this one read them. Raises ConfigError, and saves nothing then.
        """
        with alone_in(self.root):
            config = change_settings(self.load_config(), changes)
            self.save_config(config)
        return config

    def run_folder(self, run: str) -> Path:
        return self.runs / run

    def latest_run(self) -> Path:
        """The folder of the run that was started last."""
        runs = self.run_folders()
        if not runs:
            raise ProjectError(f"{self.runs} holds no run yet. Train first: lora-nb train {self.root}")
        return runs[-1]

    def run_folders(self) -> list[Path]:
        """The folders of all runs, in the order in which these were started: the time of their settings' file."""
        settings = sorted(self.runs.glob("*/config.json"), key=lambda path: path.stat().st_mtime_ns)
        return [path.parent for path in settings]

    def new_run_name(self) -> str:
        """A name that no run of this project has: run1, run2, ..."""
        number = 1
        while (self.runs / f"run{number}").exists():
            number += 1
        return f"run{number}"


def open_project(root: str | Path) -> Project:
    """Open a project folder, making it if it is not there: the first line of every notebook."""
    path = resolve(root)
    if path.is_file():
        raise ProjectError(f"{path} is a file. A project is a folder: choose another name.")
    project = Project(path)
    try:
        project.images.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"The folder {project.images} cannot be made: {error.strerror}. Choose another place."
        ) from error
    return project


def find_project(root: str | Path) -> Project:
    """Open a project folder that must exist already, as a command on it needs."""
    path = resolve(root)
    if not (path / "images").is_dir():
        raise ProjectError(f"{path} is not a project: it has no folder 'images'. Make one with: lora-nb new {root}")
    return Project(path)


def make_project(root: str | Path, images: str | Path | None = None) -> Project:
    """Make a new project, with a copy of a folder's pictures and captions. Never overwrites a project."""
    path = resolve(root)
    if (path / "config.json").exists():
        raise ProjectError(f"{path} is a project already. Choose another name, or open it as it is.")
    if images is None:
        return open_project(path)
    source = resolve(images)
    if not source.is_dir():
        raise ProjectError(f"There is no folder {source}. Give the folder that holds the pictures.")
    if path.is_relative_to(source):
        raise ProjectError(f"{path} lies inside the pictures' folder {source}. Put the project somewhere else.")
    project = open_project(path)
    try:
        shutil.copytree(source, project.images, dirs_exist_ok=True, ignore=_choose_left_out(source))
    except shutil.Error as error:
        failed = "; ".join(f"{each[0]}: {each[2]}" for each in error.args[0][:3])
        raise ProjectError(
            f"Not all of {source} could be copied ({failed}). Copy the rest to {project.images}."
        ) from error
    return project


def resolve(path: str | Path) -> Path:
    """A path as the user gives it => an absolute one, without links. Raises ProjectError for what cannot be one."""
    return expand(path).resolve()


def expand(path: str | Path) -> Path:
    """A path as the user gives it => the same with the home folder for ~. Raises ProjectError for what can be none."""
    try:
        found = Path(path).expanduser()
        found.resolve().exists()  # asks the system, which refuses names that are too long
        return found
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, an unknown ~user, a NUL
        raise ProjectError(f"{quote(path)!r} cannot be a folder: {quote(error)}. Choose another name.") from error


def _choose_left_out(source: Path) -> Callable[[str, list[str]], set[str]]:
    """What is not copied: hidden things, pipes and devices, and links that lead nowhere or round in a circle."""

    def choose(folder: str, names: list[str]) -> set[str]:
        here = Path(folder)
        return {name for name in names if name.startswith(".") or not can_be_copied(here, here / name)}

    def can_be_copied(here: Path, path: Path) -> bool:
        if not path.is_dir() or not path.is_symlink():
            return path.is_dir() or path.is_file()
        target = path.resolve()  # a folder elsewhere is copied, but no link that is found there is followed any more
        leads_out = not target.is_relative_to(source) and not source.is_relative_to(target)
        return leads_out and here.resolve().is_relative_to(source)

    return choose
