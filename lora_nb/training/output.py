"""What a run leaves on disk while it trains: LoRA files and sample pictures."""

import io
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_nb.adapters.files import save_lora, size_in_words
from lora_nb.adapters.metadata import RunFacts, training_metadata
from lora_nb.config import GenerationConfig, TrainConfig
from lora_nb.dataset.images import Dataset
from lora_nb.dataset.steps import StepPlan
from lora_nb.files import write_whole
from lora_nb.models.base import DiffusionModel, putting_back_to_sleep
from lora_nb.sampling import generate
from lora_nb.training.acceleration import Team
from lora_nb.training.checkpoints import Checkpoint
from lora_nb.training.events import ImageSampled, LoraSaved, OnEvent, ProblemFound
from lora_nb.training.requests import pending_requests
from lora_nb.training.setbacks import is_out_of_memory
from lora_nb.training.stopwatch import Stopwatch


@dataclass
class RunOutput:
    """The folder of one run, and what its files say about where they come from."""

    folder: Path
    name: str  # of the LoRA files
    config: TrainConfig
    dataset: Dataset
    plan: StepPlan
    on_event: OnEvent
    team: Team = field(default_factory=Team)  # only its first process writes
    started_at: float = field(default_factory=time.time)
    session_id: int = field(default_factory=lambda: secrets.randbits(31))
    clock: Callable[[], float] = time.time
    watch: Stopwatch = field(default_factory=Stopwatch)  # how long it has trained
    checkpoint: Checkpoint | None = None  # where a run goes on that is continued

    def __post_init__(self) -> None:
        if self.checkpoint:
            facts = self.checkpoint.facts
            self.started_at, self.session_id = facts["started_at"], facts["session_id"]
            self.watch = Stopwatch(facts["seconds"])

    def save_lora(self, model: DiffusionModel, step: int, epoch: int, at_step: bool = False) -> Path:
        """Write the LoRA as it is now: `name-000004.safetensors`, the last one `name.safetensors`, as kohya does.

        at_step: in the middle of an epoch, `name-step00000120.safetensors`.
        """
        suffix = "" if epoch == self.config.run.epochs else f"-{epoch:06d}"
        suffix = f"-step{step:08d}" if at_step else suffix
        path = self.folder / "loras" / f"{self.name}{suffix}.safetensors"
        facts = RunFacts(
            output_name=path.stem,
            epoch=epoch,
            steps=step,
            started_at=self.started_at,
            finished_at=self.clock(),
            base_model=model.base,
            session_id=self.session_id,
            prediction=model.objective.prediction,
            zero_terminal_snr=model.objective.zero_terminal_snr,
            variant=model.variant,
            **size_in_words(model),
        )
        if not self.team.is_first:
            return path
        metadata = training_metadata(self.config, self.dataset, self.plan, facts)
        save_lora(model, path, precision=self.config.run.save_precision, metadata=metadata)
        self.on_event(LoraSaved(step, epoch, str(path)))
        return path

    def draw_samples(self, model: DiffusionModel, step: int, epoch: int, at_step: bool = False) -> None:
        """Draw every sample prompt with the LoRA as it is now. Does not touch the training's own chance.

        A model that is cut up draws in all processes at once, because it takes all of them; the first one saves. When
        the run is asked to stop, the pictures that are left are not drawn. No run ends for want of memory to draw with.
        """
        if not (self.team.is_first or self.team.shards):
            return
        try:
            self._draw_all(model, step, epoch, at_step)
        except Exception as error:
            if self.team.shards or not is_out_of_memory(error):
                raise
            message = f"There was no memory to draw sample pictures after step {step}. The training goes on without."
            fix = "Make samples.width and samples.height smaller, or set samples.every_n_epochs to 0."
            self.on_event(ProblemFound("samples", message, fix, "warning"))

    def _draw_all(self, model: DiffusionModel, step: int, epoch: int, at_step: bool) -> None:
        shared = self.config.samples.model_dump(exclude={"prompts", "every_n_epochs"})
        when = f"step-{step:08d}" if at_step else f"epoch-{epoch:04d}"
        with putting_back_to_sleep(model):
            for number, prompt in enumerate(self.config.samples.prompts, start=1):
                stop = "stop" in pending_requests(self.folder)
                if self.team.agree(stop) if self.team.shards else stop:
                    break
                content = self._draw(model, prompt, shared)
                if self.team.is_first:
                    path = self.folder / "samples" / f"{when}-prompt-{number:02d}.png"
                    write_whole(path, content)
                    self.on_event(ImageSampled(step, epoch, prompt, str(path)))

    def _draw(self, model: DiffusionModel, prompt: str, shared: dict[str, Any]) -> bytes:
        settings = GenerationConfig(prompt=prompt, **reading_of(self.config), **shared)
        content = io.BytesIO()
        generate(model, settings).save(content, "png")
        return content.getvalue()


def reading_of(config: TrainConfig) -> dict[str, Any]:
    """How captions are read in training, for reading prompts in the same way."""
    data = config.data
    return {
        "clip_skip": config.model.clip_skip,
        "max_tokens": data.max_tokens,
        "weighted_captions": data.weighted_captions,
    }
