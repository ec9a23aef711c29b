"""Can this run go on where it was? Its beginning is remembered, compared, and what it told too much is taken back."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_nb.config import TrainConfig, list_settings, read_setting
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.dataset.fingerprints import find_changes, fingerprint_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.environment import installed_versions
from lora_nb.errors import ConfigError, Problem, ProjectError, RunChangedError, TrainingError
from lora_nb.files import write_whole
from lora_nb.project import Project
from lora_nb.training.checkpoints import Checkpoint, find_checkpoint
from lora_nb.training.event_log import cut_events
from lora_nb.training.events import ImageSampled, LoraSaved, TrainEvent
from lora_nb.training.watching import run_state

BEGINNING = "beginning.json"
OF_A_STEP = re.compile(r"-step\d{8}\.safetensors$|^step-\d{8}-")  # files that were asked for, and are not made again


@dataclass(frozen=True)
class WayOn:
    """Where a run goes on."""

    config: TrainConfig  # the run's own settings
    checkpoint: Checkpoint | None  # none: from the start
    remarks: list[Problem] = field(default_factory=list)


def find_folder(project: Project, run: str | None) -> Path:
    """The folder of a run, or of the last one."""
    folder = project.run_folder(run) if run else project.latest_run()
    if not (folder / "config.json").exists():
        raise ProjectError(f"{project.runs} holds no run {run!r}. See which there are: lora-nb runs {project.root}")
    return folder


def find_way_on(project: Project, folder: Path, as_before: bool) -> WayOn:
    """Look for the newest whole checkpoint, and for what is not as it was.

    Raises RunChangedError if the project's settings or pictures have changed, unless it is to go on as before: with
    the settings it was started with, and the pictures as they are. Raises TrainingError if it is at its end.
    """
    if run_state(folder).state == "finished":
        raise TrainingError(
            f"{folder.name} is finished. To train its LoRA further, start a new run with adapter.continue_from."
        )
    checkpoint, remarks = find_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        remarks.append(Problem(folder.name, "There is no whole checkpoint.", "It starts from the beginning.", "note"))
    config, found = _load_settings(folder, checkpoint)
    before, damage = _read_beginning(folder)
    remarks += found + damage
    if before and not as_before:
        changes = _changed_settings(before["settings"], project)
        now = fingerprint_dataset(scan_images(project.images), config.data)
        changes += find_changes(before["dataset"], now)
        if changes:
            raise RunChangedError(
                f"{folder.name} was started with something else. Go on as before (--as-before: its own settings, the "
                "pictures as they are), or start a new run from its weights with today's settings (--from-weights).",
                changes,
            )
    return WayOn(config, checkpoint, remarks + _changed_versions(before))


def config_from_weights(project: Project, folder: Path) -> TrainConfig:
    """The project's settings, for a new run that starts from what another one has learned."""
    checkpoint, _ = find_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise TrainingError(f"{folder.name} has no whole checkpoint. Set adapter.continue_from to one of its LoRAs.")
    return change_settings(project.load_config(), {"adapter.continue_from": str(checkpoint.lora)})


def write_beginning(folder: Path, project: Project, dataset: Dataset, config: TrainConfig) -> None:
    """Remember what the project was when the run began."""
    beginning = {
        "settings": project.load_config().model_dump(mode="json") if project.config_file.exists() else None,
        "dataset": fingerprint_dataset(dataset, config.data),
        "versions": installed_versions(),
    }
    write_whole(folder / BEGINNING, json.dumps(beginning, indent=1, ensure_ascii=False).encode())


def go_back(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Take back what the run has told after its checkpoint: it will do those steps again, and tell it again.

    What was drawn or saved on request in those steps stays: nobody asks for it a second time. Half-written files go.
    """
    for path in folder.rglob(".*.part"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def stays(event: TrainEvent) -> bool:
        return isinstance(event, ImageSampled | LoraSaved) and bool(OF_A_STEP.search(Path(event.path).name))

    cut_events(folder / "events.jsonl", int(checkpoint.facts["events"]) if checkpoint else 0, stays)


def rewrite_settings(config: TrainConfig, folder: Path) -> None:
    """Change the settings of a run that was started already; their file's time still says when that was."""
    path = folder / "config.json"
    started = path.stat()
    save_config(config, path)
    os.utime(path, ns=(started.st_atime_ns, started.st_mtime_ns))


def _load_settings(folder: Path, checkpoint: Checkpoint | None) -> tuple[TrainConfig, list[Problem]]:
    """The run's own settings; the checkpoint's copy, if their file is damaged. Raises ConfigError if there is none."""
    path, kept = folder / "config.json", checkpoint.facts.get("config") if checkpoint else None
    try:
        config = load_config(path)
    except ConfigError:
        if kept is None:
            raise
        config = make_config(kept)
        rewrite_settings(config, folder)
        message = "The run's settings are damaged. They were taken from its checkpoint."
        return config, [Problem(path.name, message, "", "note")]
    before = make_config(kept) if kept else config
    changed = [name for name, _ in list_settings() if read_setting(config, name) != read_setting(before, name)]
    return config, [
        Problem(
            f"{path.name}, {name}",
            f"It was {read_setting(before, name)!r} at the checkpoint, and is {read_setting(config, name)!r} now.",
            "Set it back, if that is not meant.",
            "note",
        )
        for name in changed
    ]


def _read_beginning(folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """What `write_beginning` remembered; a damaged file is named, and then nothing can be compared."""
    try:
        found = json.loads((folder / BEGINNING).read_text())
        _ = found["settings"], found["dataset"], found["versions"]
        return found, []
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, LookupError, TypeError):
        message = "It is damaged, so it cannot be said what has changed since the run was started."
        return {}, [Problem(BEGINNING, message, "Make sure that pictures and settings are as they were.", "warning")]


def _changed_settings(before: dict[str, Any] | None, project: Project) -> list[Problem]:
    if before is None or not project.config_file.exists():
        return []
    now = project.load_config().model_dump(mode="json")
    problems = []
    for name, _ in list_settings():
        if name == "run.mirror":
            continue  # where copies go changes nothing of what is learned
        section, _, key = name.partition(".")
        old, new = before.get(section, {}).get(key), now[section][key]
        if key in before.get(section, {}) and old != new:
            problems.append(Problem(name, f"It was {old!r} and is {new!r} now.", "Set it back, or choose."))
    return problems


def _changed_versions(before: dict[str, Any]) -> list[Problem]:
    old, now = before.get("versions", {}), installed_versions()
    return [
        Problem(name, f"It was {version}, and is {now[name]}.", "The last bits of the LoRA may differ.", "note")
        for name, version in old.items()
        if now.get(name, version) != version
    ]
