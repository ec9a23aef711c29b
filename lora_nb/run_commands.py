"""The commands about runs: train, and what can be asked of a run while it trains."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_nb.terminal import ProjectFolder, read_change

if TYPE_CHECKING:
    from lora_nb.project import Project
    from lora_nb.training.requests import Request
    from lora_nb.training.watching import RunState

RunName = Annotated[str | None, typer.Option(help="The run. Default: the last one.")]


def train(
    folder: ProjectFolder,
    run: Annotated[str | None, typer.Option(help="A name for this run. Default: run1, run2, ...")] = None,
    epochs: Annotated[int | None, typer.Option(help="Train this many epochs instead of the setting.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: run.batch_size=2")] = None,
    background: Annotated[bool, typer.Option(help="Start it and return; it goes on without this terminal.")] = False,
    prepared: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Train a LoRA on the project's pictures, and save one every epoch."""
    from lora_nb.config_file import change_settings
    from lora_nb.project import find_project
    from lora_nb.training.acceleration import leave_team
    from lora_nb.training.launching import start_run
    from lora_nb.training.runs import train_project

    project = find_project(folder)
    changes = dict(read_change(text) for text in settings or [])
    if epochs is not None:
        changes["run.epochs"] = epochs
    config = None if prepared else change_settings(project.load_config(), changes)
    if background:
        started = start_run(project, config, run)
        print(f"{started.name} trains in the background. Look at it: lora-nb runs {folder}")
        return
    output = train_project(project, config, run=run, prepared=prepared)
    leave_team()
    if int(os.environ.get("RANK", "0")):
        return  # one of several processes: the first one speaks for all
    print(f"LoRAs in {output / 'loras'}")
    print(f"Next: lora-nb grid {folder}")


def runs(folder: ProjectFolder) -> None:
    """List the project's runs, and how each stands."""
    from lora_nb.project import find_project
    from lora_nb.training.watching import list_runs

    project = find_project(folder)
    states = list_runs(project)
    for state in states:
        process = f", process {state.pid}" if state.is_alive else ""
        print(f"{state.run:12} {state.state:9} step {state.step} of {state.steps or '?'}{process}")
        if state.checkpoint and state.state != "finished":
            print(f"  a checkpoint at step {state.checkpoint.step}, {state.checkpoint.size / 1e6:.1f} MB")
        if state.error:
            _print_error(project, state)
    if not states:
        print(f"No run yet. Train: lora-nb train {folder}")


def stop(folder: ProjectFolder, run: RunName = None) -> None:
    """Ask a run to stop after its step, and to save what was learned."""
    _ask(folder, run, "stop")


def pause(folder: ProjectFolder, run: RunName = None) -> None:
    """Ask a run to wait. It keeps its memory; go on with: lora-nb continue"""
    _ask(folder, run, "pause")


def go_on(
    folder: ProjectFolder,
    run: RunName = None,
    as_before: Annotated[bool, typer.Option(help="Although settings or pictures have changed.")] = False,
    from_weights: Annotated[bool, typer.Option(help="Start a new run from its weights, with new settings.")] = False,
    background: Annotated[bool, typer.Option(help="Start it and return; it goes on without this terminal.")] = False,
    prepared: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Let a run go on exactly where it was: one that is paused, or one that was stopped or killed."""
    from lora_nb.project import find_project
    from lora_nb.training.acceleration import leave_team
    from lora_nb.training.continuing import config_from_weights, find_folder
    from lora_nb.training.launching import continue_run, start_run
    from lora_nb.training.runs import continue_project, train_project
    from lora_nb.training.watching import run_state

    project = find_project(folder)
    place = find_folder(project, run)
    paused = not prepared and run_state(place).state == "paused"
    if from_weights:
        config = config_from_weights(project, place)
        output = start_run(project, config) if background else train_project(project, config)
    elif background or paused:
        output = continue_run(project, place.name, as_before=as_before)
    else:
        output = continue_project(project, place.name, as_before=as_before, prepared=prepared)
        leave_team()
    if int(os.environ.get("RANK", "0")):
        return
    if background or paused:
        print(f"{output.name} goes on. Look at it: lora-nb runs {folder}")
    else:
        print(f"LoRAs in {output / 'loras'}")


def restore(
    mirror: Annotated[Path, typer.Argument(help="The project's copies: the folder of its name inside run.mirror.")],
    folder: Annotated[Path | None, typer.Argument(help="The project's new folder. Default: its name, here.")] = None,
) -> None:
    """Make a project of its copies, after its machine was lost: all is checked, and its last run can go on."""
    from lora_nb.terminal import print_problems
    from lora_nb.training.restoring import restore_project

    project, problems = restore_project(mirror, folder or Path(mirror.resolve().name))
    print(f"Project {project.root}")
    print_problems(problems)
    print(f"Next: lora-nb continue {project.root}")


def sample_now(folder: ProjectFolder, run: RunName = None) -> None:
    """Ask a run to draw its sample pictures after its step."""
    _ask(folder, run, "sample_now")


def save_now(folder: ProjectFolder, run: RunName = None) -> None:
    """Ask a run to save a LoRA after its step."""
    _ask(folder, run, "save_now")


def _print_error(project: "Project", state: "RunState") -> None:
    """Why a run crashed: what it said, what that means, and what its memory was forecast to be if it was killed."""
    print(f"  {state.error}")
    for line in state.explanation.lines() if state.explanation else ():
        print(f"  {line}")
    if state.vanished:
        from lora_nb.forecast.host import say_needed_memory

        if forecast := say_needed_memory(project, project.run_folder(state.run)):
            print(f"  {forecast}")


def _ask(folder: Path, run: str | None, request: "Request") -> None:
    from lora_nb.project import find_project
    from lora_nb.training.requests import ask_run

    project = find_project(folder)
    ask_run(project.run_folder(run) if run else project.latest_run(), request)
    print("Asked. It answers after its step.")
