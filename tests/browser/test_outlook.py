"""The outlook in a real browser: lines that follow the settings, whoever changes them."""

from pathlib import Path
from typing import Any

import pytest

from lora_nb.project import Project, open_project
from lora_nb.widgets.outlook import show_outlook
from lora_nb.workshop.demo_project import fill_if_empty
from tests.browser.fake_jupyter import open_widget, serious_problems


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    fill_if_empty(project)
    return project


@pytest.mark.parametrize("dark", [False, True])
def test_the_lines_follow_the_settings_and_the_time_is_measured(browser: Any, project: Project, dark: bool):
    with open_widget(browser, show_outlook(project), width=320, dark=dark) as (page, _):
        page.set_default_timeout(120_000)
        page.get_by_text("Each LoRA file: ").wait_for()
        assert serious_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        project.change_settings({"run.epochs": 3})
        page.get_by_text("x 3 epochs =").wait_for()
        page.get_by_text("Memory: about").wait_for()
        if not dark:
            page.get_by_role("button", name="Measure the time").click()
            page.get_by_text("steps take").wait_for()
        content = project.config_file.read_text()
        project.config_file.write_text("{")
        page.locator("li[data-kind=bad]", has_text="The settings are not JSON").wait_for()
        assert serious_problems(page) == []
        project.config_file.write_text(content)
        page.get_by_text("Each LoRA file: ").wait_for()
