"""Which epoch of this run is the best, at which weight? Draw a run's epoch x weight plot, and save it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_nb.config import GenerationConfig, TrainConfig
from lora_nb.config_file import load_config
from lora_nb.environment import find_machine
from lora_nb.evaluation.grids import Grid, draw_grid, epoch_weight_plan, find_loras
from lora_nb.evaluation.plots import save_grid
from lora_nb.models.base import DiffusionModel, load_model
from lora_nb.project import Project
from lora_nb.training.output import reading_of
from lora_nb.training.runs import check_precision


@dataclass(frozen=True)
class GridChoice:
    """What a run's grid shows. The defaults are where the tutorial looks."""

    prompts: tuple[str, ...] = ()  # none: the run's sample prompts
    weights: tuple[float, ...] = (0.6, 0.8, 1.0)
    columns: int = 6  # at most this many epochs, evenly spread, always with the last
    seed: int | None = None  # none: the samples' own


def plot_run(
    project: Project,
    choice: GridChoice | None = None,
    *,
    run: str | None = None,
    model: DiffusionModel | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a run's grid and save it as `grids/<run>.png`. Pictures that were drawn before are not drawn again."""
    folder = project.run_folder(run) if run else project.latest_run()
    config = load_config(folder / "config.json")
    model = model or load_to_draw(config)
    path = project.grids / f"{folder.name}.png"
    save_grid(draw_run(project, folder, config, model, choice or GridChoice(), on_progress), path)
    return path


def load_to_draw(config: TrainConfig) -> DiffusionModel:
    """Load a run's base model as it was trained on: what fitted this machine then fits it now.

    On a machine that cannot do the run's precision, in the one that it can.
    """
    machine, run = find_machine(), config.run
    precision = machine.precision if check_precision(config, machine) else run.precision
    return load_model(config.model, precision, machine.device, run.quantization, run.offload)


def draw_run(
    project: Project,
    folder: Path,
    config: TrainConfig,
    model: DiffusionModel,
    choice: GridChoice,
    on_progress: Callable[[int, int], None] | None = None,
) -> Grid:
    """Draw the pictures of a run's grid: a column for each epoch, a row for each weight, a block for each prompt."""
    settings = picture_settings(config)
    if choice.seed is not None:
        settings = settings.model_copy(update={"seed": choice.seed})
    prompts = choice.prompts or config.samples.prompts or (", ".join(config.data.trigger_words),)
    loras = spread(find_loras(folder), choice.columns)
    plan = epoch_weight_plan(loras, choice.weights, prompts, settings)
    return draw_grid(model, plan, project.grids, on_progress=on_progress)


def picture_settings(config: TrainConfig) -> GenerationConfig:
    """How a run's sample pictures are drawn, for drawing others the same way."""
    shared = config.samples.model_dump(exclude={"prompts", "every_n_epochs"})
    return GenerationConfig(**reading_of(config), **shared)


def spread(files: Sequence[Path], most: int) -> list[Path]:
    """Choose at most so many files, evenly spread, always with the last one."""
    if len(files) <= most:
        return list(files)
    if most <= 1:
        return [files[-1]]
    last = len(files) - 1
    return [files[round(place * last / (most - 1))] for place in range(most)]
