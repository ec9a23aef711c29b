import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lora_nb.config import GenerationConfig
from lora_nb.errors import LoraNbError
from lora_nb.evaluation.canvas import Style, fit_lines, text_width
from lora_nb.evaluation.grids import Axis, Cell, Grid, GridPlan, draw_grid, epoch_weight_plan
from lora_nb.evaluation.plots import plot_grid, save_grid
from tests.evaluation.painter import Painter, make_model, save_fake_lora

LONG = ", ".join(["masterpiece, best quality, very_long_tag_(series), $10 and $20, <b>bold</b>"] * 12)
STYLE = Style(16)


def make_grid(
    folder: Path, epochs: int = 3, prompts: tuple[str, ...] = ("mochi",), name: str = "mochi", **settings: object
) -> Grid:
    loras = [save_fake_lora(folder / f"{name}-{epoch:06d}.safetensors", epoch) for epoch in range(1, epochs + 1)]
    base = GenerationConfig(**({"width": 64, "height": 64, "seed": 5} | settings))
    return draw_grid(make_model(), epoch_weight_plan(loras, [0.5, 1.0], prompts, base), folder, Painter())


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def assert_nothing_overlaps(figure: Figure) -> None:
    """No two texts touch, no text lies on a picture, and none leaves the page."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    pictures = [image.get_window_extent(renderer) for image in figure.axes[0].images]
    for one, other in itertools.combinations(texts, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))
    for text, picture in itertools.product(texts, pictures):
        assert not text.padded(-1).overlaps(picture.padded(-1))
    for box in [*texts, *pictures]:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


@pytest.mark.parametrize(("epochs", "side"), [(1, 64), (1, 512), (2, 128), (6, 256), (15, 64), (12, 512)])
def test_labels_never_overlap(tmp_path: Path, epochs: int, side: int) -> None:
    grid = make_grid(tmp_path, epochs, ("mochi", LONG), width=side, height=side, negative_prompt=LONG, clip_skip=2)
    assert_nothing_overlaps(plot_grid(grid))


def test_long_file_names_and_pictures_of_any_shape_do_not_overlap(tmp_path: Path) -> None:
    files = [save_fake_lora(tmp_path / f"a_very_long_name_of_a_lora_file_{end}.safetensors") for end in "abc"]
    axes = Axis("prompt", ("mochi",)), Axis("negative_prompt", ("", LONG)), Axis("lora", (None, *files))
    plan = GridPlan(GenerationConfig(width=64, height=192), *axes)
    assert_nothing_overlaps(plot_grid(draw_grid(make_model(), plan, tmp_path, Painter())))


def test_header_names_what_all_pictures_share(tmp_path: Path) -> None:
    figure = plot_grid(make_grid(tmp_path, guidance_scale=4.5, sampler="dpmpp_2m", negative_prompt="blurry"))
    header = " ".join(texts_of(figure)).replace("\u00a0", " ")
    for fact in ("mochi: epoch", "base model toy", "20 steps", "DPM++ 2M", "guidance 4.5", "seed 5", "blurry"):
        assert fact in header


def test_every_row_column_and_block_is_labelled(tmp_path: Path) -> None:
    texts = texts_of(plot_grid(make_grid(tmp_path, 2, ("mochi, red", "creature"))))
    assert texts.count("no LoRA") == texts.count("epoch 1") == texts.count("epoch 2") == 2
    assert texts.count("weight 0.5") == texts.count("weight 1") == 2
    assert {"mochi, red", "creature"} <= set(texts)


def test_control_is_shown_once_a_block_when_the_rows_are_weights(tmp_path: Path) -> None:
    figure = plot_grid(make_grid(tmp_path, 3))
    assert len(figure.axes[0].images) == 1 + 3 * 2


def test_control_is_shown_in_every_row_when_the_rows_are_seeds(tmp_path: Path) -> None:
    lora = save_fake_lora(tmp_path / "mochi.safetensors")
    plan = GridPlan(GenerationConfig(), Axis("prompt", ("a",)), Axis("seed", (1, 2)), Axis("lora", (None, lora)))
    assert len(plot_grid(draw_grid(make_model(), plan, tmp_path, Painter())).axes[0].images) == 4


def test_small_pictures_are_enlarged_by_a_whole_factor_pixel_for_pixel(tmp_path: Path) -> None:
    for image in plot_grid(make_grid(tmp_path, 6)).axes[0].images:
        left, right, bottom, top = image.get_extent()
        assert image.get_array().shape[:2] == (bottom - top, right - left)
        assert (right - left) % 64 == 0 and right - left >= 180
        assert left == round(left) and top == round(top)


def test_saved_picture_shows_the_cells_colours(tmp_path: Path) -> None:
    grid = make_grid(tmp_path, 2)
    save_grid(grid, tmp_path / "grid.png")
    pixels = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB"))
    for image in grid.images.values():
        color = np.asarray(image)[0, 0]
        assert (pixels == color).all(axis=-1).sum() >= 180 * 180


def test_png_carries_its_parameters(tmp_path: Path) -> None:
    save_grid(make_grid(tmp_path, prompts=("mochi, 日本",)), tmp_path / "out" / "grid.png")
    facts = json.loads(Image.open(tmp_path / "out" / "grid.png").info["lora_nb"])
    assert facts["base_model"] == "toy"
    assert facts["settings"]["seed"] == 5
    assert facts["blocks"] == {"field": "prompt", "values": ["mochi, 日本"], "labels": ["mochi, 日本"]}
    assert facts["rows"]["values"] == [0.5, 1.0]
    assert facts["columns"]["values"][:2] == [None, "mochi-000001.safetensors"]
    assert len(facts["lora_sha256"]) == 3
    assert str(tmp_path) not in json.dumps(facts)


def test_grid_is_saved_as_png_only(tmp_path: Path) -> None:
    with pytest.raises(LoraNbError, match="png"):
        save_grid(make_grid(tmp_path), tmp_path / "grid.jpg")


def test_half_drawn_grid_leaves_its_open_cells_open(tmp_path: Path) -> None:
    grid = make_grid(tmp_path, 3)
    del grid.images[Cell(0, 1, 2)]
    assert len(plot_grid(grid).axes[0].images) == 6


def test_drawing_never_imports_pyplot() -> None:
    code = (
        "import sys, lora_nb.evaluation.plots, lora_nb.evaluation.charts; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_notebook_shows_a_grid_without_pyplot(tmp_path: Path) -> None:
    assert plot_grid(make_grid(tmp_path, 1))._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [LONG, "x" * 500, "a b", "", "  spaces \n and\tlines "])
def test_text_is_fitted_without_loss_until_it_must_be_cut(text: str) -> None:
    lines = fit_lines(text, STYLE, 200, 500)
    assert all(text_width(line, STYLE) <= 200 for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(text.split())
    short = fit_lines(text, STYLE, 200, 1)
    assert len(short) <= 1 and all(text_width(line, STYLE) <= 200 for line in short)
    assert (len(lines) > 1) == any(line.endswith("…") for line in short)
