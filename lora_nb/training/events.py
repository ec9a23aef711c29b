"""What a training tells the outside: typed events. How they are kept on disk is in event_log.py."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Preparing:
    """What is done before the first step, and how far it is. A run that is continued prepares itself once more."""

    kind: ClassVar[str] = "preparing"
    what: str  # "start", "model", "pictures" or "captions"
    done: int = 0
    total: int = 0  # 0: it cannot be counted


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
class RunPaused:
    """The run waits after this step, as it was asked to. It keeps its memory."""

    kind: ClassVar[str] = "run_paused"
    step: int
    epoch: int


@dataclass(frozen=True)
class RunContinued:
    """The run goes on after this step: after a pause, or in a new process from a checkpoint."""

    kind: ClassVar[str] = "run_continued"
    step: int
    epoch: int
    checkpoint: str = ""  # its name; empty after a pause
    steps: int = 0  # of the whole run
    epochs: int = 0


@dataclass(frozen=True)
class CheckpointSaved:
    """Everything that is needed to go on from here was written."""

    kind: ClassVar[str] = "checkpoint_saved"
    step: int
    epoch: int
    path: str
    size: int  # bytes
    seconds: float  # that it took


@dataclass(frozen=True)
class RunFailed:
    """The run ended with an error."""

    kind: ClassVar[str] = "run_failed"
    step: int
    error: str  # the class of the error
    message: str  # what it says
    traceback: str


@dataclass(frozen=True)
class RunFinished:
    """The last event of every run that was neither killed nor failed."""

    kind: ClassVar[str] = "run_finished"
    outcome: str  # "finished" or "stopped"
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)


TrainEvent = (
    Preparing
    | RunStarted
    | ProblemFound
    | StepDone
    | ValidationDone
    | LoraSaved
    | ImageSampled
    | CheckpointSaved
    | RunPaused
    | RunContinued
    | RunFailed
    | RunFinished
)
OnEvent = Callable[[TrainEvent], None]
EVENTS: dict[str, type[Any]] = {event.kind: event for event in TrainEvent.__args__}


def tell(*listeners: OnEvent) -> OnEvent:
    """Join several listeners into one."""

    def tell_all(event: TrainEvent) -> None:
        for listener in listeners:
            listener(event)

    return tell_all
