"""The training panel in a real browser, over a real run in a process of its own."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.project import Project
from lora_nb.training.launching import start_run
from lora_nb.training.watching import run_state
from lora_nb.widgets.panel import show_panel
from tests.browser.fake_jupyter import open_widget, serious_problems
from tests.training.conftest import config, project  # noqa: F401 - fixtures: a tiny model and five pictures

PATIENCE = 120_000  # ms: a busy machine must not fail this
LONG = {"run.epochs": 900, "run.save_every_n_epochs": 1000, "samples.every_n_epochs": 1000} | {
    "samples.prompts": ["mochi, smile", "forest"],
    "samples.steps": 2,
    "samples.width": 64,
    "samples.height": 64,
}


@pytest.fixture
def prepared(project: Project, config: TrainConfig) -> Iterator[Project]:  # noqa: F811
    """A project whose run would take minutes; it is killed if a test leaves it alive."""
    project.save_config(change_settings(config, LONG))
    yield project
    for folder in project.runs.glob("*"):
        if pid := run_state(folder).pid:
            os.kill(pid, signal.SIGKILL)


def state(page: Any, word: str) -> None:
    """Wait until the panel says so."""
    page.locator(".ln-panel-state", has_text=word).wait_for(timeout=PATIENCE)


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click(timeout=PATIENCE)


def test_a_run_is_started_watched_paused_asked_and_stopped(browser: Any, prepared: Project):
    with open_widget(browser, show_panel(prepared)) as (page, _):
        page.set_default_timeout(PATIENCE)
        page.get_by_text("No run yet. 5 pictures: 5 steps x 900 epochs = 4500 steps.").wait_for()
        press(page, "Start training")
        state(page, "Running")
        page.get_by_alt_text("before, mochi, smile").wait_for()  # the pictures before training
        page.get_by_role("img", name="Loss: running mean").wait_for()
        page.get_by_text("steps/s").or_(page.get_by_text("s a step")).first.wait_for()
        page.get_by_text("GiB").wait_for()  # the memory of the run's process
        assert serious_problems(page) == []

        press(page, "Pause")
        state(page, "Paused")
        paused = run_state(prepared.run_folder("run1")).step
        press(page, "Sample now")
        column = f"epoch {paused // 5}" if paused % 5 == 0 else f"step {paused}"  # five steps are an epoch
        page.get_by_alt_text(f"{column}, forest").wait_for()
        press(page, "Save now")
        page.get_by_role("listitem").filter(has_text="LoRAs1").wait_for()
        assert run_state(prepared.run_folder("run1")).step == paused

        press(page, "Continue")
        state(page, "Running")
        press(page, "Stop")
        state(page, "Stopped")
        page.get_by_role("button", name="Start a new run").wait_for()
        stopped = run_state(prepared.run_folder("run1"))
        assert stopped.pid is None
        assert list(prepared.run_folder("run1").glob("loras/*.safetensors"))

        prepared.save_config(change_settings(prepared.load_config(), {"optimizer.learning_rate": 1e-5}))
        press(page, "Continue")  # in a new process, from its checkpoint
        page.get_by_text("optimizer.learning_rate: It was 0.001 and is 1e-05 now.").wait_for()
        assert serious_problems(page) == []
        press(page, "Continue as it was started")
        state(page, "Running")
        page.get_by_role("group", name="How to continue").wait_for(state="hidden")
        press(page, "Stop")
        state(page, "Stopped")
        assert run_state(prepared.run_folder("run1")).step >= stopped.step


def test_a_run_that_is_killed_says_so_and_a_new_panel_finds_it(browser: Any, prepared: Project):
    folder = start_run(prepared)
    with open_widget(browser, show_panel(prepared)) as (page, _):
        state(page, "Running")  # attached to a run that it has not started
        page.get_by_text("step 3 of 4500").or_(page.locator(".ln-line.ln-smooth")).first.wait_for(timeout=PATIENCE)
    os.kill(run_state(folder).pid or 0, signal.SIGKILL)
    with open_widget(browser, show_panel(folder), dark=True, width=320) as (page, _):  # after a restart of the kernel
        state(page, "Crashed")
        alert = page.get_by_role("alert")
        alert.get_by_text("The process ended without a word").first.wait_for()
        assert page.get_by_role("button", name="Start a new run").is_visible()
        assert page.get_by_role("button", name="Continue").is_visible()
        page.get_by_text("The curve as a table").click()
        assert page.get_by_role("row").count() >= 3
        assert serious_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_what_makes_a_training_impossible_is_said_in_the_page(browser: Any, tmp_path: Path):
    from lora_nb.project import open_project

    with open_widget(browser, show_panel(open_project(tmp_path / "empty"))) as (page, _):
        press(page, "Start training")
        page.locator(".ln-status[data-kind='bad']").wait_for()


def test_a_busy_kernel_gets_one_question_and_no_more(browser: Any, tmp_path: Path):
    from lora_nb.project import open_project

    with open_widget(browser, show_panel(open_project(tmp_path / "empty"))) as (page, kernel):
        page.get_by_text("No run yet").wait_for()
        kernel.busy = True
        page.wait_for_timeout(7000)
        assert len(kernel.waiting) == 1
        page.get_by_text("The notebook is busy").wait_for()
        kernel.resume()
        page.get_by_text("The notebook is busy").wait_for(state="hidden")
