"""What a training tells the outside: typed events, written to events.jsonl one a line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class RunStarted:
    """The plan, before the first step."""

    kind: ClassVar[str] = "run_started"
    run: str
    steps: int
    epochs: int
    steps_per_epoch: int
    batches_per_epoch: int
    device: str
    precision: str


@dataclass(frozen=True)
class ProblemFound:
    """Something that does not stop the run but that the user should know, with the way out."""

    kind: ClassVar[str] = "problem_found"
    where: str
    message: str
    fix: str
    severity: str  # "warning" or "note"


@dataclass(frozen=True)
class StepDone:
    """One optimizer step. `loss` is what was minimised; `raw_loss` is the plain mean squared error, which can be
    compared between runs with different weightings."""

    kind: ClassVar[str] = "step_done"
    step: int  # counted from 1
    epoch: int  # counted from 1
    loss: float
    raw_loss: float
    learning_rate: float
    grad_norm: float  # before clipping; 0 for a step that was left out because fp16 overflowed
    seconds: float  # since the run started
    learning_rates: dict[str, float] = field(default_factory=dict)  # by group: "lora_unet", "lora_te x0.5"


@dataclass(frozen=True)
class ValidationDone:
    """The raw loss on held-out pictures, before training (epoch 0) and after every epoch."""

    kind: ClassVar[str] = "validation_done"
    step: int
    epoch: int
    loss: float


@dataclass(frozen=True)
class LoraSaved:
    """A LoRA file was written, whole."""

    kind: ClassVar[str] = "lora_saved"
    step: int
    epoch: int
    path: str


@dataclass(frozen=True)
class ImageSampled:
    """A picture was drawn with the LoRA as it is now."""

    kind: ClassVar[str] = "image_sampled"
    step: int
    epoch: int
    prompt: str
    path: str


@dataclass(frozen=True)
class RunFinished:
    """The last event of every run that was not killed."""

    kind: ClassVar[str] = "run_finished"
    outcome: str  # "finished" or "stopped"
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)


TrainEvent = RunStarted | ProblemFound | StepDone | ValidationDone | LoraSaved | ImageSampled | RunFinished
OnEvent = Callable[[TrainEvent], None]
EVENTS: dict[str, type[Any]] = {
    event.kind: event
    for event in (RunStarted, ProblemFound, StepDone, ValidationDone, LoraSaved, ImageSampled, RunFinished)
}


def write_events_to(path: Path) -> OnEvent:
    """Make a listener that appends every event to a file; a line is flushed as soon as it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(event: TrainEvent) -> None:
        line = json.dumps({"event": event.kind, **asdict(event)}, ensure_ascii=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return write


def read_events(path: Path) -> Iterator[TrainEvent]:
    """Read a run's events, also while it is still writing: a torn last line is left for the next call."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            values = json.loads(line)
            yield EVENTS[values.pop("event")](**values)


def tell(*listeners: OnEvent) -> OnEvent:
    """Join several listeners into one."""

    def tell_all(event: TrainEvent) -> None:
        for listener in listeners:
            listener(event)

    return tell_all
