"""The panel's answers, and waiting for a run in a cell."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("anywidget")

from lora_nb.config import TrainConfig
from lora_nb.errors import LoraNbError, Problem, RunChangedError, TrainingError
from lora_nb.project import Project, open_project
from lora_nb.training.claims import note_holder
from lora_nb.training.event_log import write_events_to
from lora_nb.training.events import ImageSampled, RunFailed, RunFinished, RunStarted, StepDone
from lora_nb.training.requests import pending_requests
from lora_nb.widgets import following, panel
from lora_nb.widgets.panel import follow, show_panel

STARTED = RunStarted("run1", 5000, 5, 1000, 1000, "cpu", "fp32")


def step(number: int) -> StepDone:
    return StepDone(number, 1, 0.05, 0.1, 1e-3, 1.0, number / 10)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return open_project(tmp_path / "mochi")


@pytest.fixture
def run(project: Project) -> Path:
    """A run that this process claims to work on."""
    folder = project.run_folder("run1")
    (folder / "samples").mkdir(parents=True)
    from lora_nb.config_file import save_config

    save_config(TrainConfig(), folder / "config.json")
    note_holder(folder, os.getpid())
    write_events_to(folder / "events.jsonl")(STARTED)
    return folder


def test_without_a_run_it_says_what_a_training_would_be(project: Project):
    news = show_panel(project).answer_news()
    assert news["run"] == ""
    assert news["forecast"]


def test_a_long_curve_comes_in_parts_and_then_only_what_is_new(project: Project, run: Path):
    tell = write_events_to(run / "events.jsonl")
    for number in range(1, panel.POINTS + 11):
        tell(step(number))
    widget = show_panel(project)
    first = widget.answer_news()
    assert len(first["points"]) == panel.POINTS
    assert first["more"]
    second = widget.answer_news("run1", first["version"], panel.POINTS)
    assert [point[0] for point in second["points"]] == list(range(panel.POINTS + 1, panel.POINTS + 11))
    assert not second["more"]
    assert widget.answer_news("run1", first["version"], panel.POINTS + 10)["points"] == []


def test_a_page_of_another_past_gets_everything_anew(project: Project, run: Path):
    write_events_to(run / "events.jsonl")(step(1))
    news = show_panel(project).answer_news("run1", version=99, have=1, pictures=5)
    assert len(news["points"]) == 1


def test_previews_are_sent_when_there_are_new_ones(project: Project, run: Path):
    tell = write_events_to(run / "events.jsonl")
    path = run / "samples" / "a.png"
    Image.new("RGB", (64, 48)).save(path)
    tell(ImageSampled(0, 0, "mochi <b>", str(path)))
    widget = show_panel(run)
    news = widget.answer_news()
    cell = news["previews"]["cells"][0][0][0]
    assert (cell["name"], cell["picture"]) == ("before, mochi <b>", 0)
    assert news["previews"]["pictures"] == [(64, 48)]
    assert widget.answer_news("run1", news["version"], 0, 1)["previews"] is None
    facts, (content,) = widget.answer_picture("run1", 0, True)
    assert content.startswith(b"\x89PNG")
    assert facts["size"] == len(content)


def test_only_pictures_of_runs_can_be_asked_for(project: Project, run: Path):
    widget = show_panel(project)
    for name, number in (("../..", 0), ("run1", 3), ("run1", -1)):
        with pytest.raises(LoraNbError):
            widget.answer_picture(name, number, True)


def test_a_button_drops_a_request_into_the_runs_folder(project: Project, run: Path):
    widget = show_panel(project)
    widget.answer_ask("run1", "pause")
    assert pending_requests(run) == ["pause"]
    assert widget.answer_news()["pending"] == ["pause"]
    with pytest.raises(TrainingError, match="save_now"):
        widget.answer_ask("run1", "explode")


def test_a_run_that_is_gone_gives_way_to_the_newest(project: Project, run: Path):
    assert show_panel(project).answer_news("run9")["run"] == "run1"


def test_a_run_cannot_go_on_that_is_going_on(project: Project, run: Path):
    with pytest.raises(TrainingError, match="running already"):
        show_panel(project).answer_go_on("run1")


def test_what_has_changed_since_is_said_before_a_run_goes_on(
    project: Project, run: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any, **__: Any) -> Path:
        raise RunChangedError("Changed.", [Problem("run.epochs", "It was 2 and is 3 now.", "Choose.")])

    monkeypatch.setattr(panel, "continue_run", refuse)
    assert show_panel(project).answer_go_on("run1") == {"changed": ["run.epochs: It was 2 and is 3 now."]}


def test_start_passes_on_why_it_cannot(project: Project):
    with pytest.raises(LoraNbError):
        show_panel(project).answer_start()  # there are no pictures


class FakePage:
    """google.colab.output, with clicks that wait in the page."""

    def __init__(self, clicks: list[str]) -> None:
        self.clicks, self.asked = clicks, 0

    def eval_js(self, script: str, ignore_result: bool = False, timeout_sec: float | None = None) -> Any:
        assert timeout_sec  # else a closed page would hold the cell for ever
        self.asked += 1
        return self.clicks.pop(0) if self.clicks else None


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What follow() displays, in order."""
    texts: list[str] = []

    def display(what: Any, display_id: bool = False) -> Any:
        texts.append(what.data)
        return SimpleNamespace(update=lambda now: texts.append(now.data))

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(following.time, "sleep", lambda seconds: None)
    return texts


def test_following_ends_with_the_run(run: Path, shown: list[str]):
    tell = write_events_to(run / "events.jsonl")
    for event in (step(1), step(2), RunFinished("finished", 3.0)):
        tell(event)
    follow(run)
    assert "run1: finished" in shown[-1]
    assert "step 2 of 5000" in shown[-1]


def test_following_shows_the_curve_and_the_newest_pictures_escaped(run: Path, shown: list[str]):
    tell = write_events_to(run / "events.jsonl")
    path = run / "samples" / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    for event in (step(1), step(2), ImageSampled(0, 0, "<b>", str(path)), RunFinished("finished", 3.0)):
        tell(event)
    follow(run)
    assert '<img src="data:image/png;base64,' in shown[-1]
    assert 'alt="before, &lt;b&gt;"' in shown[-1]
    assert "<b>" not in shown[-1].replace("<b>run1: finished</b>", "")
    assert 'aria-label="Loss from' in shown[-1]


def test_following_a_run_that_crashes_raises_its_reason(run: Path, shown: list[str]):
    write_events_to(run / "events.jsonl")(RunFailed(3, "OutOfMemoryError", "CUDA out of memory.", "..."))
    with pytest.raises(TrainingError, match=r"run\.micro_batch_size(.|\n)*CUDA out of memory"):
        follow(run)


def test_interrupting_the_cell_asks_the_run_to_stop_and_waits_for_it(
    run: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
):
    interrupts = iter([KeyboardInterrupt])

    def sleep(seconds: float) -> None:
        for each in interrupts:
            raise each
        assert pending_requests(run) == ["stop"]
        write_events_to(run / "events.jsonl")(RunFinished("stopped", 3.0))  # as the run does

    monkeypatch.setattr(following.time, "sleep", sleep)
    follow(run)
    assert "run1: stopped" in shown[-1]
    assert any("asked: stop" in text for text in shown)


def test_interrupting_twice_leaves_the_cell(run: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch):
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        follow(run)
    assert pending_requests(run) == ["stop"]


def test_on_colab_clicks_are_fetched_from_the_page(run: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch):
    page = FakePage(["", "pause sample_now", "nonsense"])
    colab = ModuleType("google.colab")
    colab.output = page  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace(colab=colab))

    def sleep(seconds: float) -> None:
        if page.asked == 4:
            write_events_to(run / "events.jsonl")(RunFinished("stopped", 3.0))

    monkeypatch.setattr(following.time, "sleep", sleep)
    follow(run)
    assert set(pending_requests(run)) == {"pause", "sample_now"}
    assert "onclick" in shown[0]  # the buttons, apart from what changes
    assert all("<button" not in text for text in shown[1:])


def test_a_closed_page_does_not_disturb_the_run(run: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no front end")

    monkeypatch.setattr(following, "_colab_page", lambda: SimpleNamespace(eval_js=fail))
    tell = write_events_to(run / "events.jsonl")
    monkeypatch.setattr(following.time, "sleep", lambda seconds: tell(RunFinished("finished", 3.0)))
    follow(run)
    assert "finished" in shown[-1]
