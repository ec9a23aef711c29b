"""The grid viewer in a real browser: keys, full size, comparison, downloads, and the page that needs no notebook."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_nb.config import GenerationConfig
from lora_nb.evaluation.grid_page import save_grid_html
from lora_nb.evaluation.grids import Grid, draw_grid, epoch_weight_plan
from lora_nb.widgets.grid import view_grid
from tests.browser.fake_jupyter import open_widget, serious_problems
from tests.evaluation.painter import Painter, make_model, save_fake_lora

FOCUSED = "document.activeElement.querySelector('img').alt"
IS_LOADED = "document.querySelectorAll('td img').item({})?.naturalWidth === 64"  # of the picture with this number
LAST = 2 * (1 + 3 * 3) - 1


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    folder = tmp_path_factory.mktemp("grid")
    files = [
        save_fake_lora(folder / f"mochi-00000{epoch}.safetensors", epoch, ss_epoch=str(epoch)) for epoch in (2, 4, 6)
    ]
    settings = GenerationConfig(width=64, height=64)
    plan = epoch_weight_plan(files, [0.6, 0.8, 1.0], ["mochi <b>bold</b>", "a creature"], settings)
    return draw_grid(make_model(), plan, folder, Painter())


@pytest.fixture
def page(browser: Any, grid: Grid) -> Iterator[Any]:
    with open_widget(browser, view_grid(grid)) as (page, _):
        page.get_by_role("grid").wait_for()
        yield page


def press(page: Any, *keys: str) -> str:
    for key in keys:
        page.keyboard.press(key)
    return page.evaluate(FOCUSED)


def test_pictures_come_when_they_are_looked_at(page: Any):
    page.wait_for_function(IS_LOADED.format(0))
    assert not page.evaluate(IS_LOADED.format(LAST))
    page.locator("td img").last.scroll_into_view_if_needed()
    page.wait_for_function(IS_LOADED.format(LAST))


def test_all_cells_are_there_with_their_axes(page: Any):
    assert page.locator("td img").count() == LAST + 1
    assert page.get_by_role("columnheader", name="epoch 4").count() == 2
    assert page.get_by_text("mochi <b>bold</b>", exact=True).count() >= 1  # a prompt is text, never part of the page


def test_arrow_keys_walk_through_the_grid_with_one_tab_stop(page: Any):
    page.locator("td[tabindex='0']").focus()
    assert press(page, "ArrowRight", "ArrowRight") == "epoch 4, weight 0.6, seed 1"
    assert press(page, "ArrowDown") == "epoch 4, weight 0.8, seed 1"
    assert press(page, "Home") == "no LoRA, seed 1"
    assert press(page, "ArrowRight") == "epoch 2, weight 0.8, seed 1"  # back in the row it came from
    assert press(page, "Home", "ArrowDown", "ArrowRight") == "epoch 2, weight 0.6, seed 1"  # of the next prompt
    assert press(page, "Control+End") == "epoch 6, weight 1, seed 1"
    assert page.locator("td[tabindex='0']").count() == 1


def test_enter_shows_full_size_with_the_prompt_to_copy(page: Any):
    page.locator("td[tabindex='0']").focus()
    press(page, "ArrowRight", "ArrowRight", "ArrowDown")
    page.keyboard.press("Enter")
    assert page.get_by_label("Prompt", exact=True).first.input_value() == "mochi <b>bold</b> <lora:mochi-000004:0.8>"
    page.keyboard.press("ArrowRight")  # the next epoch, at full size
    page.get_by_text("epoch 6, weight 0.8, seed 1").first.wait_for()
    page.get_by_text("All parameters").last.click()
    page.get_by_text("CFG scale").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "epoch 6, weight 0.8, seed 1"  # and back where one was looking


def test_a_prompt_can_be_copied_where_there_is_no_clipboard(page: Any):
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(document.activeElement.value); })")
    page.locator("td", has=page.locator("img")).nth(2).click()
    page.get_by_role("button", name="Copy prompt").click()
    page.get_by_text("The prompt is copied.").wait_for()
    assert page.evaluate("window.copied") == "mochi <b>bold</b> <lora:mochi-000004:0.6>"


def test_the_slider_shows_one_weight(page: Any):
    page.get_by_role("slider", name="LoRA weight").fill("2")
    assert page.locator("td", has=page.locator("img")).count() == 2 * 4
    page.get_by_label("Prompt").select_option("1")
    assert page.locator("td", has=page.locator("img")).count() == 4
    page.get_by_alt_text("epoch 4, weight 0.8, seed 1").wait_for()


def test_two_marked_pictures_stand_side_by_side(page: Any):
    page.locator("td[tabindex='0']").focus()
    press(page, "ArrowRight", "c")
    page.get_by_text("epoch 2, weight 0.6, seed 1 is marked.").wait_for(state="attached")
    press(page, "ArrowRight")
    page.keyboard.press("c")
    first, second = page.get_by_label("Picture", exact=True), page.get_by_label("Second picture")
    assert first.locator("img").get_attribute("alt") == "epoch 2, weight 0.6, seed 1"
    assert second.locator("img").get_attribute("alt") == "epoch 4, weight 0.6, seed 1"
    second.get_by_label("LoRA weight").select_option(label="weight 1")
    second.get_by_alt_text("epoch 4, weight 1, seed 1").wait_for()


def test_pointing_at_a_picture_enlarges_it_until_escape(page: Any):
    page.wait_for_function(IS_LOADED.format(0))
    page.get_by_alt_text("epoch 4, weight 0.8, seed 1").first.hover()
    lens = page.locator(".ln-grid-lens")
    lens.wait_for()
    assert "epoch 4, weight 0.8" in lens.inner_text()
    page.keyboard.press("Escape")
    lens.wait_for(state="hidden")


def test_the_figure_and_the_page_are_downloaded(page: Any, tmp_path: Path):
    for kind, start in (("PNG", b"\x89PNG"), ("HTML", b"<!doctype html>")):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Download {kind}").click()
        waiting.value.save_as(tmp_path / kind)
        assert waiting.value.suggested_filename == f"mochi-grid.{kind.lower()}"
        assert (tmp_path / kind).read_bytes().startswith(start)


@pytest.mark.parametrize("width", [320, 1000])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_accessible_and_fits(browser: Any, grid: Grid, width: int, dark: bool):
    with open_widget(browser, view_grid(grid), width=width, dark=dark) as (page, _):
        page.wait_for_function(IS_LOADED.format(0))
        page.wait_for_timeout(200)
        assert serious_problems(page) == []
        page.locator("td", has=page.locator("img")).nth(1).click()
        page.get_by_role("button", name="Compare two").click()
        assert serious_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_saved_page_works_alone_and_its_pictures_can_be_seen_without_scripts(
    browser: Any, grid: Grid, tmp_path: Path
):
    save_grid_html(grid, tmp_path / "grid.html")
    for scripts in (True, False):
        context = browser.new_context(java_script_enabled=scripts)
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto((tmp_path / "grid.html").as_uri())
        assert page.get_by_alt_text("epoch 4, weight 0.8, seed 1").count() == 2
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        if scripts:
            page.get_by_role("grid").wait_for()
            page.get_by_alt_text("epoch 4, weight 0.8, seed 1").first.click()
            assert page.get_by_label("Prompt", exact=True).first.input_value().endswith("<lora:mochi-000004:0.8>")
            assert serious_problems(page) == []
        context.close()
