"""What do the settings mean for this machine? Steps, memory, file size and minutes, live while settings change."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_nb.config import TrainConfig
from lora_nb.dataset.final_captions import all_captions
from lora_nb.dataset.images import Dataset
from lora_nb.dataset.scanning import Scan
from lora_nb.dataset.steps import StepPlan, plan_steps
from lora_nb.environment import find_machine
from lora_nb.errors import LoraNbError
from lora_nb.forecast.fitting import Fit, largest_batch, make_fit
from lora_nb.forecast.memory import GIB, MemoryForecast, forecast_memory
from lora_nb.project import Project
from lora_nb.widgets.asking import AskedWidget, Reply
from lora_nb.widgets.form import say_steps

PROBES = 6  # steps that are trained to measure the time
WITHOUT_PACE = ("samples", "run.epochs", "run.seed", "optimizer.learning_rate", "optimizer.text_encoder_learning_rate")


@dataclass(frozen=True)
class Line:
    """One thing to know."""

    text: str
    is_good: bool = True


@dataclass(frozen=True)
class Situation:
    """What the lines are computed from; another one makes them outdated."""

    config: TrainConfig
    dataset: Dataset
    plan: StepPlan

    @property
    def pace(self) -> Any:
        """All that a step's duration hangs on."""
        values = self.config.model_dump()
        for name in WITHOUT_PACE:
            section, _, field = name.partition(".")
            values[section] = {key: value for key, value in values[section].items() if field and key != field}
        return values, self.plan.buckets


class Work:
    """One long computation at a time, beside the notebook: it is asked for, and its result is looked at later.

    The result of one that fails is a line that says why.
    """

    def __init__(self) -> None:
        self.about: Any = None  # what the result is of
        self.result: Any = None
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, about: Any, compute: Callable[[], Any]) -> None:
        """Compute, unless another computation is still going on."""
        if self.is_busy:
            return

        def work() -> None:
            try:
                self.result = compute()
            except Exception as error:  # a thread has nobody to raise it to
                self.result = [Line(f"It cannot be computed: {error}", False)]
            self.about = about

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the result is there."""
        if self._thread is not None:
            self._thread.join()


class Outlook(AskedWidget):
    """Answers the page once a second. What takes long is computed in a thread, and is part of a later answer."""

    files = "outlook"

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._memory, self._time = Work(), Work()
        self._seen: Situation | None = None
        self._scan = Scan(project.images)

    def answer_news(self) -> Reply:
        """The lines for the settings and pictures as they are now, as far as they are known."""
        try:
            now = self._look()
        except (LoraNbError, OSError) as error:
            self._seen = None
            return _reply(Line(f"It cannot be computed: {error}", False))
        if self._memory.about != now and now == self._seen:  # nothing has changed for a moment
            self._memory.start(now, lambda: _describe_memory(self._project, now))
        self._seen = now
        is_known = self._memory.about == now
        lines = self._memory.result if is_known else [Line("Memory and file size are being computed …")]
        return _reply(Line(say_steps(now.config, now.plan)), *lines, *self._say_time(now), wait=not is_known)

    def answer_measure(self) -> Reply:
        """Train a few steps to see how long they take; nothing of them is kept."""
        now = self._look()
        self._time.start(now, lambda: _measure(self._project, now))
        return self.answer_news()

    def _look(self) -> Situation:
        config, dataset = self._project.load_config(), self._scan.dataset()
        return Situation(config, dataset, plan_steps(dataset, config))

    def _say_time(self, now: Situation) -> list[Line]:
        if self._time.is_busy:
            return [Line(f"Training {PROBES} steps to measure them; nothing of them is kept …")]
        if self._time.about is None:
            return []
        if self._time.about.pace != now.pace:
            return [Line("The time was measured with other settings. Measure it again.")]
        failed = [each for each in self._time.result if isinstance(each, Line)]
        return failed or [_say_duration(self._time.result, now.plan.steps)]


def show_outlook(project: Project) -> Outlook:
    """Steps, memory, file size and, on request, the minutes of a project's training; it follows every change."""
    return Outlook(project)


def _reply(*lines: Line, wait: bool = False) -> Reply:
    return {"lines": [[line.text, line.is_good] for line in lines], "wait": wait}


def _describe_memory(project: Project, now: Situation) -> list[Line]:
    machine = find_machine(project.root)
    captions = len({text for _, text in all_captions(now.dataset.items, now.config)})
    shape = largest_batch(now.plan, now.config)
    capacity = int((machine.gpu_memory_gib or machine.memory_gib) * GIB)
    forecast = forecast_memory(now.config, shape, machine.device, captions)
    fit = make_fit(now.config, shape, machine.device, capacity, captions, forecast)
    place = machine.gpu or "this machine's main memory"
    return [_say_memory(forecast, fit, capacity, place), Line(f"Each LoRA file: {forecast.lora_file / 1e6:.1f} MB.")]


def _say_memory(forecast: MemoryForecast, fit: Fit | None, capacity: int, place: str) -> Line:
    need = f"Memory: about {forecast.peak / GIB:.1f} of {capacity / GIB:.1f} GiB ({place})."
    if fit is None:
        return Line(f"{need} It does not fit, whatever is changed in the settings: take a smaller base model.", False)
    if not fit.changes:
        return Line(need)
    changes = ", ".join(f"{name} = {value}" for name, value in fit.changes.items())
    change = f"The cheapest change that does ({fit.forecast.peak / GIB:.1f} GiB): {changes}."
    return Line(f"{need} It does not fit. {change}", False)


def _measure(project: Project, now: Situation) -> list[float]:
    from lora_nb.forecast.time import measure_steps

    return measure_steps(project, now.config, PROBES)


def _say_duration(durations: list[float], steps: int) -> Line:
    from lora_nb.forecast.time import describe_duration, extrapolate

    found = extrapolate(durations, steps)
    shortest, longest = describe_duration(found.shortest), describe_duration(found.longest)
    return Line(f"{steps} steps take {shortest} to {longest}, sample pictures not counted.")
