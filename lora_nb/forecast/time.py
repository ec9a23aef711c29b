"""How long will a training take? Measured on its own first steps."""

import math
import os
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.errors import TrainingError
from lora_nb.project import Project
from lora_nb.training.events import RunStarted, StepDone, TrainEvent
from lora_nb.training.runs import train_project

SURE = 2.0  # standard errors on each side: about 95 of 100 times the truth lies between
LEAST_SPREAD = 0.05  # share that a machine's speed drifts by, however alike the first steps are


@dataclass(frozen=True)
class TimeForecast:
    """What is left of a run, in seconds. Sample pictures and the start are not in it."""

    seconds_per_step: float
    seconds: float  # of all steps
    shortest: float
    longest: float
    measured: int  # steps


def forecast_time(project: Project, config: TrainConfig, steps: int, probes: int = 6) -> TimeForecast:
    """Train a few steps of the project for real, outside of it, and say how long `steps` of them take.

    Pictures and captions are encoded for it, into the project's cache: the run will find them there.
    """
    durations = measure_steps(project, config, probes)
    return extrapolate(durations, steps)


def extrapolate(durations: list[float], steps: int) -> TimeForecast:
    """From the seconds of some steps to those of all, with the range in which they will lie."""
    mean = fmean(durations)
    doubt = stdev(durations) / math.sqrt(len(durations)) if len(durations) > 1 else mean
    spread = SURE * doubt + LEAST_SPREAD * mean
    shortest, longest = max(mean - spread, 0.0) * steps, (mean + spread) * steps
    return TimeForecast(mean, mean * steps, shortest, longest, len(durations))


def describe_duration(seconds: float) -> str:
    """'40 s', '12 min', '3 h 20 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def measure_steps(project: Project, config: TrainConfig, probes: int) -> list[float]:
    """The seconds of the first steps but the very first, which warms up. Nothing of them is left on disk."""
    ends: list[float] = []

    def listen(event: TrainEvent) -> None:
        if isinstance(event, RunStarted):
            ends.clear()
        if isinstance(event, StepDone):
            ends.append(event.seconds)
            if len(ends) > probes:
                raise KeyboardInterrupt  # as a user would stop it

    calm = change_settings(config, {"samples.every_n_epochs": 0})
    with tempfile.TemporaryDirectory() as folder:
        train_project(_borrow(project, Path(folder) / project.name), calm, run="probe", on_event=listen)
    if len(ends) < 2:
        raise TrainingError("One step is all there is: too few to measure. Add pictures or repeats.")
    return [after - before for before, after in pairwise(ends)]


def _borrow(project: Project, root: Path) -> Project:
    """The project's pictures and cache, with runs somewhere else."""
    root.mkdir()
    project.cache.mkdir(exist_ok=True)
    for name in ("images", "regularisation", "cache"):
        if (project.root / name).exists():
            os.symlink(project.root / name, root / name, target_is_directory=True)
    return Project(root)
