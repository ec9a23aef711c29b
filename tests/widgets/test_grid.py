"""The grid viewer's answers: pictures and files, in parts."""

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("anywidget")

from lora_nb.config import GenerationConfig
from lora_nb.errors import LoraNbError
from lora_nb.evaluation.grids import Cell, Grid, draw_grid, epoch_weight_plan
from lora_nb.widgets.asking import PART
from lora_nb.widgets.grid import GridWidget, view_grid
from tests.evaluation.painter import make_model, save_fake_lora


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    file = save_fake_lora(tmp_path / "mochi.safetensors", ss_epoch="4")
    plan = epoch_weight_plan([file], [1.0], ["mochi"], GenerationConfig(width=1536, height=1024))
    noise = Image.effect_noise((1536, 1024), 80).convert("RGB")
    return draw_grid(make_model(), plan, tmp_path, lambda model, settings: noise)


def fetch(widget: GridWidget, what: str, **details: object) -> tuple[str, bytes]:
    """Ask as the page does: part by part."""
    content = b""
    while True:
        facts, buffers = getattr(widget, f"answer_{what}")(**details, start=len(content))
        assert len(buffers[0]) <= PART <= 512 * 1024
        content += buffers[0]
        if len(content) >= facts["size"]:
            return facts["type"], content


def test_a_large_picture_comes_in_parts(grid: Grid):
    kind, content = fetch(view_grid(grid), "picture", number=1, full=True)
    assert len(content) > PART
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (1536, 1024)


def test_the_grid_is_shown_with_small_pictures(grid: Grid):
    _, content = fetch(view_grid(grid), "picture", number=0, full=False)
    assert max(Image.open(io.BytesIO(content)).size) == 384


def test_the_figure_and_the_page_can_be_downloaded(grid: Grid):
    widget = view_grid(grid)
    kind, png = fetch(widget, "file", kind="png")
    assert kind == "image/png"
    assert "lora_nb" in Image.open(io.BytesIO(png)).text
    kind, page = fetch(widget, "file", kind="html")
    assert kind == "text/html"
    assert page.startswith(b"<!doctype html>")


def test_another_kind_of_file_is_refused_in_words(grid: Grid):
    with pytest.raises(LoraNbError, match="png, html"):
        view_grid(grid).answer_file("exe")


def test_the_view_names_every_picture(grid: Grid):
    cells = view_grid(grid).answer_view()["cells"]
    assert cells[0][0][1]["name"] == "epoch 4, weight 1, seed 1"
    assert Cell(0, 0, 1) in grid.images
