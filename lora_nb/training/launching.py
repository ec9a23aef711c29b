"""A run as a process of its own: it goes on when the notebook's kernel ends, and gives its memory back at its end."""

import os
import subprocess
import sys
from pathlib import Path

from lora_nb.config import TrainConfig
from lora_nb.config_file import save_config
from lora_nb.dataset.images import scan_images
from lora_nb.environment import find_machine
from lora_nb.errors import ConfigError, Problem, TrainingError
from lora_nb.project import Project
from lora_nb.tokens import tokens_for_children
from lora_nb.training.children import keep_child
from lora_nb.training.claims import note_holder
from lora_nb.training.continuing import find_folder, find_way_on
from lora_nb.training.event_log import write_events_to
from lora_nb.training.events import Preparing
from lora_nb.training.requests import ask_run, take_requests
from lora_nb.training.runs import OTHER_NAME, refuse_mirror, refuse_problems
from lora_nb.training.watching import run_state


def start_run(project: Project, config: TrainConfig | None = None, run: str | None = None) -> Path:
    """Start a training that does not depend on this process. Returns the run's folder at once.

    What would make it impossible is said here: DatasetError, ConfigError. watching.RunWatcher tells how it goes on, and
    requests.ask_run asks it to stop, to pause, or to show a picture.
    """
    config = config or project.load_config()
    refuse_problems(scan_images(project.images), config, find_machine(project.root))
    refuse_mirror(project, config, run or project.new_run_name())
    folder = _new_folder(project, run)
    save_config(config, folder / "config.json")
    launch(project, folder, "train", "--run", folder.name, "--prepared")
    return folder


def continue_run(project: Project, run: str | None = None, *, as_before: bool = False) -> Path:
    """Let a run go on, in a process of its own: one that waits, or one that was stopped or killed. Returns its folder.

    Raises RunChangedError if settings or pictures are not as they were; as_before: go on with the run's own settings.
    """
    folder = find_folder(project, run)
    state = run_state(folder)
    if state.state == "paused":
        ask_run(folder, "go_on")
        return folder
    if state.is_alive:
        raise TrainingError(f"{folder.name} is {state.state} already.")
    way_on = find_way_on(project, folder, as_before)
    refuse_problems(scan_images(project.images), way_on.config, find_machine(project.root))
    take_requests(folder)  # of an earlier process
    options = ["--as-before"] if as_before else []
    launch(project, folder, "continue", "--run", folder.name, "--prepared", *options)
    return folder


def launch(project: Project, folder: Path, command: str, *options: str) -> None:
    """Start `lora-nb COMMAND PROJECT OPTIONS` on a run, apart from this process; what it prints goes to log.txt."""
    package = str(Path(__file__).parents[2])  # the child uses the same lora_nb, wherever it was imported from
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lora_nb", command, str(project.root), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | tokens_for_children() | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # no Ctrl-C and no closed terminal reaches it
        )
    note_holder(folder, process.pid)
    write_events_to(folder / "events.jsonl")(Preparing("start"))  # long before the child writes there
    keep_child(process)


def _new_folder(project: Project, run: str | None) -> Path:
    """Make the run's folder; two that are started at once get two."""
    while True:
        folder = project.run_folder(run or project.new_run_name())
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if run is not None:
                problem = Problem(str(folder), "It holds a run already.", OTHER_NAME)
                raise ConfigError("The run exists.", [problem]) from None
