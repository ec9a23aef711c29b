"""The training panel: it shows any run of a project, running or not, and passes on what its buttons ask for."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.errors import LoraNbError, RunChangedError, TrainingError
from lora_nb.evaluation.grid_page import VIEWER, VIEWER_STYLE, Encoded, encode_picture
from lora_nb.forecast.host import say_needed_memory
from lora_nb.project import Project
from lora_nb.training.continuing import config_from_weights
from lora_nb.training.dashboard import RunDashboard, process_memory, say_progress
from lora_nb.training.launching import continue_run, start_run
from lora_nb.training.requests import REQUESTS, ask_run
from lora_nb.widgets.asking import AskedWidget, Reply, send_part
from lora_nb.widgets.following import follow as follow

POINTS = 2000  # of the curve, in one answer
THUMBNAIL = 256  # pixels


class PanelWidget(AskedWidget):
    """Answers what the panel's page asks for once a second. It holds no state of a run: the run's folder does."""

    files = "panel"
    elsewhere = (VIEWER, VIEWER_STYLE)

    def __init__(self, project: Project, run: str = "") -> None:
        super().__init__()
        self._project, self._run = project, run
        self._boards: dict[str, RunDashboard] = {}
        self._encode = lru_cache(maxsize=128)(_encode_file)

    def answer_news(self, run: str = "", version: int = 0, have: int = 0, pictures: int = 0) -> Reply:
        """What is new of a run (the newest one, unless named), for a page that has so many points and pictures."""
        runs = list_run_names(self._project)
        name = next((each for each in (run, self._run, *runs[-1:]) if each in runs), "")
        if not name:
            return {"runs": runs, "run": "", "forecast": _forecast(self._project)}
        board = self._board(name)
        board.update()
        if version != board.version:
            have = pictures = 0
        return {"runs": runs, "run": name, **describe_run(board, have, pictures)}

    def answer_ask(self, run: str, request: Any) -> Reply:
        """Put a request into the run's folder; the run takes it with its next step."""
        if request not in REQUESTS:
            raise TrainingError(f"A run cannot be asked to {request!r}. It can be asked for: {', '.join(REQUESTS)}.")
        ask_run(self._project.run_folder(self._board(run).folder.name), request)
        return None

    def answer_needs(self, run: str) -> Reply:
        """How much main memory a run was forecast to need, for one whose process is gone. Takes seconds."""
        return {"forecast": say_needed_memory(self._project, self._board(run).folder)}

    def answer_start(self) -> Reply:
        """Start a new run with the project's settings, as a process of its own."""
        self._run = ""
        return {"run": start_run(self._project).name}

    def answer_go_on(self, run: str, as_before: bool = False, from_weights: bool = False) -> Reply:
        """Let a run go on that waits, was stopped or has crashed; say what has changed since, if that is in the way.

        from_weights: start a new run from what it has learned, with the project's settings of today.
        """
        folder = self._board(run).folder
        if from_weights:
            return {"run": start_run(self._project, config_from_weights(self._project, folder)).name}
        try:
            return {"run": continue_run(self._project, run, as_before=as_before).name}
        except RunChangedError as error:
            return {"changed": [f"{each.where}: {each.message}" for each in error.problems]}

    def answer_picture(self, run: str, number: int, full: bool, start: int = 0) -> Reply:
        """A part of a sample picture's file, from a byte on."""
        pictures = self._board(run).pictures
        if not 0 <= number < len(pictures):
            raise LoraNbError(f"{run} has no picture {number}.")
        encoded = self._encode(pictures[number].path, None if full else THUMBNAIL)
        return send_part(encoded.content, start, {"type": encoded.kind})

    def _board(self, name: str) -> RunDashboard:
        if name not in list_run_names(self._project):
            raise TrainingError(f"There is no run {name!r} in {self._project.runs}.")
        return self._boards.setdefault(name, RunDashboard(self._project.run_folder(name)))


def show_panel(where: Project | Path) -> Any:
    """Show a project's newest run, or a run by its folder: the last line of a cell. Start, watch, pause, stop.

    It can be closed and opened again, also in another notebook or after a restart: the run goes on without it.
    """
    if isinstance(where, Project):
        return PanelWidget(where)
    return PanelWidget(Project(where.parent.parent), where.name)


def list_run_names(project: Project) -> list[str]:
    """A project's runs, the newest one last."""
    return [folder.name for folder in project.run_folders()]


def describe_run(board: RunDashboard, have: int = 0, pictures: int = 0) -> dict[str, Any]:
    """How a run stands, as JSON can hold it, with the points and pictures that come after those that are known."""
    state = board.state
    memory = process_memory(board.folder) if state.is_alive else None
    points = board.points[have : have + POINTS]
    return {
        "version": board.version,
        "state": state.state,
        "alive": state.is_alive,
        "pending": list(state.pending),
        "progress": say_progress(board),
        "share": board.share_done,
        "step": state.step,
        "steps": state.steps,
        "points": [[point.step, *map(_short, point[1:5]), [_short(rate) for rate in point.rates]] for point in points],
        "more": have + len(points) < len(board.points),
        "rates": list(board.rate_names),
        "validations": [[each.step, _short(each.loss)] for each in board.validations],
        "memory": memory,
        "device": board.plan.device if board.plan else "",
        "loras": [Path(each.path).name for each in board.loras],
        "pictures": len(board.pictures),
        "previews": describe_previews(board) if len(board.pictures) > pictures else None,
        "problems": [[each.severity, each.where, each.message, each.fix] for each in board.problems],
        "log": board.log_lines(),
        "error": state.error,
        "explanation": state.explanation.lines() if state.explanation else [],
        "vanished": state.vanished,
        "traceback": state.traceback,
    }


def describe_previews(board: RunDashboard) -> dict[str, Any]:
    """The sample pictures as a grid that the viewer can show: a row for each prompt, a column for each time."""
    table = board.previews()
    cells: list[list[dict[str, Any]]] = [
        [
            {"name": f"{column}, {prompt}", "prompt": prompt, "parameters": {}, "text": prompt, "picture": number}
            for column, number in zip(table.columns, numbers, strict=True)
        ]
        for prompt, numbers in zip(table.prompts, table.numbers, strict=True)
    ]
    return {
        "title": "Sample pictures",
        "facts": "",
        "axes": {
            "blocks": {"title": "grid", "labels": [""]},
            "rows": {"title": "prompt", "labels": table.prompts},
            "columns": {"title": "time", "labels": table.columns},
        },
        "control": table.columns[0] == "before",
        "shared": [False],
        "pictures": [_size_of(picture.path) for picture in board.pictures],
        "cells": [cells],
    }


def _forecast(project: Project) -> str:
    """What a training would be, before there is one."""
    try:
        plan = plan_steps(scan_images(project.images), project.load_config())
    except LoraNbError as error:
        return str(error)
    pictures = "picture" if plan.pictures == 1 else "pictures"
    return f"{plan.pictures} {pictures}: {plan.steps_per_epoch} steps x {plan.epochs} epochs = {plan.steps} steps."


@lru_cache(maxsize=4096)
def _size_of(path: str) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except OSError:
        return (64, 64)  # it is gone: its place stays empty


def _encode_file(path: str, longest: int | None) -> Encoded:
    try:
        with Image.open(path) as picture:
            return encode_picture(picture.convert("RGB"), longest)
    except OSError as error:
        raise LoraNbError(f"{path} cannot be read: {error}.") from error


def _short(value: float) -> float:
    """A number with as many digits as a curve can show."""
    return float(f"{value:.5g}")
