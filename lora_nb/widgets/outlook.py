"""What do the settings mean for this machine? Steps, memory, file size and minutes, before a training starts."""

from html import escape
from typing import Any

import ipywidgets

from lora_nb.dataset.final_captions import all_captions
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.environment import find_machine
from lora_nb.errors import LoraNbError
from lora_nb.forecast.fitting import Fit, largest_batch, make_fit
from lora_nb.forecast.memory import GIB, MemoryForecast, forecast_memory
from lora_nb.project import Project
from lora_nb.widgets.form import count_steps
from lora_nb.widgets.frame import frame, row
from lora_nb.widgets.messages import bad, good

PROBES = 6  # steps that are trained to measure the time


class Outlook:
    """A few lines and two buttons: the first looks again after a change, the second trains a few steps to measure."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.again = ipywidgets.Button(description="Compute again")
        self.measure = ipywidgets.Button(description="Measure the time")
        self._lines, self._time = ipywidgets.HTML(), ipywidgets.HTML()
        self.again.on_click(lambda _: self.look())
        self.measure.on_click(lambda _: self._measure())
        self.widget = frame(self._lines, self._time, row(self.again, self.measure))
        self.look()

    def look(self) -> None:
        """Read the project's settings and pictures as they are now, and compute."""
        self._time.value = ""
        self._lines.value = _paragraph("Computing …")
        try:
            self._lines.value = "".join([good(count_steps(self._project)), *_describe_memory(self._project)])
        except (LoraNbError, OSError) as error:
            self._lines.value = bad(f"It cannot be computed: {error}")

    def _measure(self) -> None:
        from lora_nb.forecast.time import describe_duration, forecast_time

        self._time.value = _paragraph(f"Training {PROBES} steps to measure them; nothing of them is kept …")
        try:
            config = self._project.load_config()
            steps = plan_steps(scan_images(self._project.images), config).steps
            found = forecast_time(self._project, config, steps, PROBES)
        except (LoraNbError, OSError) as error:
            self._time.value = bad(f"It cannot be measured: {error}")
            return
        shortest, longest = describe_duration(found.shortest), describe_duration(found.longest)
        self._time.value = good(f"{steps} steps take {shortest} to {longest}, sample pictures not counted.")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)


def show_outlook(project: Project) -> Outlook:
    """Steps, memory, file size and, on request, the minutes of a project's training."""
    return Outlook(project)


def _describe_memory(project: Project) -> list[str]:
    config, dataset = project.load_config(), scan_images(project.images)
    machine, plan = find_machine(project.root), plan_steps(dataset, config)
    captions = len({text for _, text in all_captions(dataset.items, config)})
    shape = largest_batch(plan, config)
    capacity = int((machine.gpu_memory_gib or machine.memory_gib) * GIB)
    forecast = forecast_memory(config, shape, machine.device, captions)
    fit = make_fit(config, shape, machine.device, capacity, captions, forecast)
    place = machine.gpu or "this machine's main memory"
    return [_say_memory(forecast, fit, capacity, place), good(f"Each LoRA file: {forecast.lora_file / 1e6:.1f} MB.")]


def _say_memory(forecast: MemoryForecast, fit: Fit | None, capacity: int, place: str) -> str:
    need = f"Memory: about {forecast.peak / GIB:.1f} of {capacity / GIB:.1f} GiB ({place})."
    if fit is None:
        return bad(f"{need} It does not fit, and no change of settings makes it fit: take a smaller base model.")
    if not fit.changes:
        return good(need)
    changes = ", ".join(f"{name} = {value}" for name, value in fit.changes.items())
    return bad(f"{need} It does not fit. The cheapest change that does ({fit.forecast.peak / GIB:.1f} GiB): {changes}.")


def _paragraph(text: str) -> Any:
    return f'<p role="status">{escape(text)}</p>'
