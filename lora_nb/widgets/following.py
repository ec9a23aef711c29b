"""Wait for a run in a cell, and watch it there: this keeps a free Colab session from counting as idle."""

import base64
import time
from html import escape
from pathlib import Path
from typing import Any, get_args

from lora_nb.errors import TrainingError
from lora_nb.evaluation.grid_page import encode_picture
from lora_nb.training.dashboard import RunDashboard, say_progress
from lora_nb.training.requests import Request, ask_run
from lora_nb.training.watching import RunState

EVERY = 1.0  # seconds between two looks
BUTTONS: dict[Request, str] = {
    "pause": "Pause",
    "go_on": "Continue",
    "stop": "Stop",
    "save_now": "Save now",
    "sample_now": "Sample now",
}
ASKED = "loraNbAsked"  # where Colab's page keeps what was clicked until the cell takes it
_TAKE = f"(() => {{ const asked = window.{ASKED} || []; window.{ASKED} = []; return asked.join(' '); }})()"
_PICTURE, _SHOWN = 96, 5  # pixels; columns of pictures


def follow(run: Path) -> None:
    """Show a run until it ends. Interrupting the cell stops the run after its step, and saves what was learned.

    Raises TrainingError, in the run's own words, if it ends with an error: so "Run all" stops where it should.
    """
    from IPython.display import HTML, display

    board = RunDashboard(run)
    page = _colab_page()
    is_short = page is None and _panel_is_live()
    if page is not None:
        display(HTML(_buttons()))  # apart from what changes, so that no click is lost
    place = display(HTML(""), display_id=True)
    shown = ""
    while True:
        try:
            state = board.update()
            if (text := follow_html(board, is_short)) != shown:
                shown = text
                place.update(HTML(text))
            if not state.is_alive:
                break
            _take_clicks(page, run)
            time.sleep(EVERY)
        except KeyboardInterrupt:
            if "stop" in board.state.pending:
                raise  # the second time: leave the cell; the run stops by itself
            if board.update().is_alive:
                ask_run(run, "stop")
    if state.state == "crashed":
        raise TrainingError("\n".join([f"{run.name} ended with an error.", *_say_error(state)]))


def follow_html(board: RunDashboard, is_short: bool = False) -> str:
    """How a run stands, as HTML that needs no script: progress and loss; unless short, curve and pictures."""
    state = board.state
    points = board.points
    loss = f" · loss {points[-1].smooth_raw:.4f}" if points else ""
    asked = f" · asked: {', '.join(BUTTONS[each].lower() for each in state.pending)}" if state.pending else ""
    head = f"<b>{escape(board.folder.name)}: {state.state}</b> · {escape(say_progress(board))}{loss}{asked}"
    bar = f'<progress max="1" value="{board.share_done:.4f}" aria-label="Progress" style="width: 100%"></progress>'
    said = "\n".join(_say_error(state))
    error = f'<p style="white-space: pre-wrap">{escape(said)}</p>' if said else ""
    details = "" if is_short else _curve(board) + _pictures(board)
    return f'<div style="max-width: 60em">{head}<br>{bar}{error}{details}</div>'


def _say_error(state: RunState) -> list[str]:
    """What an error means, where it does not say so itself, and what it said."""
    means = state.explanation.lines() if state.explanation else []
    return [*means, *filter(None, [state.error])]


def _curve(board: RunDashboard) -> str:
    """The loss as a small drawing: each step faint, the running mean strong."""
    points = board.points[:: max(1, len(board.points) // 600)]
    if len(points) < 2:
        return ""
    top = max(sorted(point.raw for point in points)[: max(1, round(len(points) * 0.99))]) * 1.1 or 1.0
    steps = max(board.state.steps, 1)

    def line(values: list[float]) -> str:
        places = zip(points, values, strict=True)
        return " ".join(
            f"{point.step / steps * 600:.1f},{90 - min(value / top, 1) * 88:.1f}" for point, value in places
        )

    first, last = points[0].smooth_raw, points[-1].smooth_raw
    return (
        f'<svg viewBox="0 0 600 92" role="img" aria-label="Loss from {first:.4f} to {last:.4f}" '
        'style="width: 100%; max-height: 130px" fill="none" stroke="#3f7cac">'
        f'<polyline points="{line([point.raw for point in points])}" stroke-opacity=".35" stroke-width=".8"/>'
        f'<polyline points="{line([point.smooth_raw for point in points])}" stroke-width="2"/></svg>'
    )


def _pictures(board: RunDashboard) -> str:
    """The newest sample pictures as a small table: a row for each prompt."""
    table = board.previews()
    first = max(0, len(table.columns) - _SHOWN)
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns[first:])
    rows = ""
    for prompt, numbers in zip(table.prompts, table.numbers, strict=True):
        cells = [
            "" if number is None else _picture(board.pictures[number].path, f"{column}, {prompt}")
            for column, number in zip(table.columns[first:], numbers[first:], strict=True)
        ]
        rows += f'<tr><th style="text-align: left; max-width: 14em; white-space: normal">{escape(prompt)}</th>'
        rows += "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f'<table style="margin-left: 0"><tr><th></th>{head}</tr>{rows}</table>' if rows else ""


def _picture(path: str, name: str) -> str:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            encoded = encode_picture(picture.convert("RGB"), 2 * _PICTURE)
    except OSError:
        return ""  # it was deleted
    source = f"data:{encoded.kind};base64,{base64.b64encode(encoded.content).decode()}"
    return f'<img src="{source}" alt="{escape(name, quote=True)}" width="{_PICTURE}">'


def _buttons() -> str:
    """Buttons whose clicks wait in the page: on Colab nothing reaches a kernel that runs a cell, but it can ask."""
    push = f"(window.{ASKED} = window.{ASKED} || []).push(this.value)"
    buttons = "".join(f'<button value="{name}" onclick="{push}">{word}</button> ' for name, word in BUTTONS.items())
    return f'<div role="group" aria-label="Training">{buttons}</div>'


def _panel_is_live() -> bool:
    """Whether a panel in another cell is answered while this one runs: then the details are there."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)  # type: ignore[no-untyped-call, unused-ignore]
    return bool(getattr(kernel, "_supports_kernel_subshells", False))


def _colab_page() -> Any:
    """Colab's way to ask the page; None elsewhere."""
    import sys

    if "google.colab" not in sys.modules:
        return None
    from google.colab import output

    return output


def _take_clicks(page: Any, run: Path) -> None:
    """Ask the page what was clicked, and pass it on to the run."""
    if page is None:
        return
    try:
        clicked = str(page.eval_js(_TAKE, timeout_sec=2) or "").split()
    except Exception:  # the page is closed or gone: the run does not need it
        return
    for request in clicked:
        if request in get_args(Request):
            ask_run(run, request)  # type: ignore[arg-type]
