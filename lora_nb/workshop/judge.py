"""Did the LoRA learn its subject, and does it still listen? Forty pictures with it, forty without."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lora_nb.config import GenerationConfig, TrainConfig
from lora_nb.evaluation.runs import picture_settings
from lora_nb.models.base import DiffusionModel
from lora_nb.sampling import generate_with_lora
from lora_nb.workshop.demo import TRIGGER, judgement_prompts
from lora_nb.workshop.measure import prompt_adherence, subject_rate


@dataclass(frozen=True)
class Judgement:
    """What a LoRA does, as shares between 0 and 1."""

    pictures: int
    subject_with_lora: float  # the trigger word is in the prompt
    subject_without_trigger: float  # the LoRA is on, but nobody called the subject: what leaks
    subject_without_lora: float  # the same prompts and seeds, drawn by the base model
    adherence_with_lora: float  # of background, pose and expression, how much came as asked
    adherence_without_lora: float

    def describe(self) -> str:
        """The four numbers in words."""
        kept = self.adherence_with_lora / max(self.adherence_without_lora, 1e-9)
        return (
            f"The subject is in {self.subject_with_lora:.0%} of {self.pictures} pictures with the LoRA and its trigger "
            f"word, in {self.subject_without_trigger:.0%} without the trigger word, in {self.subject_without_lora:.0%} "
            "without the LoRA.\n"
            f"Prompts are followed to {self.adherence_with_lora:.0%}, by the base model to "
            f"{self.adherence_without_lora:.0%}: {kept:.0%} of its own."
        )


def judge_lora(model: DiffusionModel, lora: Path, config: TrainConfig, pictures: int = 40) -> Judgement:
    """Draw prompts with fixed seeds, with and without a LoRA, and count what is in the pictures."""
    prompts = judgement_prompts(pictures)
    settings = picture_settings(config)
    plain = [prompt.removeprefix(f"{TRIGGER}, ") for prompt in prompts]
    with_lora = draw_prompts(model, prompts, settings.model_copy(update={"lora": lora}))
    without_trigger = draw_prompts(model, plain, settings.model_copy(update={"lora": lora}))
    without_lora = draw_prompts(model, prompts, settings)
    return Judgement(
        pictures=pictures,
        subject_with_lora=subject_rate(with_lora),
        subject_without_trigger=subject_rate(without_trigger),
        subject_without_lora=subject_rate(without_lora),
        adherence_with_lora=prompt_adherence(with_lora, prompts),
        adherence_without_lora=prompt_adherence(without_lora, prompts),
    )


def draw_prompts(model: DiffusionModel, prompts: list[str], settings: GenerationConfig) -> list[Image.Image]:
    """Draw every prompt once, each with a seed of its own."""
    return [
        generate_with_lora(model, settings.model_copy(update={"prompt": prompt, "seed": seed}))
        for seed, prompt in enumerate(prompts, start=1000)
    ]
