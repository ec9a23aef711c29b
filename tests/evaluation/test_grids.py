import json
from pathlib import Path

import pytest
from PIL import Image

from lora_nb.config import GenerationConfig
from lora_nb.errors import ConfigError, LoraFileError
from lora_nb.evaluation.grids import (
    Axis,
    Cell,
    GridPlan,
    count_missing,
    draw_grid,
    epoch_label,
    epoch_weight_plan,
    find_loras,
)
from tests.evaluation.painter import Painter, make_model, save_fake_lora

SETTINGS = GenerationConfig(width=64, height=64, steps=2)
PROMPTS = ["mochi, red background", "a creature"]


@pytest.fixture
def loras(tmp_path: Path) -> list[Path]:
    names = ["mochi-000001", "mochi-000002", "mochi"]
    return [save_fake_lora(tmp_path / "loras" / f"{name}.safetensors", place) for place, name in enumerate(names)]


@pytest.fixture
def plan(loras: list[Path]) -> GridPlan:
    return epoch_weight_plan(loras, [0.5, 1.0], PROMPTS, SETTINGS)


def test_control_column_has_no_lora(plan: GridPlan) -> None:
    for cell in plan.cells():
        assert (plan.settings(cell).lora is None) == (cell.column == 0)


def test_control_is_drawn_once_a_prompt_and_not_once_a_weight(plan: GridPlan, tmp_path: Path) -> None:
    painter = Painter()
    grid = draw_grid(make_model(), plan, tmp_path, painter)
    assert len(painter.asked) == len(PROMPTS) * (1 + 3 * 2)
    assert sum(settings.lora is None for settings in painter.asked) == len(PROMPTS)
    assert grid.images[Cell(0, 0, 0)] is grid.images[Cell(0, 1, 0)]
    assert len(grid.images) == 2 * 2 * 4


def test_weight_zero_is_the_control(loras: list[Path], tmp_path: Path) -> None:
    painter = Painter()
    draw_grid(make_model(), epoch_weight_plan(loras, [0.0, 1.0], PROMPTS[:1], SETTINGS), tmp_path, painter)
    assert len(painter.asked) == 1 + 3


def test_a_second_call_generates_nothing(plan: GridPlan, tmp_path: Path) -> None:
    first = draw_grid(make_model(), plan, tmp_path, Painter())
    painter = Painter()
    second = draw_grid(make_model(), plan, tmp_path, painter)
    assert painter.asked == []
    assert {cell: image.tobytes() for cell, image in first.images.items()} == {
        cell: image.tobytes() for cell, image in second.images.items()
    }


def test_an_added_weight_generates_only_its_own_cells(plan: GridPlan, loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), plan, tmp_path, Painter())
    painter = Painter()
    draw_grid(make_model(), epoch_weight_plan(loras, [0.5, 0.8, 1.0], PROMPTS, SETTINGS), tmp_path, painter)
    assert {settings.lora_weight for settings in painter.asked} == {0.8}
    assert len(painter.asked) == len(PROMPTS) * 3


def test_an_added_epoch_generates_only_its_own_cells(loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), epoch_weight_plan(loras[:2], [1.0], PROMPTS, SETTINGS), tmp_path, Painter())
    painter = Painter()
    draw_grid(make_model(), epoch_weight_plan(loras, [1.0], PROMPTS, SETTINGS), tmp_path, painter)
    assert [settings.lora for settings in painter.asked] == [loras[2]] * len(PROMPTS)


def test_each_lora_file_is_attached_once_and_each_weight_set_once(plan: GridPlan, tmp_path: Path) -> None:
    painter = Painter()
    draw_grid(make_model(), plan, tmp_path, painter)
    states = [(settings.lora, settings.lora_weight) for settings in painter.asked]
    changes = [state for state, before in zip(states, [None, *states], strict=False) if state != before]
    assert len(changes) == len(set(states))
    assert states[0][0] is None
    files = [file for file, _ in changes]
    assert files == sorted(files, key=files.index)


def test_an_interrupted_grid_goes_on_where_it_stopped(plan: GridPlan, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        draw_grid(make_model(), plan, tmp_path, Painter(fails_after=5))
    assert count_missing(make_model(), plan, tmp_path) == 14 - 5
    painter = Painter()
    draw_grid(make_model(), plan, tmp_path, painter)
    assert len(painter.asked) == 14 - 5


def test_progress_counts_what_must_be_generated(plan: GridPlan, loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), epoch_weight_plan(loras, [0.5], PROMPTS, SETTINGS), tmp_path, Painter())
    seen: list[tuple[int, int]] = []
    draw_grid(make_model(), plan, tmp_path, Painter(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(7)]


def test_damaged_cell_is_drawn_again(plan: GridPlan, tmp_path: Path) -> None:
    grid = draw_grid(make_model(), plan, tmp_path, Painter())
    cells = sorted((tmp_path / "cells").glob("*.png"))
    content = cells[0].read_bytes()
    middle = content.index(b"IDAT") + 8
    cells[0].write_bytes(content[: len(content) // 2])
    cells[1].write_bytes(b"")
    cells[2].write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    painter = Painter()
    again = draw_grid(make_model(), plan, tmp_path, painter)
    assert len(painter.asked) == 3
    assert all(again.images[cell].tobytes() == image.tobytes() for cell, image in grid.images.items())
    assert count_missing(make_model(), plan, tmp_path) == 0


def test_changed_lora_file_gets_new_cells(plan: GridPlan, loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), plan, tmp_path, Painter())
    save_fake_lora(loras[1], 7.0)
    painter = Painter()
    draw_grid(make_model(), plan, tmp_path, painter)
    assert {settings.lora for settings in painter.asked} == {loras[1]}
    assert len(painter.asked) == 4


def test_renamed_lora_file_keeps_its_cells(plan: GridPlan, loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), plan, tmp_path, Painter())
    moved = [path.rename(tmp_path / f"other{place}.safetensors") for place, path in enumerate(loras)]
    painter = Painter()
    draw_grid(make_model(), epoch_weight_plan(moved, [0.5, 1.0], PROMPTS, SETTINGS), tmp_path, painter)
    assert painter.asked == []


def test_another_base_model_gets_new_cells(plan: GridPlan, tmp_path: Path) -> None:
    draw_grid(make_model(seed=0), plan, tmp_path, Painter())
    assert count_missing(make_model(seed=1), plan, tmp_path) == 14


@pytest.mark.parametrize("change", [{"seed": 2}, {"steps": 3}, {"negative_prompt": "red"}, {"sampler": "ddim"}])
def test_any_changed_setting_gets_new_cells(loras: list[Path], tmp_path: Path, change: dict[str, object]) -> None:
    draw_grid(make_model(), epoch_weight_plan(loras, [1.0], PROMPTS, SETTINGS), tmp_path, Painter())
    changed = epoch_weight_plan(loras, [1.0], PROMPTS, SETTINGS.model_copy(update=change))
    assert count_missing(make_model(), changed, tmp_path) == 8


def test_missing_lora_file_is_reported_before_anything_is_drawn(
    plan: GridPlan, loras: list[Path], tmp_path: Path
) -> None:
    loras[2].unlink()
    painter = Painter()
    with pytest.raises(LoraFileError, match=r"mochi\.safetensors"):
        draw_grid(make_model(), plan, tmp_path, painter)
    assert painter.asked == []


def test_cell_png_carries_its_parameters(loras: list[Path], tmp_path: Path) -> None:
    draw_grid(make_model(), epoch_weight_plan(loras[:1], [0.8], ["mochi, 日本"], SETTINGS), tmp_path, Painter())
    texts = [Image.open(path).info for path in (tmp_path / "cells").iterdir()]
    with_lora = next(text for text in texts if "<lora" in text["parameters"])
    prompt, facts = with_lora["parameters"].split("\n")
    assert prompt == "mochi, 日本 <lora:mochi-000001:0.8>"
    assert facts.startswith("Steps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Model: toy")
    assert json.loads(with_lora["lora_nb"])["lora"] == "mochi-000001.safetensors"
    assert str(tmp_path) not in str(texts)


def test_any_field_can_be_an_axis(tmp_path: Path) -> None:
    plan = GridPlan(SETTINGS, Axis("seed", (1, 2)), Axis("sampler", ("euler", "ddim")), Axis("steps", (2, 4, 8)))
    painter = Painter()
    draw_grid(make_model(), plan, tmp_path, painter)
    assert len(painter.asked) == len(set(painter.asked)) == 12
    assert plan.settings(Cell(1, 0, 2)).seed == 2
    assert plan.settings(Cell(1, 0, 2)).steps == 8
    assert plan.columns.labels == ("steps 2", "steps 4", "steps 8")
    assert not plan.has_control


def test_axis_values_take_the_type_of_their_field() -> None:
    assert Axis("lora", ["a.safetensors"]).values == (Path("a.safetensors"),)  # type: ignore[arg-type]
    assert Axis("seed", ("4",)).values == (4,)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("lora_wieght", (1,), "Did you mean 'lora_weight'"),
        ("seed", (), "no values"),
        ("lora_weight", (1, 99), "99 does not work"),
        ("seed", (1, 1), "twice"),
    ],
)
def test_wrong_axis_is_refused_with_a_way_out(field: str, values: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Axis(field, values)


def test_two_axes_of_the_same_field_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two axes"):
        GridPlan(SETTINGS, Axis("prompt", ("a",)), Axis("seed", (1,)), Axis("seed", (2,)))


def test_empty_plan_names_everything_that_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"LoRA files(.|\n)*prompts"):
        epoch_weight_plan([], [1.0], [], SETTINGS)


def test_loras_are_sorted_by_epoch_and_the_unnumbered_comes_last(tmp_path: Path) -> None:
    names = ["mochi", "mochi-000010", "mochi-000002", "mochi-000001"]
    for name in names:
        save_fake_lora(tmp_path / "loras" / f"{name}.safetensors")
    (tmp_path / "loras" / "notes.txt").write_text("x")
    assert [path.stem for path in find_loras(tmp_path)] == [*names[:0:-1], "mochi"]
    assert find_loras(tmp_path / "loras") == find_loras(tmp_path)


def test_epoch_is_read_from_the_metadata_before_the_name(tmp_path: Path) -> None:
    last = save_fake_lora(tmp_path / "mochi.safetensors", ss_epoch="3", ss_steps="240")
    renamed = save_fake_lora(tmp_path / "best.safetensors", ss_epoch="2")
    assert find_loras(tmp_path) == [renamed, last]
    assert epoch_label(last) == "epoch 3\nstep 240"
    assert epoch_label(renamed) == "epoch 2"


def test_epoch_is_read_from_the_name_of_a_file_without_metadata(tmp_path: Path) -> None:
    assert epoch_label(save_fake_lora(tmp_path / "mochi-000004.safetensors")) == "epoch 4"
    assert epoch_label(save_fake_lora(tmp_path / "mochi.safetensors")) == "last epoch"
    assert epoch_label(tmp_path / "not-there-000007.safetensors") == "epoch 7"


def test_files_of_several_trainings_are_labelled_by_name(tmp_path: Path) -> None:
    files = [save_fake_lora(tmp_path / name / f"{name}-000004.safetensors") for name in ("slow", "fast")]
    assert epoch_weight_plan(files, [1.0], ["a"], SETTINGS).columns.labels == ("no LoRA", "slow-000004", "fast-000004")
