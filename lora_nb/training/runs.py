"""One run from a project folder to LoRA files, or what is left of it: load, check, cache, train."""

import gc
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lora_nb.config import DataConfig, TrainConfig
from lora_nb.config_file import load_config, save_config
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.final_captions import all_captions, plain_caption
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.long_captions import find_long_captions
from lora_nb.dataset.steps import StepPlan, plan_steps
from lora_nb.environment import Machine, find_machine, installed_versions
from lora_nb.errors import BadLossError, ConfigError, DatasetError, Problem, TrainingError
from lora_nb.models.base import DiffusionModel, load_model
from lora_nb.models.weighted import strip_weights
from lora_nb.project import Project
from lora_nb.training.acceleration import Team, find_team
from lora_nb.training.cache import CachedImage, cache_dataset
from lora_nb.training.checkpoints import Checkpoint, find_checkpoint, remove_all
from lora_nb.training.conditioning import CaptionEncoder
from lora_nb.training.continuing import (
    BEGINNING,
    WayOn,
    find_folder,
    find_way_on,
    go_back,
    rewrite_settings,
    write_beginning,
)
from lora_nb.training.event_log import read_events
from lora_nb.training.events import OnEvent, Preparing, ProblemFound, RunContinued, RunFinished, RunStarted, tell
from lora_nb.training.loop import train
from lora_nb.training.losses import check_prediction
from lora_nb.training.mirror import Mirror, mirrored
from lora_nb.training.mirror_place import check_mirror
from lora_nb.training.optimizers import check_optimizer
from lora_nb.training.output import RunOutput
from lora_nb.training.progress import ProgressBar, progress_of
from lora_nb.training.recording import take_on
from lora_nb.training.requests import interrupts_as_requests, unless_stopped
from lora_nb.training.setbacks import WayOut, find_way_out
from lora_nb.training.sharding import check_sharding, load_beside_gpu
from lora_nb.training.speed import check_speed

OF_THE_MODEL = {"run.quantization", "run.offload"}  # settings with which it is loaded anew
OTHER_NAME = "Choose another name, or go on with it: lora-nb continue"


def train_project(
    project: Project,
    config: TrainConfig | None = None,
    *,
    run: str | None = None,
    model: DiffusionModel | None = None,
    on_event: OnEvent | None = None,
    prepared: bool = False,
) -> Path:
    """Train a LoRA on a project's pictures, with its saved settings unless others are given. Returns the run's folder.

    All that could spoil the run is looked for first: DatasetError and ConfigError name every problem. prepared: the
    run's folder and settings are there, made by launching.start_run.
    """
    machine = find_machine(project.root)
    team = find_team(machine.device)
    folder = project.run_folder(team.agree(run or project.new_run_name()))
    if prepared:
        config = load_config(folder / "config.json")
    elif team.agree((folder / "config.json").exists()):
        raise ConfigError("The run exists.", [Problem(str(folder), "It holds a run already.", OTHER_NAME)])
    job = Job(project, folder, config or project.load_config(), machine, team, prepared)
    return work(job, model, on_event)


def continue_project(
    project: Project,
    run: str | None = None,
    *,
    as_before: bool = False,
    model: DiffusionModel | None = None,
    on_event: OnEvent | None = None,
    prepared: bool = False,
) -> Path:
    """Go on with a run that was stopped or killed, exactly where its newest checkpoint is. Returns its folder.

    The LoRA becomes the same, bit for bit, as if it had never been interrupted. Raises RunChangedError if settings or
    pictures are not as they were; as_before: go on nevertheless, with the run's own settings.
    """
    machine = find_machine(project.root)
    team = find_team(machine.device)
    folder = team.agree(find_folder(project, run))
    way_on = find_way_on(project, folder, as_before)
    return work(Job(project, folder, way_on.config, machine, team, prepared, way_on), model, on_event)


@dataclass(frozen=True)
class Job:
    """What is to be done where, and by whom."""

    project: Project
    folder: Path  # of the run
    config: TrainConfig
    machine: Machine
    team: Team
    prepared: bool  # somebody has made the folder for this process, and asks it for things already
    way_on: WayOn | None = None  # if the run is continued


@dataclass(frozen=True)
class Material:
    """What a run is trained on, encoded."""

    training: Dataset
    images: list[CachedImage]
    held_out: list[CachedImage]
    encode_captions: CaptionEncoder


def work(job: Job, model: DiffusionModel | None, on_event: OnEvent | None) -> Path:
    """Do a whole run, or what is left of it; after a setback that its settings allow for, go on with changed ones."""
    folder, team = job.folder, job.team
    on_event = on_event or ProgressBar()
    lowered = 0  # how often the learning rate was
    with (
        take_on(folder, team, job.prepared) as tell_log,
        mirrored(job.project, folder, job.config, team.is_first) as mirror,
    ):
        if job.way_on is None and team.is_first:
            refuse_mirror(job.project, job.config, folder.name)
            if not job.prepared:
                save_config(job.config, folder / "config.json")
        while True:
            try:
                train_on(job, model, tell(tell_log, on_event), tell_log, mirror)
                return folder
            except Exception as error:
                device = str(team.device or job.machine.device) if model is None else str(model.device)
                way_out = find_way_out(error, job.config, device, lowered) if team.size == 1 else None
                if way_out is None:
                    raise
                lowered += isinstance(error, BadLossError)
            job, model = take_way_out(job, model, way_out)


def take_way_out(job: Job, model: DiffusionModel | None, way_out: WayOut) -> tuple[Job, DiffusionModel | None]:
    """The same run with changed settings, from its newest whole checkpoint; and its model, if it can still be used."""
    rewrite_settings(way_out.config, job.folder)
    checkpoint, damage = find_checkpoint(job.folder / "checkpoints")
    told = [*(job.way_on.remarks if job.way_on else ()), way_out.remark, *damage]
    if way_out.changes.keys() & OF_THE_MODEL:
        model = None
    free_memory()
    return replace(job, config=way_out.config, way_on=WayOn(way_out.config, checkpoint, told)), model


def train_on(
    job: Job, model: DiffusionModel | None, on_event: OnEvent, tell_log: OnEvent, mirror: Mirror | None
) -> None:
    """Do a run from its beginning or its checkpoint, once everything is there that it needs."""
    folder, config, team = job.folder, job.config, job.team
    checkpoint = job.way_on.checkpoint if job.way_on else None
    if job.way_on and team.is_first:
        go_back(folder, checkpoint)
    tell_log(Preparing("model"))
    dataset = scan_images(job.project.images)
    refuse_problems(dataset, config, job.machine)
    if team.shards and (problems := check_sharding(config)):
        raise ConfigError("This base model cannot be cut up over several processes.", problems)
    plan = plan_steps(dataset, config, team.size)
    if checkpoint:
        check_length(plan, checkpoint)
    model = model or load_for(team, config, job.machine)
    if problems := check_prediction(config.loss, model.objective.prediction):
        raise ConfigError("Some of the settings cannot act on what this model predicts.", problems)
    if team.is_first and not (folder / BEGINNING).exists():
        write_beginning(folder, job.project, dataset, config)
    material = prepare(job.project, dataset, config, model, team, unless_stopped(folder, tell_log))
    on_event = on_event if team.is_first else tell()
    on_event = mirror.beside(on_event) if mirror else on_event
    output = RunOutput(folder, job.project.name, config, material.training, plan, on_event, team, checkpoint=checkpoint)
    if checkpoint:
        on_event(RunContinued(checkpoint.step, checkpoint.epoch, checkpoint.name, plan.steps, config.run.epochs))
    else:
        on_event(start_of(folder.name, plan, model, config))
    for problem in [*untold_remarks(job), *check_lengths(material.training, config, model)]:
        on_event(ProblemFound(problem.where, problem.message, problem.fix, problem.severity))
    finish(job, model, material, output)


def untold_remarks(job: Job) -> list[Problem]:
    """What is to be said about how the run goes on, and is not in its events yet."""
    remarks = job.way_on.remarks if job.way_on else []
    events = read_events(job.folder / "events.jsonl") if remarks else ()
    told = {(event.where, event.message) for event in events if isinstance(event, ProblemFound)}
    return [problem for problem in remarks if (problem.where, problem.message) not in told]


def finish(job: Job, model: DiffusionModel, material: Material, output: RunOutput) -> None:
    """Train to the end; what is only needed to continue goes once that is reached."""
    config, on_event = job.config, output.on_event
    if output.checkpoint and config.adapter.continue_from:  # that file may have gone since; its ranks are the same
        adapter = config.adapter.model_copy(update={"continue_from": str(output.checkpoint.lora)})
        config = config.model_copy(update={"adapter": adapter})
    with interrupts_as_requests(job.folder):
        outcome = train(
            model, material.images, config, output, on_event, material.held_out, job.team, material.encode_captions
        )
    on_event(RunFinished(outcome, output.watch.seconds, installed_versions()))
    if outcome == "finished" and job.team.is_first:
        remove_all(job.folder / "checkpoints", config.run.keep_checkpoint_every_n_steps)


def check_length(plan: StepPlan, checkpoint: Checkpoint) -> None:
    """A run cannot go on at its step when the pictures now make another number of steps."""
    before = checkpoint.facts["steps"]
    if plan.steps != before:
        raise TrainingError(
            f"The pictures make {plan.steps} steps now, and made {before} when the run was started: there is no place "
            "to go on. Put them back as they were, or start a new run from its weights: lora-nb continue --from-weights"
        )


def prepare(
    project: Project, dataset: Dataset, config: TrainConfig, model: DiffusionModel, team: Team, on_event: OnEvent
) -> Material:
    """Encode pictures and captions, or read what an earlier run encoded; what is not needed any more goes to sleep."""
    training, held_out = split_dataset(dataset, config)
    encode_captions = CaptionEncoder(model, config, project.cache / "captions")
    with team.first_goes_first():
        images = cache_dataset(model, training, config.data, project.cache, progress_of("pictures", on_event))
        held_out_images = cache_dataset(model, held_out, as_it_is(config.data), project.cache)
        captions = list_captions(training, held_out, config)
        all_encoded = encode_captions.prepare(captions, progress_of("captions", on_event))
    model.networks.sleep("vae")  # until pictures are drawn
    if all_encoded:
        model.networks.sleep(*model.text_encoders, *model.frozen_text_encoders)  # until prompts are read
    return Material(training, images, held_out_images, encode_captions)


def start_of(run: str, plan: StepPlan, model: DiffusionModel, config: TrainConfig) -> RunStarted:
    """The event that says what is going to happen."""
    return RunStarted(
        run=run,
        steps=plan.steps,
        epochs=plan.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        batches_per_epoch=plan.batches_per_epoch,
        device=str(model.device),
        precision=config.run.precision,
    )


def list_captions(training: Dataset, held_out: Dataset, config: TrainConfig) -> set[str]:
    """Everything that the model will read in a run."""
    texts = {text for _, text in all_captions(training.items, config)}
    return texts | {plain_caption(item, config) for item in held_out.items}


def check_lengths(dataset: Dataset, config: TrainConfig, model: DiffusionModel) -> list[Problem]:
    """Report every caption that is longer than the model reads. Needs the model's tokenizer, none of its weights."""

    def count_tokens(caption: str) -> int:
        return model.count_tokens(strip_weights(caption) if config.data.weighted_captions else caption)

    most = max(model.max_tokens, config.data.max_tokens)
    return find_long_captions(dataset.items, config, count_tokens, most)


def as_it_is(data: DataConfig) -> DataConfig:
    """The settings with which held-out pictures are seen: at one resolution, always the same way."""
    return data.model_copy(update={"extra_resolutions": (), "flip": False, "random_crop": False})


def free_memory() -> None:
    """Give back what the last attempt took, before the model is loaded once more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_for(team: Team, config: TrainConfig, machine: Machine) -> DiffusionModel:
    """Load the base model where this process works."""
    device = team.device or machine.device
    run = config.run
    model = load_model(config.model, run.precision, device, run.quantization, run.offload)
    if team.shards:
        load_beside_gpu(model)
    return model


def refuse_problems(dataset: Dataset, config: TrainConfig, machine: Machine) -> None:
    """Raise everything that would make training impossible, before any time is spent on it."""
    errors = [problem for problem in check_dataset(dataset, config) if problem.severity == "error"]
    if errors:
        raise DatasetError("These pictures cannot be trained on yet.", errors)
    impossible = [*check_precision(config, machine), *check_optimizer(config.optimizer), *check_speed(config)]
    if impossible:
        raise ConfigError("This machine cannot train with these settings.", impossible)


def refuse_mirror(project: Project, config: TrainConfig, run: str) -> None:
    """Raise what would keep a new run from being copied, before it starts."""
    if problems := check_mirror(project, config, run):
        raise ConfigError("This run could not be copied.", problems)


def check_precision(config: TrainConfig, machine: Machine) -> list[Problem]:
    """fp16 needs a GPU, and bf16 on a GPU needs one that really has it."""
    precision, where = config.run.precision, "run.precision"
    fix = f"Use {machine.precision!r}."
    if precision == "fp16" and machine.gpu is None:
        return [Problem(where, "'fp16' needs a GPU, and there is none here.", fix)]
    if precision == "bf16" and machine.gpu is not None and not machine.has_bf16:
        return [Problem(where, f"'bf16' is only emulated, slowly, on a {machine.gpu}.", fix)]
    return []
