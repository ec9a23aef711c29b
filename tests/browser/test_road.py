"""The whole road in a real JupyterLab, as a person walks it: the six notebooks on the demo, with a few clicks in each.

The tests build on one another, in this order. Screenshots are in build/screenshots.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

from tests.browser.fake_jupyter import serious_problems
from tests.browser.jupyterlab import Person, running_lab, wait_until

EPOCHS = 3  # a short training: two kinds of previews are enough to look at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def person(browser: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    with running_lab(tmp_path_factory.mktemp("jupyter"), folder) as address:
        person = Person(browser, address, folder)
        yield person
        person.page.close()


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "my_lora" / "config.json").read_text())


def captions(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in folder.glob("my_lora/images/*_mochi/*.txt")}


def test_1_the_set_up_runs(person: Person, folder: Path):
    person.open("1_setup.ipynb")
    person.run_all()
    person.photograph("1_setup", person.page.locator("img").last)
    assert len(captions(folder)) == 12


def test_2_pictures_are_uploaded_and_excluded_in_the_board(person: Person, folder: Path, tmp_path: Path):
    person.open("2_dataset.ipynb")
    person.run_all()
    source = next(iter(folder.glob("my_lora/images/*_mochi/*.png")))
    ImageOps.mirror(Image.open(source)).save(tmp_path / "one_more.png")
    (tmp_path / "one_more.txt").write_text("mochi, mirrored")
    board = person.page.get_by_role("region", name="Dataset board")
    person.choose_files("Choose files", [tmp_path / "one_more.png", tmp_path / "one_more.txt"])
    board.get_by_text("Added 1 picture").first.wait_for()
    board.get_by_role("listbox").press("End")  # only what is in view is on the page
    board.get_by_role("option", name="one_more.png").click()
    person.photograph("2_board", board.get_by_role("listbox"))
    assert captions(folder)["one_more"] == "mochi, mirrored"
    board.get_by_role("button", name="Exclude", exact=True).first.click()
    board.get_by_role("button", name="Excluded 1", exact=True).wait_for()
    assert "one_more" not in captions(folder)


def test_3_a_tag_is_pruned_and_comes_back_with_undo(person: Person, folder: Path):
    person.open("3_captions.ipynb")
    person.run_all()
    before = captions(folder)
    editor = person.page.get_by_role("region", name="Caption editor")
    editor.get_by_label("Edit", exact=True).select_option("remove")
    editor.get_by_label("Tags", exact=True).fill("smile")
    editor.get_by_text("2 of 12 captions would change.").wait_for()
    editor.get_by_role("button", name="Apply").click()
    wait_until(lambda: not any("smile" in text for text in captions(folder).values()), "the tag is gone on disk")
    person.photograph("3_captions", editor)
    editor.get_by_role("button", name="Undo").first.click()
    wait_until(lambda: captions(folder) == before, "the captions are as they were")


def test_4_a_change_in_the_form_is_in_config_json_at_once(person: Person, folder: Path):
    person.open("4_config.ipynb")
    person.run_all()
    epochs = person.page.get_by_label("Epochs", exact=True).first  # of the short form
    epochs.fill("none")
    epochs.press("Tab")  # leaving the field is enough
    person.page.get_by_text("'none' does not work").wait_for()
    assert settings(folder)["run"]["epochs"] != "none"
    epochs.fill(str(EPOCHS))
    epochs.press("Tab")
    wait_until(lambda: settings(folder)["run"]["epochs"] == EPOCHS, "config.json holds the change")
    person.page.get_by_text("'none' does not work").wait_for(state="detached")
    person.page.get_by_text(f"{EPOCHS} epochs =").wait_for()  # and the steps are counted
    cut = "labels => labels.filter(l => l.scrollWidth > l.clientWidth + 1).map(l => l.textContent)"
    assert person.page.locator(".jupyter-widgets .widget-label").evaluate_all(cut) == []
    person.photograph("4_settings", epochs)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])  # the light one last: it stays
def test_4_the_forms_can_be_read_by_everybody_and_on_a_narrow_page(person: Person, theme: str):
    forms = person.page.locator(".lnf")
    assert forms.count() >= 8
    person.choose_theme(theme)
    assert serious_problems(person.page, ".lnf") == []
    style = person.page.add_style_tag(content=".lnf { width: 320px !important; }")
    forms.nth(2).scroll_into_view_if_needed()
    too_wide = "forms => forms.filter(f => f.scrollWidth > f.clientWidth).map(f => f.innerText.slice(0, 80))"
    assert forms.evaluate_all(too_wide) == []
    too_tall = "fields => fields.filter(f => f.clientHeight > 40).map(f => f.outerHTML)"
    assert person.page.locator(".lnf select, .lnf input").evaluate_all(too_tall) == []
    person.photograph(f"4_narrow_{theme.split()[1].lower()}", forms.nth(2))
    style.evaluate("style => style.remove()")


def test_5_training_is_watched_stopped_and_continued(person: Person, folder: Path):
    person.open("5_train.ipynb")
    person.interactions = 0
    person.run_all(wait=False)
    panel = person.page.get_by_role("region", name="Training")
    panel.get_by_text("epoch 1", exact=True).first.wait_for(timeout=600_000)  # previews: before, and after an epoch
    assert person.interactions == 1
    person.photograph("5_training", panel)
    person.click("Stop")
    panel.get_by_text("Stopped").first.wait_for()
    person.wait_for_all_cells()
    files = folder / "my_lora" / "runs" / "run1" / "loras"
    assert len(list(files.glob("*.safetensors"))) < EPOCHS + 1
    person.click("Continue")
    panel.get_by_text("Finished").first.wait_for(timeout=900_000)
    assert len(list(files.glob("*.safetensors"))) >= EPOCHS
    person.photograph("5_finished", panel)


def test_6_the_grid_is_opened_and_another_weight_chosen(person: Person):
    person.open("6_evaluate.ipynb")
    person.run_all()
    grid = person.page.get_by_role("region", name="Grid of pictures")
    grid.get_by_role("grid").first.wait_for()
    person.photograph("6_grid", grid.get_by_role("row").first)
    slider = grid.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowRight")
    grid.locator("td img").first.click()
    prompt = grid.get_by_label("Prompt", exact=True).first
    prompt.wait_for()
    assert "<lora:" in prompt.input_value() or prompt.input_value()
    person.photograph("6_full_size", grid)


def test_nothing_serious_is_in_the_way_of_keyboards_and_screen_readers(person: Person):
    """Of ours: JupyterLab's own page has findings of its own."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(person.page, context=".ln").response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_from_pictures_to_a_started_training_takes_five_interactions(person: Person, folder: Path, tmp_path: Path):
    pictures = sorted(folder.glob("my_lora/images/*_mochi/00*.png"))[:4]
    (folder / "my_lora").rename(tmp_path / "the_demos")
    (folder / "my_lora" / "images").mkdir(parents=True)
    Image.open(pictures and tmp_path / "the_demos" / pictures[0].relative_to(folder / "my_lora")).save(
        folder / "my_lora" / "images" / "mine.png"
    )
    person.interactions = 0
    person.open("2_dataset.ipynb")
    person.run_all()
    rest = [tmp_path / "the_demos" / each.relative_to(folder / "my_lora") for each in pictures[1:]]
    person.choose_files("Choose files", rest)
    person.page.get_by_text("Added 3 pictures").wait_for()
    person.open("5_train.ipynb")
    person.run_all(wait=False)
    log = folder / "my_lora" / "runs" / "run1" / "events.jsonl"
    wait_until(lambda: log.exists() and '"step_done"' in log.read_text(), "the first step is done")
    assert person.interactions <= 5
    person.click("Stop")
    person.page.get_by_text("Stopped").first.wait_for()


def test_the_helpers_of_this_file_see_serious_problems(browser: Any):
    page = browser.new_page()
    page.set_content('<html lang="en"><title>t</title><main><img src="data:,"></main></html>')
    assert serious_problems(page)
    page.close()
