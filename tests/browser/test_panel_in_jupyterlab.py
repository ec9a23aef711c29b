"""The training panel in a real JupyterLab: it answers while a cell runs, also one that waits for a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

from lora_nb.config import TrainConfig
from lora_nb.config_file import save_config
from lora_nb.project import open_project
from lora_nb.training.event_log import write_events_to
from lora_nb.training.events import RunFinished, RunStarted, StepDone
from tests.browser.jupyterlab import PATIENCE, running_lab

CELLS = [
    "import lora_nb\nfrom lora_nb.widgets.panel import show_panel\nshow_panel(lora_nb.open_project('mochi'))",
    "import time\ntime.sleep(600)",
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab's address, and the folder that it shows."""
    (tmp_path / "work").mkdir()
    with running_lab(tmp_path / "jupyter", tmp_path / "work") as address:
        yield address, tmp_path / "work"


def write_notebook(path: Path, sources: list[str]) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell-{place}", "metadata": {}, "execution_count": None, "outputs": []}
        | {"source": source}
        for place, source in enumerate(sources)
    ]
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))


def test_the_panel_is_live_while_another_cell_runs(browser: Any, lab: tuple[str, Path]):
    pytest.importorskip("ipykernel", minversion="7", reason="older kernels answer one thing after the other")
    address, folder = lab
    run = open_project(folder / "mochi").run_folder("run1")
    save_config(TrainConfig(), run / "config.json")
    tell = write_events_to(run / "events.jsonl")
    tell(RunStarted("run1", 100, 2, 50, 50, "cpu", "fp32"))
    for step in range(1, 21):
        tell(StepDone(step, 1, 0.1, 0.2, 1e-3, 1.0, step / 2))
    tell(RunFinished("stopped", 10.0))
    write_notebook(folder / "panel.ipynb", CELLS)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    try:
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{address}/lab/tree/panel.ipynb?reset")
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.get_by_text("| Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".ln-panel-state", has_text="Stopped").wait_for()  # the second cell has been running for long
        page.locator(".ln-panel-line", has_text="step 20 of 100").wait_for()
        assert page.get_by_text("The notebook is busy").count() == 0
    finally:
        page.close()
