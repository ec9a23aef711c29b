"""The frame of the widgets, in a real browser: questions, answers, bytes, a busy kernel, edits on their way."""

from pathlib import Path
from typing import Any

import pytest

from lora_nb.errors import ProjectError
from lora_nb.widgets import asking
from tests.browser.fake_jupyter import open_widget, serious_problems

MODULE = """import { element, Outbox, renderWith } from "./shared.js";
export default { render: renderWith("Echo", (root, kernel, status) => {
  const outbox = new Outbox((key, text) => kernel.ask("save", { key, text }), {
    onchange: (key, state) => status.say(state instanceof Error ? state.message : `${key} ${state}`),
  });
  for (const key of ["one", "two"])
    root.append(element("label", {}, key, element("input", { oninput: (e) => outbox.put(key, e.target.value) })));
  window.kernel = kernel;
}) };
"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("static")
    (folder / "shared.js").write_text((asking.STATIC / "shared.js").read_text())
    (folder / "shared.css").write_text((asking.STATIC / "shared.css").read_text())
    (folder / "echo.js").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "STATIC", folder)

        class Echo(asking.AskedWidget):
            files = "echo"

            def __init__(self) -> None:
                super().__init__()
                self.saved: list[tuple[str, str]] = []

            def answer_save(self, key: str, text: str) -> None:
                if text == "bad":
                    raise ProjectError("That word is not allowed.")
                self.saved.append((key, text))

            def answer_double(self, buffers: list[bytes]) -> Any:
                return {"length": len(buffers[0])}, [buffers[0] * 2]

    return Echo


@pytest.mark.parametrize("kind", ["DataView", "ArrayBuffer", "none"])
def test_bytes_travel_whatever_the_host_makes_of_them(browser: Any, echo: Any, kind: str):
    with open_widget(browser, echo(), buffers=kind) as (page, _):
        page.wait_for_function("window.kernel")
        ask = "async () => (await kernel.ask('double', {}, [Uint8Array.of(1, 2, 250)])).buffers.map(b => [...b])"
        assert page.evaluate(ask) == [[1, 2, 250, 1, 2, 250]]
        assert page.evaluate("kernel.plain") == (kind == "none")


def test_an_edit_made_while_the_kernel_is_busy_is_kept_and_saved_later(browser: Any, echo: Any):
    widget = echo()
    with open_widget(browser, widget) as (page, kernel):
        page.wait_for_function("window.kernel")
        kernel.busy = True
        page.get_by_label("one").fill("first")
        page.wait_for_timeout(500)
        page.get_by_label("one").fill("second")
        page.get_by_text("The notebook is busy").wait_for()
        assert widget.saved == []
        kernel.resume()
        page.get_by_text("one saved").wait_for()
        assert widget.saved[-1] == ("one", "second")
        page.get_by_text("The notebook is busy").wait_for(state="hidden")


def test_two_fast_edits_of_two_things_never_mix(browser: Any, echo: Any):
    widget = echo()
    with open_widget(browser, widget) as (page, _):
        page.get_by_label("one").press_sequentially("abc")
        page.get_by_label("two").press_sequentially("xyz")
        page.get_by_text("two saved").wait_for()
        assert dict(widget.saved) == {"one": "abc", "two": "xyz"}


def test_a_refusal_reaches_the_page_in_its_own_words(browser: Any, echo: Any):
    with open_widget(browser, echo()) as (page, _):
        page.get_by_label("one").fill("bad")
        page.get_by_text("That word is not allowed.").wait_for()


@pytest.mark.parametrize("dark", [False, True])
def test_the_frame_follows_the_pages_theme_and_is_accessible(browser: Any, echo: Any, dark: bool):
    with open_widget(browser, echo(), dark=dark) as (page, _):
        page.get_by_label("one").wait_for()
        page.wait_for_timeout(100)
        assert page.locator(".ln").get_attribute("data-theme") == ("dark" if dark else "light")
        assert serious_problems(page) == []


def test_a_first_question_that_is_stuck_behind_a_running_cell_is_asked_again(browser: Any, echo: Any):
    widget = echo()
    asked: list[str] = []
    receive = widget._receive

    def lose_the_first(source: Any, message: Any, buffers: Any) -> None:
        asked.append(message["ask"])
        if len(asked) > 1:  # the first one waits in the main thread, where a cell runs
            receive(source, message, buffers)

    widget.on_msg(receive, remove=True)
    widget.on_msg(lose_the_first)
    with open_widget(browser, widget) as (page, _):
        page.get_by_label("one").fill("hello")
        page.get_by_text("one saved").wait_for()
        assert asked[:3] == ["greet", "greet", "save"]
        assert page.locator(".ln-busy").is_hidden()
