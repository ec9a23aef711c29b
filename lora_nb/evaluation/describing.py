"""What a grid and each of its pictures is called in words: for headings, alt texts and prompts to copy."""

from pathlib import Path
from typing import Any

from lora_nb.evaluation.canvas import TIMES
from lora_nb.evaluation.cells import SAMPLER_NAMES, Recipe, list_parameters, write_parameters, write_prompt
from lora_nb.evaluation.grids import Cell, Grid, GridPlan

NO_BREAK = "\u00a0"  # a space at which no line ends


def name_cell(plan: GridPlan, cell: Cell) -> str:
    """A picture's place in words, as its alt text: 'epoch 4, weight 0.8, seed 1'.

    A block's prompt is left out, since it stands above the block; so is the weight of a LoRA that is not there.
    """
    settings = plan.settings(cell)
    words = []
    for axis, place in zip((plan.columns, plan.rows, plan.blocks), (cell.column, cell.row, cell.block), strict=True):
        is_heading = axis is plan.blocks and axis.field in ("prompt", "negative_prompt")
        if not is_heading and not (axis.field == "lora_weight" and settings.lora is None):
            words.append(axis.labels[place].split("\n")[0])
    if "seed" not in changed_fields(plan):
        words.append(f"seed {settings.seed}")
    return ", ".join(words)


def describe_cell(grid: Grid, cell: Cell) -> dict[str, Any]:
    """All that can be said about one picture: its name, its prompt as A1111 writes it, and every parameter."""
    recipe = recipe_of(grid, cell)
    return {
        "name": name_cell(grid.plan, cell),
        "prompt": write_prompt(recipe.settings),
        "parameters": list_parameters(recipe),
        "text": write_parameters(recipe),
    }


def describe_grid(grid: Grid) -> dict[str, Any]:
    """A grid without its pictures, as JSON can hold it: what a viewer in a browser shows.

    Equal pictures, such as the control's in every row, have one number: see list_pictures().
    """
    plan = grid.plan
    numbers = _number_pictures(grid)
    cells = {cell: describe_cell(grid, cell) | {"picture": numbers.get(cell)} for cell in plan.cells()}
    rows, columns = range(len(plan.rows.values)), range(len(plan.columns.values))
    blocks = range(len(plan.blocks.values))
    return {
        "title": grid_title(plan),
        "facts": grid_facts(grid).replace(NO_BREAK, " "),
        "axes": {
            name: {"title": axis.title, "labels": list(axis.labels)}
            for name, axis in zip(("blocks", "rows", "columns"), plan.axes, strict=True)
        },
        "control": plan.has_control,
        "shared": [is_control_shared(plan, block) for block in blocks],
        "pictures": [picture.size for picture in list_pictures(grid)],
        "cells": [[[cells[Cell(block, row, column)] for column in columns] for row in rows] for block in blocks],
    }


def list_pictures(grid: Grid) -> list[Any]:
    """The different pictures of a grid, in the order of their numbers."""
    found = {number: grid.images[cell] for cell, number in _number_pictures(grid).items()}
    return [found[number] for number in range(len(found))]


def recipe_of(grid: Grid, cell: Cell) -> Recipe:
    """Everything that decided a picture. Folders are nobody else's business, so a base model is its name alone."""
    settings = grid.plan.settings(cell)
    digest = grid.lora_hashes.get(settings.lora.name, "") if settings.lora else ""
    return Recipe(settings, digest, _base_name(grid), grid.fingerprint)


def is_control_shared(plan: GridPlan, block: int) -> bool:
    """Whether the control is one picture for all rows of a block, as it is when the rows are weights."""
    settings = {plan.settings(Cell(block, row, 0)) for row in range(len(plan.rows.values))}
    return plan.has_control and len(settings) == 1


def grid_title(plan: GridPlan) -> str:
    """'mochi: epoch x LoRA weight'; the name only if all files share it."""
    files = [value for axis in plan.axes if axis.field == "lora" for value in axis.values if value is not None]
    files += [plan.base.lora] if plan.base.lora and not files else []
    names = {_lora_name(file) for file in files}
    changed = [axis.title for axis in (plan.columns, plan.rows) if len(axis.values) > 1]
    about = f" {TIMES} ".join(changed or [plan.columns.title])
    return f"{names.pop()}: {about}" if len(names) == 1 else about[:1].upper() + about[1:]


def grid_facts(grid: Grid) -> str:
    """The settings that no axis changes, in one line."""
    base, changed = grid.plan.base, changed_fields(grid.plan)
    facts = {
        "base": f"base model {_base_name(grid)}",
        "prompt": f"prompt: {base.prompt}" if base.prompt else "",
        "lora": f"LoRA {base.lora.stem} at weight {base.lora_weight:g}" if base.lora else "",
        "steps": f"{base.steps} steps",
        "sampler": f"sampler {SAMPLER_NAMES[base.sampler]}",
        "guidance_scale": f"guidance {base.guidance_scale:g}",
        "seed": f"seed {base.seed}",
        "width": f"{base.width} {TIMES} {base.height}" if "height" not in changed else "",
        "max_tokens": f"{base.max_tokens} tokens" if base.max_tokens != 75 else "",
        "weighted_captions": "weighted prompt" if base.weighted_captions else "",
        "clip_skip": f"clip skip {base.clip_skip}" if base.clip_skip != 1 else "",
    }
    shown = [text for name, text in facts.items() if text and name not in changed]
    words = [text if text.startswith("prompt") else text.replace(" ", NO_BREAK) for text in shown]
    return f"{NO_BREAK}{NO_BREAK}· {NO_BREAK}".join(words)


def changed_fields(plan: GridPlan) -> set[str]:
    """The settings that an axis changes."""
    return {axis.field for axis in plan.axes}


def _number_pictures(grid: Grid) -> dict[Cell, int]:
    """A number for each different picture; cells without one are left out."""
    numbers: dict[Any, int] = {}
    drawn = [cell for cell in grid.plan.cells() if cell in grid.images]
    return {cell: numbers.setdefault(grid.plan.settings(cell), len(numbers)) for cell in drawn}


def _base_name(grid: Grid) -> str:
    return Path(grid.base).name if Path(grid.base).is_absolute() else grid.base


def _lora_name(file: Path) -> str:
    """The LoRA's name without kohya's number of the epoch."""
    name, dash, number = file.stem.rpartition("-")
    return name if dash and number.removeprefix("step").isdecimal() else file.stem
