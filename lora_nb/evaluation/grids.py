"""Which LoRA file, at which weight? Plan a grid of pictures and draw it: an X/Y/Z plot.

Epochs are the columns, so that the subject appears from left to right, after a first column without any LoRA.
Weights are the rows, and each prompt has a block of rows of its own.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from pydantic import ValidationError

from lora_nb.config import GenerationConfig
from lora_nb.errors import ConfigError, Problem
from lora_nb.evaluation.cells import SAMPLER_NAMES, Recipe, hash_file, load_cell, model_fingerprint, save_cell

if TYPE_CHECKING:
    from lora_nb.models.base import DiffusionModel

Generate = Callable[["DiffusionModel", GenerationConfig], Image.Image]
NO_LORA = "no LoRA"


@dataclass(frozen=True)
class Axis:
    """One direction of a grid: a field of GenerationConfig and the values that it takes."""

    field: str
    values: tuple[Any, ...]
    labels: tuple[str, ...] = ()  # one for each value, made from the values if left out; further lines are details

    def __post_init__(self) -> None:
        problems = _check_axis(self)
        if problems:
            raise ConfigError("This axis cannot be drawn.", problems)
        values = (getattr(GenerationConfig.model_validate({self.field: value}), self.field) for value in self.values)
        object.__setattr__(self, "values", tuple(values))  # in the field's own type: "4" is 4, a text is a path
        object.__setattr__(self, "labels", tuple(self.labels) or _make_labels(self))

    @property
    def title(self) -> str:
        """The axis in a word or two: 'epoch', 'LoRA weight', 'seed'."""
        if self.field == "lora" and all(label == NO_LORA or label.startswith("epoch") for label in self.labels):
            return "epoch"
        title = str(GenerationConfig.model_fields[self.field].title)
        return title if title.startswith("LoRA") else title.lower()


class Cell(NamedTuple):
    """A place in a grid: which value of each axis, counted from 0."""

    block: int
    row: int
    column: int


@dataclass(frozen=True)
class GridPlan:
    """What a grid shows: settings that are the same everywhere, and three axes that change one field each."""

    base: GenerationConfig
    blocks: Axis  # usually the prompts
    rows: Axis  # usually the LoRA weights
    columns: Axis  # usually no LoRA, then the LoRA of each epoch

    def __post_init__(self) -> None:
        problems = _check_plan(self)
        if problems:
            raise ConfigError("This grid cannot be drawn.", problems)

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        return self.blocks, self.rows, self.columns

    @property
    def has_control(self) -> bool:
        """Whether the first column is the base model alone, to compare with."""
        return self.columns.field == "lora" and self.columns.values[0] is None and len(self.columns.values) > 1

    def cells(self) -> Iterator[Cell]:
        """All places, from left to right and top to bottom."""
        for block in range(len(self.blocks.values)):
            for row in range(len(self.rows.values)):
                for column in range(len(self.columns.values)):
                    yield Cell(block, row, column)

    def settings(self, cell: Cell) -> GenerationConfig:
        """Everything that decides the picture of one cell.

        Without a LoRA the weight means nothing, and at weight 0 the LoRA means nothing: both become the same
        settings, so that the control is drawn once, not once a weight.
        """
        changes = {axis.field: axis.values[place] for axis, place in zip(self.axes, cell, strict=True)}
        settings = GenerationConfig.model_validate(self.base.model_dump() | changes)
        if settings.lora is None or settings.lora_weight == 0:
            settings = settings.model_copy(update={"lora": None, "lora_weight": 1.0})
        return settings


@dataclass(frozen=True)
class Grid:
    """A plan and its pictures."""

    plan: GridPlan
    images: dict[Cell, Image.Image]
    base: str  # the base model, as the user called it
    fingerprint: str = ""
    lora_hashes: dict[str, str] = field(default_factory=dict)  # file name => sha256

    def describe(self) -> str:
        """The whole plan as JSON, with file names instead of paths: what a saved figure carries."""
        plan = self.plan
        facts: dict[str, Any] = {"base_model": self.base, "base_fingerprint": self.fingerprint}
        facts["settings"] = plan.base.model_dump(mode="json") | {"lora": _plain(plan.base.lora)}
        for name, axis in zip(("blocks", "rows", "columns"), plan.axes, strict=True):
            values = [_plain(value) for value in axis.values]
            facts[name] = {"field": axis.field, "values": values, "labels": list(axis.labels)}
        facts["lora_sha256"] = self.lora_hashes
        return json.dumps(facts, ensure_ascii=False)


def epoch_weight_plan(
    loras: Sequence[Path], weights: Sequence[float], prompts: Sequence[str], settings: GenerationConfig
) -> GridPlan:
    """Plan the grid that finds the best epoch: a column for each LoRA file, a row for each weight.

    `loras` in the order of their epochs, as find_loras() gives them. `settings` holds for all pictures; its prompt
    and LoRA are replaced.
    """
    wanted = {"LoRA files": loras, "weights": weights, "prompts": prompts}
    fixes = {"LoRA files": "Train first, or choose another run."}
    problems = [
        Problem(f"grid, {name}", "There are none.", fixes.get(name, "Give at least one."))
        for name, values in wanted.items()
        if not values
    ]
    if problems:
        raise ConfigError("This grid cannot be drawn.", problems)
    return GridPlan(
        base=settings.model_copy(update={"lora": None, "lora_weight": 1.0}),
        blocks=Axis("prompt", tuple(prompts)),
        rows=Axis("lora_weight", tuple(weights)),
        columns=Axis("lora", (None, *loras)),
    )


def draw_grid(
    model: "DiffusionModel",
    plan: GridPlan,
    folder: Path,
    generate: Generate | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Grid:
    """Draw a grid's pictures, or take them from `<folder>/cells` where they were drawn before.

    `folder` is a project's `grids`. Each picture is stored as soon as it is drawn: after an interruption, call this
    again. `on_progress(done, total)` counts the pictures that must be generated. Raises LoraFileError for a LoRA
    file that cannot be read, before anything is drawn.
    """
    generate = generate or _default_generate()
    recipes, lora_hashes, fingerprint = _make_recipes(model, plan)
    by_key = {recipe.key: recipe for recipe in recipes.values()}  # equal cells, such as the control's, are one
    stored = {key: load_cell(folder / "cells", key) for key in by_key}
    pictures = {key: picture for key, picture in stored.items() if picture is not None}
    missing = sorted((recipe for key, recipe in by_key.items() if key not in pictures), key=_drawing_order(plan))
    report = on_progress or (lambda done, total: None)
    report(0, len(missing))
    for done, recipe in enumerate(missing, start=1):
        picture = generate(model, recipe.settings).convert("RGB")
        save_cell(folder / "cells", recipe, picture)
        pictures[recipe.key] = picture
        report(done, len(missing))
    images = {cell: pictures[recipe.key] for cell, recipe in recipes.items()}
    return Grid(plan, images, model.base, fingerprint, lora_hashes)


def count_missing(model: "DiffusionModel", plan: GridPlan, folder: Path) -> int:
    """How many pictures draw_grid() would have to generate: what a grid will cost, before it starts."""
    recipes, _, _ = _make_recipes(model, plan)
    keys = {recipe.key for recipe in recipes.values()}
    return sum(load_cell(folder / "cells", key) is None for key in keys)


def find_loras(run_folder: Path) -> list[Path]:
    """The LoRA files of a run, sorted by epoch; the one without a number, the last epoch's, stands at the end."""
    folder = run_folder / "loras" if (run_folder / "loras").is_dir() else run_folder
    files = [path for path in folder.glob("*.safetensors") if not path.name.startswith(".")]
    return sorted(files, key=lambda path: (*_progress(path), path.name))


def epoch_label(path: Path) -> str:
    """What to call a LoRA file in a grid: 'epoch 4', and the step on a second line if the file tells it."""
    epoch, step = _progress(path)
    label = f"epoch {epoch:g}" if epoch < _LAST else "last epoch"
    return f"{label}\nstep {step:g}" if step < _LAST else label


_LAST = float("inf")  # the epoch of a file that does not say: kohya gives the last one no number


def _progress(path: Path) -> tuple[float, float]:
    """Epoch and step at which a LoRA file was saved: from its metadata, else from its name as kohya makes it."""
    metadata = _read_metadata(path)
    named = re.search(r"-(\d{6})$", path.stem)
    named_step = re.search(r"-step(\d{8})$", path.stem)
    epoch = metadata.get("ss_epoch") or (named[1] if named else "")
    step = metadata.get("ss_steps") or (named_step[1] if named_step else "")
    return float(epoch) if epoch.isdecimal() else _LAST, float(step) if step.isdecimal() else _LAST


def _read_metadata(path: Path) -> dict[str, str]:
    """A LoRA file's metadata; empty if the file has none or cannot be read, which drawing will report."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _make_recipes(model: "DiffusionModel", plan: GridPlan) -> tuple[dict[Cell, Recipe], dict[str, str], str]:
    """Each cell's recipe, the sha256 of each LoRA file by name, and the model's fingerprint."""
    fingerprint = model_fingerprint(model)
    settings = {cell: plan.settings(cell) for cell in plan.cells()}
    files = dict.fromkeys(each.lora for each in settings.values() if each.lora is not None)
    hashes = {file: hash_file(file) for file in files}
    recipes = {
        cell: Recipe(each, hashes[each.lora] if each.lora else "", model.base, fingerprint)
        for cell, each in settings.items()
    }
    return recipes, {file.name: digest for file, digest in hashes.items()}, fingerprint


def _drawing_order(plan: GridPlan) -> Callable[[Recipe], tuple[int, float]]:
    """The base model first, then one LoRA after the other, each weight together: each file is attached once."""
    files = dict.fromkeys(plan.settings(cell).lora for cell in plan.cells())
    order = {file: place for place, file in enumerate(sorted(files, key=lambda file: file is not None))}
    return lambda recipe: (order[recipe.settings.lora], recipe.settings.lora_weight)


def _default_generate() -> Generate:
    from lora_nb.sampling import generate_with_lora  # here, so that a plan can be made without torch

    return generate_with_lora


def _make_labels(axis: Axis) -> tuple[str, ...]:
    if axis.field == "lora":
        labels = [NO_LORA if value is None else epoch_label(value) for value in axis.values]
        if len(set(labels)) < len(labels):  # files of several trainings
            labels = [NO_LORA if value is None else value.stem for value in axis.values]
        return tuple(labels)
    if axis.field == "sampler":
        return tuple(SAMPLER_NAMES[value] for value in axis.values)
    if axis.field in ("prompt", "negative_prompt"):
        return tuple(value or "(empty)" for value in axis.values)
    name = {"lora_weight": "weight", "guidance_scale": "guidance"}.get(axis.field, axis.field.replace("_", " "))
    return tuple(f"{name} {value:g}" for value in axis.values)


def _check_axis(axis: Axis) -> list[Problem]:
    where, known = f"axis {axis.field!r}", GenerationConfig.model_fields
    if axis.field not in known:
        near = difflib.get_close_matches(axis.field, known, 1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Choose one of: {', '.join(known)}."
        return [Problem(where, "There is no such setting.", fix)]
    if not axis.values:
        return [Problem(where, "It has no values.", "Give at least one.")]
    problems = []
    for value in axis.values:
        try:
            GenerationConfig.model_validate({axis.field: value})
        except ValidationError as error:
            problems.append(Problem(where, f"{value!r} does not work:", f"{error.errors()[0]['msg']}."))
    if not problems and len(set(axis.values)) < len(axis.values):
        problems.append(Problem(where, "A value is there twice.", "Name each value once."))
    if axis.labels and len(axis.labels) != len(axis.values):
        found = f"There are {len(axis.labels)} labels for {len(axis.values)} values."
        problems.append(Problem(where, found, "Give one label for each value, or none."))
    return problems


def _check_plan(plan: GridPlan) -> list[Problem]:
    fields = [axis.field for axis in plan.axes]
    twice = [name for name in dict.fromkeys(fields) if fields.count(name) > 1]
    fix = "Let each axis change a setting of its own."
    return [Problem(f"axis {name!r}", "Two axes change this setting.", fix) for name in twice]


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: a path becomes its file name, since folders are nobody else's business."""
    return value.name if isinstance(value, Path) else value
