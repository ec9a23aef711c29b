"""What a grid and its pictures are called."""

import json
from pathlib import Path

import pytest

from lora_nb.config import GenerationConfig
from lora_nb.evaluation.describing import describe_cell, describe_grid, list_pictures, name_cell
from lora_nb.evaluation.grids import Axis, Cell, Grid, GridPlan, draw_grid, epoch_weight_plan
from tests.evaluation.painter import Painter, make_model, save_fake_lora

SETTINGS = GenerationConfig(width=64, height=64, steps=2, negative_prompt="blurry")


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    files = [
        save_fake_lora(tmp_path / f"mochi-00000{epoch}.safetensors", epoch, ss_epoch=str(epoch)) for epoch in (2, 4)
    ]
    plan = epoch_weight_plan(files, [0.8, 1.0], ["mochi, smile", "a creature"], SETTINGS)
    return draw_grid(make_model(), plan, tmp_path, Painter())


def test_a_picture_is_called_by_its_epoch_weight_and_seed(grid: Grid) -> None:
    assert name_cell(grid.plan, Cell(0, 0, 2)) == "epoch 4, weight 0.8, seed 1"


def test_the_control_has_no_weight(grid: Grid) -> None:
    assert name_cell(grid.plan, Cell(0, 1, 0)) == "no LoRA, seed 1"


def test_a_seed_that_is_an_axis_is_said_once() -> None:
    plan = GridPlan(SETTINGS, Axis("prompt", ("a",)), Axis("seed", (5, 6)), Axis("steps", (2, 3)))
    assert name_cell(plan, Cell(0, 1, 0)) == "steps 2, seed 6"


def test_the_prompt_to_copy_is_as_a1111_writes_it(grid: Grid) -> None:
    said = describe_cell(grid, Cell(0, 0, 2))
    assert said["prompt"] == "mochi, smile <lora:mochi-000004:0.8>"
    assert said["text"].splitlines()[1] == "Negative prompt: blurry"
    assert said["parameters"]["Size"] == "64x64"
    assert grid.lora_hashes["mochi-000004.safetensors"][:12] in said["parameters"]["Lora hashes"]


def test_without_a_lora_the_prompt_is_the_prompt(grid: Grid) -> None:
    assert describe_cell(grid, Cell(0, 0, 0))["prompt"] == "mochi, smile"


def test_a_grid_can_be_said_in_json_with_each_picture_once(grid: Grid) -> None:
    said = json.loads(json.dumps(describe_grid(grid)))
    assert said["axes"]["rows"] == {"title": "LoRA weight", "labels": ["weight 0.8", "weight 1"]}
    assert said["shared"] == [True, True]
    assert len(said["pictures"]) == len(list_pictures(grid)) == 2 * (1 + 2 * 2)
    block = said["cells"][0]
    assert block[0][0]["picture"] == block[1][0]["picture"]  # the control
    assert block[0][1]["picture"] != block[1][1]["picture"]


def test_a_cell_without_a_picture_has_no_number(grid: Grid) -> None:
    del grid.images[Cell(1, 1, 2)]
    said = describe_grid(grid)
    assert said["cells"][1][1][2]["picture"] is None
    assert len(said["pictures"]) == len(list_pictures(grid))


def test_no_folder_is_named(grid: Grid, tmp_path: Path) -> None:
    moved = Grid(grid.plan, grid.images, str(tmp_path / "private" / "model"), "", grid.lora_hashes)
    assert str(tmp_path) not in json.dumps(describe_grid(moved))
