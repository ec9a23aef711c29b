"""A real JupyterLab, and a person in front of it: opening notebooks, clicking, looking."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
SCREENSHOTS = REPOSITORY / "build" / "screenshots"  # kept by CI; git ignores them
PATIENCE = 90  # seconds for any one thing: a busy machine must not fail this
ALL_CELLS_HAVE_RUN = """() => {
    const cells = document.querySelectorAll(".jp-Notebook .jp-CodeCell").length;
    const prompts = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")];
    const run = prompts.filter(each => /[0-9]/.test(each.textContent)).length;
    const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
    return Boolean(failed || (cells > 3 && run >= cells));
}"""

PICTURES_IN_VIEW_HAVE_COME = """() => [...document.querySelectorAll(".ln img")].every(image => {
    const box = image.getBoundingClientRect();
    const isSeen = box.width && box.bottom > 110 && box.top < innerHeight - 40 && image.checkVisibility();
    return !isSeen || (image.complete && image.naturalWidth && !image.src.startsWith("data:image/gif"));
})"""


@contextmanager
def running_lab(home: Path, folder: Path) -> Iterator[str]:
    """A JupyterLab of its own, without anybody's settings, over `folder`: its address."""
    settings = home / "settings" / "@jupyterlab"
    for plugin, text in {
        "notebook-extension/tracker": '{"windowingMode": "none"}',  # so that cells outside of the window exist, too
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    }.items():
        file = settings / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE)


class Person:
    """Someone at the browser. What they do is counted: opening a notebook, running it, each choice in a widget."""

    def __init__(self, browser: Any, address: str, folder: Path) -> None:
        self.page = browser.new_page(viewport={"width": 1300, "height": 950})
        self.page.set_default_timeout(PATIENCE * 1000)
        self.address, self.folder = address, folder
        self.interactions = 0

    def open(self, name: str) -> None:
        """Open one of the package's notebooks, in a tab of its own in an empty window."""
        self.shut_down()
        shutil.copy(REPOSITORY / "notebooks" / name, self.folder)
        self.page.goto(f"{self.address}/lab/tree/{name}?reset")
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self.page.get_by_text("| Idle").wait_for()  # what is run before the kernel is there gets lost
        self.interactions += 1

    def run_all(self, *, wait: bool = True) -> None:
        """Run ▸ Run All Cells."""
        self.page.locator(".jp-Notebook .jp-Cell").first.click()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.interactions += 1
        if wait:
            self.wait_for_all_cells()

    def wait_for_all_cells(self, seconds: float = 5 * PATIENCE) -> None:
        self.page.wait_for_function(ALL_CELLS_HAVE_RUN, timeout=seconds * 1000)
        for kind in ("error", "stderr"):
            assert self.page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").all_inner_texts() == []

    def click(self, *path: Any, **options: Any) -> None:
        """Press the button of this name."""
        self.page.get_by_role("button", name=path[0], exact=True).first.click(**options)
        self.interactions += 1

    def choose_files(self, label: str, files: list[Path]) -> None:
        self.page.get_by_label(label).set_input_files(files)
        self.interactions += 1

    def choose_theme(self, name: str) -> None:
        """Settings ▸ Theme ▸ name."""
        self.page.get_by_role("menuitem", name="Settings", exact=True).click()
        self.page.get_by_text("Theme", exact=True).hover()
        self.page.get_by_text(name, exact=True).click()
        is_light = "true" if name.endswith("Light") else "false"
        self.page.locator(f"body[data-jp-theme-light={is_light}]").wait_for(state="attached")

    def photograph(self, name: str, place: Any = None) -> None:
        """A picture of the window, scrolled to a place, once the pictures in it have come."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        if place is not None:
            place.scroll_into_view_if_needed()
        self.page.wait_for_function(PICTURES_IN_VIEW_HAVE_COME)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def shut_down(self) -> None:
        """Close what runs, so that a notebook left behind does not work on beside the next one."""
        self.page.goto("about:blank")
        with urllib.request.urlopen(f"{self.address}/api/kernels", timeout=20) as answer:
            for kernel in json.load(answer):
                request = urllib.request.Request(f"{self.address}/api/kernels/{kernel['id']}", method="DELETE")
                urllib.request.urlopen(request, timeout=60).close()


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
