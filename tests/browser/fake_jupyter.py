"""A page that holds one widget without Jupyter: its real module in Chromium, its real answers in Python.

    with open_widget(browser, Board(project)) as (page, kernel):
        page.get_by_role("button", name="Undo").click()

`kernel` can be told to be busy, and to hand bytes over as other hosts do.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lora_nb.widgets.asking import AskedWidget

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>One widget</title><style>body {{
  margin: 8px; background: {background}; }}</style></head><body><main id="place"></main></body></html>"""
RENDER = """async ([module, style, kind]) => {
    const url = URL.createObjectURL(new Blob([module], {type: "text/javascript"}));
    const widget = (await import(url)).default;
    document.head.append(Object.assign(document.createElement("style"), {textContent: style}));
    const heard = new Set();
    const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const wrap = text => kind === "DataView" ? new DataView(bytes(text).buffer) : bytes(text).buffer;
    const text = view => {
        let letters = "";
        const all = new Uint8Array(view.buffer ?? view);
        for (let start = 0; start < all.length; start += 0x8000)
            letters += String.fromCharCode(...all.subarray(start, start + 0x8000));
        return btoa(letters);
    };
    const model = {
        get() {}, set() {}, save_changes() {},
        on(name, listener) { heard.add(listener); },
        off(name, listener) { heard.delete(listener); },
        async send(content, callbacks, buffers = []) {
            const sent = kind === "none" ? [] : buffers.map(text);
            for (const [reply, data] of await window.kernelReceives(structuredClone(content), sent))
                window.deliver(reply, data);
        },
    };
    window.deliver = (reply, data) => heard.forEach(l => l(reply, kind === "none" ? [] : data.map(wrap)));
    window.began = performance.now();
    window.cleanUp = widget.render({model, el: document.getElementById("place")});
}"""


class FakeKernel:
    """Answers as the widget does; while it is busy, messages wait as they do in a real kernel."""

    def __init__(self, page: Any, widget: AskedWidget) -> None:
        self.page, self.widget = page, widget
        self.busy = False
        self.waiting: list[tuple[Any, list[str]]] = []
        self.asked: list[Any] = []  # all messages, in the order in which they were handled
        self._replies: list[tuple[Any, list[str]]] = []
        widget.send = self._collect

    def receive(self, content: Any, buffers: list[str]) -> list[tuple[Any, list[str]]]:
        if self.busy:
            self.waiting.append((content, buffers))
            return []
        self.asked.append(content)
        self._replies = []
        self.widget._handle_custom_msg(content, [memoryview(base64.b64decode(each)) for each in buffers])
        return self._replies

    def resume(self) -> None:
        """The running cell has ended: answer what waited."""
        self.busy = False
        waiting, self.waiting = self.waiting, []
        for content, buffers in waiting:
            for reply in self.receive(content, buffers):
                self.page.evaluate("([reply, data]) => window.deliver(reply, data)", list(reply))

    def _collect(self, content: Any, buffers: list[bytes] | None = None) -> None:
        self._replies.append((content, [base64.b64encode(each).decode() for each in buffers or ()]))


@contextmanager
def open_widget(
    browser: Any, widget: AskedWidget, *, buffers: str = "DataView", width: int = 1000, dark: bool = False
) -> Iterator[tuple[Any, FakeKernel]]:
    """Show a widget. buffers: how bytes are handed over: "DataView", "ArrayBuffer", or "none" where they get lost."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    kernel = FakeKernel(page, widget)
    page.set_content(PAGE.format(background="#111418" if dark else "#ffffff"))
    page.expose_function("kernelReceives", kernel.receive)
    page.evaluate(RENDER, [str(widget._esm), str(widget._css), buffers])
    try:
        yield page, kernel
        assert errors == [], "the page's scripts failed"
    finally:
        page.close()


def serious_problems(page: Any, within: str = "html") -> list[str]:
    """What axe-core finds serious about the page, for people who use a keyboard or a screen reader."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=within).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
