"""The tagger's screen in a real browser, with the tagger that ships."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_nb.captioners.jobs import load_job
from lora_nb.project import Project, open_project
from lora_nb.widgets.tagger import TaggerPanel
from lora_nb.workshop.demo_project import fill_if_empty
from tests.browser.fake_jupyter import open_widget, serious_problems


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    fill_if_empty(project)
    for path in sorted(project.images.rglob("*.txt"))[2:]:
        path.unlink()
    return project


@pytest.fixture
def opened(browser: Any, project: Project) -> Iterator[Any]:
    with open_widget(browser, TaggerPanel(project)) as (page, kernel):
        page.get_by_role("button", name="Start").wait_for()
        yield page, kernel, project


def texts(project: Project) -> list[str]:
    return [path.read_text() for path in sorted(project.images.rglob("*.txt"))]


def test_pictures_without_a_caption_get_one_and_it_can_be_undone(opened: Any):
    page, _, project = opened
    before = texts(project)
    page.get_by_text("10 of 12 pictures have no caption yet.").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Done: 10 of 10 pictures, 10 captions written.").wait_for(timeout=60000)
    page.get_by_text("Runs on: WD tagger on").wait_for()
    assert len(texts(project)) == 12 and texts(project)[:2] == before
    assert all(text.startswith("mochi, ") and "antenna" in text for text in texts(project)[2:])
    page.get_by_role("button", name="Undo all of it").click()
    page.get_by_text("Undone: 10 captions are as they were.").wait_for()
    assert texts(project) == before


def test_one_picture_is_tried_without_writing(opened: Any):
    page, _, project = opened
    before = texts(project)
    page.get_by_label("Never write").fill("antenna")
    page.get_by_role("button", name="Try on one picture").click()
    page.get_by_text("Nothing was written.").wait_for(timeout=60000)
    shown = page.locator(".tag-trial").inner_text()
    assert "mochi, " in shown and "antenna" not in shown and texts(project) == before


def test_a_captioning_that_was_stopped_goes_on_in_another_page(browser: Any, project: Project, monkeypatch: Any):
    from lora_nb.widgets import tagger

    real = tagger.run_slice
    monkeypatch.setattr(tagger, "run_slice", lambda *rest: real(*rest, seconds=0))
    with open_widget(browser, TaggerPanel(project)) as (page, _):
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Pause").click()
        page.get_by_text("Stopped: ").wait_for(timeout=60000)
    job = load_job(project.history / "captioning.json")
    assert job is not None and 0 < job.done < 10
    with open_widget(browser, TaggerPanel(project)) as (page, _):
        page.get_by_text(f"A captioning was stopped at {job.done} of 10 pictures.").wait_for()
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("Done: 10 of 10 pictures").wait_for(timeout=60000)
    assert len(texts(project)) == 12


def test_mistakes_are_explained(opened: Any):
    page, _, _ = opened
    page.get_by_label("General tags from").fill("7")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("7 is not from 0 to 1.").wait_for()
    page.get_by_label("Florence-2").check()
    page.locator(".tag-field select:visible").first.select_option("")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Name a folder").wait_for()
    page.get_by_label("Folder or hub name").fill("/no/such/folder")
    page.get_by_role("button", name="Try on one picture").click()
    page.get_by_text("There is no captioner at '/no/such/folder'.").wait_for()


def test_nothing_to_do_is_said(opened: Any):
    page, _, project = opened
    for path in project.images.rglob("*.png"):
        path.with_suffix(".txt").write_text("mochi")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("There is nothing to do").wait_for()


@pytest.mark.parametrize("dark", [False, True])
def test_the_screen_is_accessible_and_fits_320_pixels(browser: Any, project: Project, dark: bool):
    with open_widget(browser, TaggerPanel(project), dark=dark, width=320) as (page, _):
        page.get_by_role("button", name="Start").wait_for()
        for kind in ("WD tagger v3", "Florence-2", "The small tagger"):
            page.get_by_label(kind).check()
            assert serious_problems(page) == []
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Done: ").wait_for(timeout=60000)
        assert serious_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
