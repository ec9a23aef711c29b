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
from lora_nb.training.events import ImageSampled, LoraSaved, OnEvent


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

    def save_lora(self, model: DiffusionModel, step: int, epoch: int) -> Path:
        """Write the LoRA as it is now: `name-000004.safetensors`, the last one `name.safetensors`, as kohya does."""
        suffix = "" if epoch == self.config.run.epochs else f"-{epoch:06d}"
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

    def draw_samples(self, model: DiffusionModel, step: int, epoch: int) -> None:
        """Draw every sample prompt with the LoRA as it is now. Does not touch the training's own chance.

        A model that is cut up draws in all processes at once, because it takes all of them; the first one saves.
        """
        if not (self.team.is_first or self.team.shards):
            return
        shared = self.config.samples.model_dump(exclude={"prompts", "every_n_epochs"})
        with putting_back_to_sleep(model):
            self._draw_all(model, shared, step, epoch)

    def _draw_all(self, model: DiffusionModel, shared: dict[str, Any], step: int, epoch: int) -> None:
        for number, prompt in enumerate(self.config.samples.prompts, start=1):
            settings = GenerationConfig(prompt=prompt, **reading_of(self.config), **shared)
            content = io.BytesIO()
            generate(model, settings).save(content, "png")
            if not self.team.is_first:
                continue
            path = self.folder / "samples" / f"epoch-{epoch:04d}-prompt-{number:02d}.png"
            write_whole(path, content.getvalue())
            self.on_event(ImageSampled(step, epoch, prompt, str(path)))


def reading_of(config: TrainConfig) -> dict[str, Any]:
    """How captions are read in training, for reading prompts in the same way."""
    data = config.data
    return {
        "clip_skip": config.model.clip_skip,
        "max_tokens": data.max_tokens,
        "weighted_captions": data.weighted_captions,
    }
