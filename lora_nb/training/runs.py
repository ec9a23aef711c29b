"""One run from a project folder to LoRA files: load, check, cache, train."""

import time
from pathlib import Path

from lora_nb.config import DataConfig, TrainConfig
from lora_nb.config_file import save_config
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.environment import Machine, find_machine, installed_versions
from lora_nb.errors import ConfigError, DatasetError, Problem
from lora_nb.models.base import DiffusionModel, load_model
from lora_nb.project import Project
from lora_nb.training.acceleration import Team, find_team, shard_denoiser
from lora_nb.training.cache import cache_dataset
from lora_nb.training.events import OnEvent, RunFinished, RunStarted, tell, write_events_to
from lora_nb.training.loop import train
from lora_nb.training.output import RunOutput
from lora_nb.training.progress import ProgressBar


def train_project(
    project: Project,
    config: TrainConfig | None = None,
    *,
    run: str | None = None,
    model: DiffusionModel | None = None,
    on_event: OnEvent | None = None,
) -> Path:
    """Train a LoRA on a project's pictures, with its saved settings unless others are given. Returns the run's folder.

    All that could spoil the run is looked for first: DatasetError and ConfigError name every problem.
    """
    config = config or project.load_config()
    machine = find_machine(project.root)
    dataset = scan_images(project.images)
    refuse_problems(dataset, config, machine)
    team = find_team(machine.device)
    run = team.agree(run or project.new_run_name())
    folder = project.run_folder(run)
    if (folder / "config.json").exists():
        raise ConfigError("The run exists.", [Problem(str(folder), "It holds a run already.", "Choose another name.")])

    plan = plan_steps(dataset, config, team.size)
    model = model or load_for(team, config, machine)
    training, held_out = split_dataset(dataset, config)
    with team.first_goes_first():
        images = cache_dataset(model, training, config.data, project.cache)
        held_out_images = cache_dataset(model, held_out, as_it_is(config.data), project.cache)
    model.networks.sleep("vae")  # until pictures are drawn
    if team.is_first:
        save_config(config, folder / "config.json")
        on_event = tell(write_events_to(folder / "events.jsonl"), on_event or ProgressBar())
    else:
        on_event = tell()
    output = RunOutput(folder, project.name, config, training, plan, on_event, team)

    started = time.monotonic()
    on_event(
        RunStarted(
            run=run,
            steps=plan.steps,
            epochs=plan.epochs,
            steps_per_epoch=plan.steps_per_epoch,
            batches_per_epoch=plan.batches_per_epoch,
            device=str(model.device),
            precision=config.run.precision,
        )
    )
    outcome = train(model, images, config, output, on_event, held_out_images, team)
    on_event(RunFinished(outcome, time.monotonic() - started, installed_versions()))
    return folder


def as_it_is(data: DataConfig) -> DataConfig:
    """The settings with which held-out pictures are seen: at one resolution, always the same way."""
    return data.model_copy(update={"extra_resolutions": (), "flip": False, "random_crop": False})


def load_for(team: Team, config: TrainConfig, machine: Machine) -> DiffusionModel:
    """Load the base model where this process works: whole, or its share of it."""
    device = team.device or machine.device
    if not team.shards:
        return load_model(config.model, config.run.precision, device, config.run.quantization)
    model = load_model(config.model, precision=config.run.precision)  # into host memory, from where it is shared out
    shard_denoiser(model, team)
    return model.to(device=device)


def refuse_problems(dataset: Dataset, config: TrainConfig, machine: Machine) -> None:
    """Raise everything that would make training impossible, before any time is spent on it."""
    errors = [problem for problem in check_dataset(dataset, config) if problem.severity == "error"]
    if errors:
        raise DatasetError("These pictures cannot be trained on yet.", errors)
    impossible = check_precision(config, machine)
    if impossible:
        raise ConfigError("This machine cannot train with these settings.", impossible)


def check_precision(config: TrainConfig, machine: Machine) -> list[Problem]:
    """fp16 needs a GPU, and bf16 on a GPU needs one that really has it."""
    precision, where = config.run.precision, "run.precision"
    fix = f"Use {machine.precision!r}."
    if precision == "fp16" and machine.gpu is None:
        return [Problem(where, "'fp16' needs a GPU, and there is none here.", fix)]
    if precision == "bf16" and machine.gpu is not None and not machine.has_bf16:
        return [Problem(where, f"'bf16' is only emulated, slowly, on a {machine.gpu}.", fix)]
    return []
