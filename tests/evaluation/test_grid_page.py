"""The grid as one HTML file."""

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from lora_nb.config import GenerationConfig
from lora_nb.errors import LoraNbError
from lora_nb.evaluation.grid_page import encode_picture, grid_page, save_grid_html
from lora_nb.evaluation.grids import Grid, draw_grid, epoch_weight_plan
from tests.evaluation.painter import Painter, make_model, save_fake_lora

NASTY = "mochi </script><script>alert(1)</script> <img src=x onerror=alert(2)>"


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    file = save_fake_lora(tmp_path / "mochi.safetensors", ss_epoch="4")
    settings = GenerationConfig(width=64, height=64, steps=2)
    plan = epoch_weight_plan([file], [0.8], ["mochi, smile", NASTY], settings)
    return draw_grid(make_model(), plan, tmp_path, Painter())


def test_every_picture_is_inside_and_has_its_alt_text(grid: Grid, tmp_path: Path) -> None:
    save_grid_html(grid, tmp_path / "grid.html")
    page = (tmp_path / "grid.html").read_text(encoding="utf-8")
    found = re.findall(r'<img data-picture="\d+" alt="([^"]+)" src="data:image/png;base64,([^"]+)">', page)
    assert [alt for alt, _ in found] == ["no LoRA, seed 1", "epoch 4, weight 0.8, seed 1"] * 2
    for _, content in found:
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (64, 64)


def test_the_page_asks_for_nothing_from_outside(grid: Grid) -> None:
    page = grid_page(grid)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_a_prompt_cannot_become_part_of_the_page(grid: Grid) -> None:
    page = grid_page(grid)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2


def test_only_html_can_be_written(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(LoraNbError, match=r"ends in \.html"):
        save_grid_html(grid, tmp_path / "grid.png")


def test_small_pictures_stay_as_they_are_and_large_ones_become_small_files() -> None:
    noise = Image.effect_noise((64, 48), 60).convert("RGB")
    same = Image.open(io.BytesIO(encode_picture(noise).content))
    assert same.tobytes() == noise.tobytes()
    large = encode_picture(Image.new("RGB", (1024, 512)), longest=384)
    assert large.kind == "image/jpeg"
    assert Image.open(io.BytesIO(large.content)).size == (384, 192)
