"""Everything that a panel shows of a run, without a panel: kept up to date from the run's folder alone."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from lora_nb.training.claims import find_holder
from lora_nb.training.events import (
    ImageSampled,
    LoraSaved,
    ProblemFound,
    RunStarted,
    StepDone,
    TrainEvent,
    ValidationDone,
)
from lora_nb.training.watching import RunState, RunWatcher

SHARE = 1 / 20  # of a run, over which the shown loss is averaged: single steps say little
LOG_BYTES = 16_384  # that are read from the end of the log


class Point(NamedTuple):
    """One step of a curve. The smoothed values are running means over a twentieth of the run."""

    step: int
    raw: float  # the plain mean squared error
    weighted: float  # what was minimised
    smooth_raw: float
    smooth_weighted: float
    rates: tuple[float, ...]  # the learning rates, in the order of RunDashboard.rate_names


@dataclass(frozen=True)
class Previews:
    """The sample pictures of a run as a table: a row for each prompt, a column for each time they were drawn."""

    prompts: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # "before", "epoch 1", "step 120"
    numbers: list[list[int | None]] = field(default_factory=list)  # in RunDashboard.pictures, by prompt and column


class RunningMean:
    """The mean of past values, in which those older than `span` hardly count; unbiased at the start."""

    def __init__(self, span: float) -> None:
        self._decay = 1 - 1 / max(1.0, span)
        self._total = self._weight = 0.0

    def add(self, value: float) -> float:
        self._total = self._decay * self._total + value
        self._weight = self._decay * self._weight + 1
        return self._total / self._weight


class RunDashboard:
    """A run's progress. `update()` reads what is new; everything else only looks at what was read.

    It can be made for any run at any time, in any process: nothing but the run's folder is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watcher = RunWatcher(folder)
        self.state = RunState(folder.name, "starting")
        self.version = 0  # raised whenever all was read anew, so that what a page holds is of another past
        self._forget()

    def _forget(self) -> None:
        self.version += 1
        self.plan: RunStarted | None = None
        self.points: list[Point] = []
        self.seconds: list[float] = []  # at each point, since the run started
        self.rate_names: tuple[str, ...] = ()
        self.validations: list[ValidationDone] = []
        self.pictures: list[ImageSampled] = []
        self.loras: list[LoraSaved] = []
        self.problems: list[ProblemFound] = []

    def update(self) -> RunState:
        """Read what is new, and say how the run stands."""
        news = self._watcher.look()
        if news.from_start and self.points + self.pictures:  # a continued run has taken steps back
            self._forget()
        for event in news.events:
            self._add(event)
        self.state = news.state
        return news.state

    def _add(self, event: TrainEvent) -> None:
        if isinstance(event, RunStarted):
            self.plan = event
            self._smooth = RunningMean(event.steps * SHARE), RunningMean(event.steps * SHARE)
        elif isinstance(event, StepDone):
            self._add_step(event)
        elif isinstance(event, ValidationDone):
            self.validations.append(event)
        elif isinstance(event, ImageSampled):
            self.pictures.append(event)
        elif isinstance(event, LoraSaved):
            self.loras.append(event)
        elif isinstance(event, ProblemFound):
            self.problems.append(event)

    def _add_step(self, event: StepDone) -> None:
        rates = event.learning_rates or {"learning rate": event.learning_rate}
        self.rate_names = tuple(rates)
        if self.plan is None:  # the first line is damaged
            return
        raw, weighted = self._smooth
        smoothed = raw.add(event.raw_loss), weighted.add(event.loss)
        self.points.append(Point(event.step, event.raw_loss, event.loss, *smoothed, tuple(rates.values())))
        self.seconds.append(event.seconds)

    @property
    def share_done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return self.state.step / self.state.steps if self.state.steps else 0.0

    def steps_per_second(self) -> float | None:
        """How fast it is now, with its pictures and files: over the last epoch, or since it started."""
        window = max(self.plan.steps_per_epoch if self.plan else 0, 10)
        recent = self.seconds[-window - 1 :]
        passed = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        return (len(recent) - 1) / passed if passed > 0 else None

    def seconds_left(self) -> float | None:
        """How long it will still take if it goes on like this; None as long as nobody can tell."""
        speed = self.steps_per_second()
        if not self.state.is_alive or speed is None:
            return None
        return (self.state.steps - self.state.step) / speed

    def previews(self) -> Previews:
        """The sample pictures, in the order in which prompts and times came up."""
        prompts = list(dict.fromkeys(picture.prompt for picture in self.pictures))
        steps = sorted({picture.step for picture in self.pictures})
        found = {(picture.prompt, picture.step): number for number, picture in enumerate(self.pictures)}
        epochs = {picture.step: picture.epoch for picture in self.pictures}
        columns = [self._name_time(step, epochs[step]) for step in steps]
        return Previews(prompts, columns, [[found.get((prompt, step)) for step in steps] for prompt in prompts])

    def _name_time(self, step: int, epoch: int) -> str:
        if step == 0:
            return "before"
        is_end = self.plan is None or step == epoch * self.plan.steps_per_epoch
        return f"epoch {epoch}" if is_end else f"step {step}"

    def log_lines(self, most: int = 12) -> list[str]:
        """The last lines that the run's process has printed."""
        try:
            with (self.folder / "log.txt").open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - LOG_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        # a progress bar writes over its line again and again: only the last state counts
        lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
        return [line for line in lines if line][-most:]


def process_memory(folder: Path) -> int | None:
    """The main memory that a run's process and its children hold, in bytes; None if it cannot be seen from here."""
    holder = find_holder(folder)
    if holder is None or not holder.is_here:
        return None
    try:
        process = psutil.Process(holder.pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.Error:
        return None


def say_duration(seconds: float) -> str:
    """A length of time for people: '8 s', '2:05 min', '1:12 h'."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60}:{total % 60:02d} min"
    return f"{total // 3600}:{total % 3600 // 60:02d} h"


def say_progress(board: RunDashboard) -> str:
    """How far a run is, in one line: 'epoch 3 of 8 · step 210 of 632 · 4.4 steps/s · 1:36 min left'."""
    state = board.state
    if state.state == "starting" and state.preparing is not None:
        what = {"start": "starting", "model": "loading the model", "pictures": "preparing the pictures"}
        text = what.get(state.preparing.what, f"preparing the {state.preparing.what}")
        return f"{text}: {state.preparing.done} of {state.preparing.total}" if state.preparing.total else text
    words = [f"epoch {max(1, state.epoch)} of {state.epochs}", f"step {state.step} of {state.steps}"]
    speed, left = board.steps_per_second(), board.seconds_left()
    if state.state == "running" and speed is not None and left is not None:
        words += [f"{speed:.3g} steps/s" if speed >= 1 else f"{1 / speed:.3g} s a step", f"{say_duration(left)} left"]
        if left > 600:
            words.append(f"ready at {time.strftime('%H:%M', time.localtime(time.time() + left))}")
    if not state.is_alive and state.seconds:
        words.append(f"trained for {say_duration(state.seconds)}")
    return " · ".join(words)
