"""The command `lora-nb plan`: everything about a training that can be known before it starts."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_nb.terminal import MARKS, ProjectFolder

if TYPE_CHECKING:
    from lora_nb.config import TrainConfig
    from lora_nb.dataset.images import Dataset
    from lora_nb.dataset.steps import StepPlan
    from lora_nb.errors import Problem
    from lora_nb.forecast.fitting import Fit
    from lora_nb.forecast.memory import MemoryForecast
    from lora_nb.forecast.time import TimeForecast
    from lora_nb.project import Project

SHOWN = 3  # captions


def plan(
    folder: ProjectFolder,
    steps: Annotated[int | None, typer.Option(help="Say which repeats come nearest to this many steps.")] = None,
    processes: Annotated[int, typer.Option(help="GPUs that will train together (accelerate launch).", min=1)] = 1,
    card: Annotated[float | None, typer.Option(help="For a GPU with this many GiB, not for this machine.")] = None,
    probe: Annotated[int, typer.Option(help="Train this many steps to measure the time; 0: none.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Say what a training will do: steps, captions, memory, file size, and with --probe its time."""
    from lora_nb.dataset.final_captions import final_caption
    from lora_nb.dataset.images import scan_images
    from lora_nb.dataset.steps import plan_steps, solve_repeats
    from lora_nb.project import find_project

    project = find_project(folder)
    dataset, config = scan_images(project.images), project.load_config()
    counted = plan_steps(dataset, config, processes)
    repeats = solve_repeats(dataset, config, steps, processes) if steps is not None else None
    cut = _find_cut(dataset, config)
    capacity, memory, fit = _forecast(dataset, config, counted, card)
    time = _measure_time(project, config, counted.steps, probe) if probe else None
    captions = [(item.name, final_caption(item, config, epoch=1)) for item in dataset.items]
    if as_json:
        values = asdict(counted) | {
            "captions": [{"picture": name, "caption": text} for name, text in captions],
            "cut_captions": None if cut is None else [asdict(problem) for problem in cut],
            "memory": asdict(memory) | {"training": memory.training, "peak": memory.peak, "capacity": capacity},
            "changes_to_fit": None if fit is None else fit.changes,
            "time": asdict(time) if time else None,
        }
        print(json.dumps(values | ({"repeats_for_target": repeats} if repeats is not None else {}), indent=2))
        return
    _print_steps(counted, config)
    if repeats is not None:
        name = dataset.items[0].class_name or project.name
        print(f"For about {steps} steps: {repeats} repeats. Name the pictures' folder images/{repeats}_{name}")
    print("Captions in the first epoch:")
    for name, text in captions[:SHOWN]:
        print(f"  {name}: {text}")
    _print_cut(cut, config)
    _print_memory(memory, fit, capacity)
    if time:
        from lora_nb.forecast.time import describe_duration

        ends = f"{describe_duration(time.shortest)} to {describe_duration(time.longest)}"
        print(f"Time: about {describe_duration(time.seconds)} ({ends}), by {time.measured} measured steps")


def _forecast(
    dataset: "Dataset", config: "TrainConfig", counted: "StepPlan", card: float | None
) -> "tuple[int, MemoryForecast, Fit | None]":
    """What there is, what the settings need, and what would fit."""
    from lora_nb.dataset.final_captions import all_captions
    from lora_nb.environment import find_machine
    from lora_nb.forecast.fitting import largest_batch, make_fit
    from lora_nb.forecast.memory import GIB, Device, forecast_memory

    machine = find_machine()
    device: Device = "cuda" if card is not None else machine.device
    size = card if card is not None else machine.gpu_memory_gib if device == "cuda" else machine.memory_gib
    capacity, shape = int(size * GIB), largest_batch(counted, config)
    captions = len({text for _, text in all_captions(dataset.items, config)})
    memory = forecast_memory(config, shape, device, captions)
    return capacity, memory, make_fit(config, shape, device, capacity, captions, memory)


def _measure_time(project: "Project", config: "TrainConfig", steps: int, probe: int) -> "TimeForecast":
    from lora_nb.forecast.time import forecast_time

    return forecast_time(project, config, steps, probe)


def _find_cut(dataset: "Dataset", config: "TrainConfig") -> "list[Problem] | None":
    """The captions that are longer than the model reads; None if the model is not here, whose tokenizer is needed."""
    from lora_nb.forecast.blueprint import is_here
    from lora_nb.models.base import load_model
    from lora_nb.training.runs import check_lengths

    return check_lengths(dataset, config, load_model(config.model)) if is_here(config.model) else None


def _print_steps(counted: "StepPlan", config: "TrainConfig") -> None:
    seen = f"{counted.seen_per_epoch} with their repeats"
    print(f"{counted.pictures} pictures, {seen}, batch size {config.run.batch_size}")
    for row in counted.buckets:
        size = f"{row.bucket.width}x{row.bucket.height}"
        print(f"  bucket {size:>9}: {row.pictures:3} pictures, {row.seen:4} seen, {row.batches:4} batches an epoch")
    if counted.held_out:
        print(f"{counted.held_out} pictures are held out")
    print(f"{counted.steps_per_epoch} steps an epoch x {counted.epochs} epochs = {counted.steps} steps")


def _print_cut(cut: "list[Problem] | None", config: "TrainConfig") -> None:
    if cut is None:
        print(f"The captions' lengths are checked once {config.model.base} is here: when the training starts.")
    for problem in cut or ():
        print(f"{MARKS[problem.severity]} {problem}")


def _print_memory(memory: "MemoryForecast", fit: "Fit | None", capacity: int) -> None:
    stages = {"training": memory.training, "encoding": memory.caching, "sample pictures": memory.pictures}
    parts = {"weights": memory.weights, "LoRA": memory.adapter, "gradients": memory.gradients}
    parts |= {"optimizer": memory.optimizer, "activations": memory.activations, "program": memory.overhead}
    print(f"Memory (computed): {_gib(memory.peak)} GiB of {_gib(capacity)} GiB at most")
    print(f"  {', '.join(f'{name} {_gib(size)}' for name, size in stages.items() if size)}")
    print(f"  of a training step: {', '.join(f'{name} {_gib(size)}' for name, size in parts.items())}")
    print(f"  main memory {_gib(memory.host)} GiB; each LoRA file {memory.lora_file / 1e6:.1f} MB")
    if fit is None:
        print(f"{MARKS['error']} It does not fit, and no change of settings makes it fit: take a smaller base model.")
    elif fit.changes:
        changes = " ".join(f"{name}={_value(value)}" for name, value in fit.changes.items())
        print(f"{MARKS['warning']} It does not fit. The cheapest change that does ({_gib(fit.forecast.peak)} GiB):")
        print(f"  {changes}")


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f}"


def _value(value: Any) -> str:
    return json.dumps(value)
