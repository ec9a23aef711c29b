"""How a training shows itself in a terminal or a plain cell: one bar with loss and time left."""

import time
from collections.abc import Callable
from typing import Any

from lora_nb.training.events import (
    ImageSampled,
    LoraSaved,
    OnEvent,
    Preparing,
    ProblemFound,
    RunContinued,
    RunFinished,
    RunPaused,
    RunStarted,
    StepDone,
    TrainEvent,
    ValidationDone,
)

SMOOTHING = 0.95  # of the shown loss: a single step's says little, since its noise level is drawn by chance


class ProgressBar:
    """A listener for `train`'s events. The bar shows epoch, smoothed loss, steps a second and time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._loss: float | None = None
        self._epochs = 0

    def __call__(self, event: TrainEvent) -> None:
        if isinstance(event, RunStarted):
            print(f"{event.run}: {event.steps} steps in {event.epochs} epochs, on {event.device}, {event.precision}")
            self._open(event.steps, event.epochs)
        elif isinstance(event, RunContinued):
            self._open(event.steps, event.epochs, event.step)
        elif isinstance(event, RunPaused):
            self._bar.set_description("paused")
        elif isinstance(event, StepDone):
            self._show_step(event)
        elif isinstance(event, ProblemFound):
            self._bar.write(f"! {event.where}: {event.message} {event.fix}")
        elif isinstance(event, ValidationDone):
            self._bar.write(f"epoch {event.epoch}: loss on held-out pictures {event.loss:.4f}")
        elif isinstance(event, LoraSaved):
            self._bar.set_description(f"epoch {event.epoch}/{self._epochs} saved")
        elif isinstance(event, ImageSampled):
            self._bar.refresh()
        elif isinstance(event, RunFinished):
            self._bar.close()
            print(f"{event.outcome} after {event.seconds:.0f} s and {self._bar.n} steps")

    def _open(self, steps: int, epochs: int, done: int = 0) -> None:
        from tqdm.auto import tqdm

        if self._bar is not None:  # the run has paused, or gone back
            self._bar.n = done
            self._bar.refresh()
            return
        self._epochs = epochs
        self._bar = tqdm(total=steps, initial=done, unit="step", mininterval=1.0, dynamic_ncols=True)

    def _show_step(self, event: StepDone) -> None:
        raw = event.raw_loss
        self._loss = raw if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * raw
        self._bar.set_description(f"epoch {event.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix(loss=f"{self._loss:.4f}", refresh=False)
        self._bar.update()


def progress_of(what: str, on_event: OnEvent, every: float = 1.0) -> Callable[[int, int], None]:
    """Turn (done, total) into events, not more than one in `every` seconds but for the last."""
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= every:
            last = time.monotonic()
            on_event(Preparing(what, done, total))

    return show
