"""A real JupyterLab in a real browser: does the form of the settings work where people will use it?"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 120  # seconds for any one thing: a busy machine must not fail this
ALL_CELLS_HAVE_RUN = """() => {
    const cells = document.querySelectorAll(".jp-Notebook .jp-CodeCell").length;
    const prompts = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")];
    const run = prompts.filter(each => /[0-9]/.test(each.textContent)).length;
    const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
    return Boolean(failed || (cells > 3 && run >= cells));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own, without anybody's settings: its address and its folder."""
    home, folder = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("lab")
    tracker = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')  # so that cells outside of the window exist, too
    port = find_free_port()
    options = ["--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
    options += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    options += ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder}"]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(f"{address}/api"), "JupyterLab answers")
            yield address, folder
        finally:
            server.terminate()
            server.wait(PATIENCE)


@pytest.fixture(scope="module")
def page(lab: tuple[str, Path], browser: Any) -> Iterator[Any]:
    """The settings' notebook, open in a browser, with all of its cells run."""
    address, folder = lab
    shutil.copy(REPOSITORY / "notebooks" / "4_config.ipynb", folder)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{address}/lab/tree/4_config.ipynb?reset")
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(ALL_CELLS_HAVE_RUN, timeout=3 * PATIENCE * 1000)
    yield page
    page.close()


def test_the_notebook_runs_without_errors_and_warnings(page: Any):
    for kind in ("error", "stderr"):
        assert page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").all_inner_texts() == []


def test_a_change_in_the_form_is_in_config_json_at_once(page: Any, lab: tuple[str, Path]):
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_label("Epochs", exact=True).press("Enter")
    wait_until(lambda: saved_epochs(lab) == 3, "config.json holds the change")
    page.get_by_text("3 epochs =").wait_for()  # and the steps are counted


def test_a_wrong_value_says_why_and_is_not_saved(page: Any, lab: tuple[str, Path]):
    epochs = page.get_by_label("Epochs", exact=True)
    epochs.fill("5")
    epochs.press("Enter")
    wait_until(lambda: saved_epochs(lab) == 5, "config.json holds the change")
    epochs.fill("none")
    epochs.press("Tab")  # leaving the field is enough
    page.get_by_text("'none' does not work").wait_for()
    assert saved_epochs(lab) == 5
    epochs.fill("6")
    epochs.press("Tab")
    wait_until(lambda: saved_epochs(lab) == 6, "config.json holds the corrected value")
    page.get_by_text("'none' does not work").wait_for(state="detached")


def test_no_label_is_cut_off(page: Any):
    cut = "labels => labels.filter(l => l.scrollWidth > l.clientWidth + 1).map(l => l.textContent)"
    assert page.locator(".jupyter-widgets .widget-label").evaluate_all(cut) == []


def saved_epochs(lab: tuple[str, Path]) -> int:
    return json.loads((lab[1] / "my_lora" / "config.json").read_text())["run"]["epochs"]


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def wait_until(happens: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < end, f"waited {PATIENCE} s in vain until: {what}"
        time.sleep(0.2)
