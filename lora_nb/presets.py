"""What settings does the tutorial advise for this model, this machine and this many pictures?"""

from dataclasses import dataclass
from typing import Any

from lora_nb.config import (
    WORKSHOP_MODEL,
    AdapterConfig,
    DataConfig,
    OptimizerConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from lora_nb.config_file import make_config
from lora_nb.environment import Machine
from lora_nb.errors import ConfigError, Problem


@dataclass(frozen=True)
class FamilyAdvice:
    """What differs between the families."""

    resolution: int  # in pixels, what the base model was trained at
    max_bucket_size: int
    guidance_scale: float  # for the sample pictures
    comfortable_gib: float  # of GPU memory; with less, gradient checkpointing is turned on


FAMILIES = {
    "sd1": FamilyAdvice(512, 1024, 7.0, 12),
    "sd2": FamilyAdvice(768, 1536, 7.0, 16),  # 2.1; the 512 pixel edition is rare
    "sdxl": FamilyAdvice(1024, 2048, 6.0, 30),
    "flux": FamilyAdvice(1024, 2048, 3.5, 60),
}


def advise_config(
    machine: Machine,
    base: str = WORKSHOP_MODEL,
    trigger_words: tuple[str, ...] = (),
    family: str = "sd1",
) -> TrainConfig:
    """The settings that a new project starts from; every one of them can be changed afterwards.

    What the family cannot use, such as noise offset, comes switched off.
    """
    prompt = ", ".join(trigger_words)
    if base == WORKSHOP_MODEL:
        return _advise_workshop(trigger_words, prompt)
    if family not in FAMILIES:
        problem = Problem("family", f"{family!r} is not a model family.", f"Use one of {', '.join(FAMILIES)}.")
        raise ConfigError("The settings cannot be chosen.", [problem])
    advice = FAMILIES[family]
    is_schnell = family == "flux" and "schnell" in base.lower()
    settings: dict[str, Any] = {
        "model": {"family": family, "base": base} | ({"t5_tokens": 256} if is_schnell else {}),
        "data": {
            "trigger_words": trigger_words,
            "keep_tokens": len(trigger_words),
            "resolution": advice.resolution,
            "max_bucket_size": advice.max_bucket_size,
        },
        "run": {
            "precision": machine.precision,
            "gradient_checkpointing": machine.gpu is not None and machine.gpu_memory_gib < advice.comfortable_gib,
        },
        "samples": {
            "prompts": (prompt,) if prompt else (),
            "width": advice.resolution,
            "height": advice.resolution,
            "guidance_scale": 1.0 if is_schnell else advice.guidance_scale,
        },
    }
    return make_config(settings)


def _advise_workshop(trigger_words: tuple[str, ...], prompt: str) -> TrainConfig:
    """The small model has small pictures, small buckets and small matrices, and learns in larger steps."""
    return TrainConfig(
        data=DataConfig(
            trigger_words=trigger_words,
            keep_tokens=len(trigger_words),
            resolution=64,
            bucket_step=16,
            min_bucket_size=32,
            max_bucket_size=128,
        ),
        adapter=AdapterConfig(rank=32, alpha=16),
        optimizer=OptimizerConfig(learning_rate=2e-3, text_encoder_learning_rate=1e-3),
        run=RunConfig(batch_size=4),
        samples=SampleConfig(prompts=(prompt,) if prompt else (), width=64, height=64, guidance_scale=2.0),
    )
