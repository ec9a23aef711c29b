"""The main road in one go: the demo's pictures, a training, its plot, and a judgement in numbers."""

import time
from pathlib import Path

from lora_nb.config_file import change_settings
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.environment import find_machine
from lora_nb.evaluation.grids import find_loras
from lora_nb.evaluation.runs import plot_run
from lora_nb.models.base import load_model
from lora_nb.presets.advice import advise_config
from lora_nb.project import Project, open_project
from lora_nb.training.progress import ProgressBar
from lora_nb.training.runs import train_project
from lora_nb.training.watching import follow_run, list_runs
from lora_nb.workshop.demo import DEMO_PROMPTS, PLAIN_PROMPTS, TRIGGER, write_demo_pictures
from lora_nb.workshop.judge import judge_lora

REPEATS = 26  # 12 pictures x 26 repeats / batch size 4: about 80 steps an epoch
CHANGES = {  # to the settings that are advised for any project with the small model
    "run.epochs": 8,
    "samples.prompts": [*DEMO_PROMPTS[:2], PLAIN_PROMPTS[2]],  # the last one shows what leaks without the trigger word
}


def fill_if_empty(project: Project) -> None:
    """Give a project without pictures the twelve of the demo, and its settings if there are none either."""
    if not scan_images(project.images).items:
        write_demo_pictures(project.images, repeats=REPEATS)
    if not project.config_file.exists():
        config = advise_config(find_machine(), trigger_words=(TRIGGER,))
        project.save_config(change_settings(config, CHANGES))


def ensure_run(project: Project) -> Path:
    """The folder of the project's last run that has LoRAs; without one, the project is trained first.

    A training that goes on already is waited for.
    """
    states = list_runs(project)
    for state in reversed(states):
        folder = project.run_folder(state.run)
        if state.is_alive:
            print(f"{state.run} is still being trained: waiting for its end. (Interrupting this cell stops it.)")
            follow_run(folder, ProgressBar())
        if find_loras(folder):
            return folder
    return train_project(project)


def run_demo(root: Path) -> Path:
    """Walk the whole main road and print what happens on the way. Returns the path of the plot."""
    started = time.monotonic()
    project = open_project(root)
    fill_if_empty(project)
    config = project.load_config()
    plan = plan_steps(scan_images(project.images), config)
    print(f"Project {project.root}: {plan.pictures} pictures of {TRIGGER!r}, a creature the model has never seen.")
    print(f"1/3 Training: {plan.steps_per_epoch} steps x {plan.epochs} epochs = {plan.steps} steps")
    run = train_project(project)
    print("2/3 Epoch x weight plot")
    model = load_model(config.model)
    path = plot_run(project, run=run.name, model=model)
    print("3/3 Judging the last epoch")
    print(judge_lora(model, find_loras(run)[-1], config).describe())
    print(f"Done in {time.monotonic() - started:.0f} s. Look at the plot: {path}")
    return path
