"""What settings does the tutorial advise for this model, this machine and this many pictures?"""

from typing import Literal

from lora_nb.config import (
    WORKSHOP_MODEL,
    AdapterConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from lora_nb.environment import Machine


def advise_config(
    machine: Machine,
    base: str = WORKSHOP_MODEL,
    trigger_words: tuple[str, ...] = (),
    family: Literal["sd1", "sd2"] = "sd1",
) -> TrainConfig:
    """The settings that a new project starts from; every one of them can be changed afterwards."""
    prompt = ", ".join(trigger_words)
    if base == WORKSHOP_MODEL:
        return _advise_workshop(trigger_words, prompt)
    return TrainConfig(
        model=ModelConfig(family=family, base=base),
        data=DataConfig(trigger_words=trigger_words, keep_tokens=len(trigger_words)),
        run=RunConfig(
            precision=machine.precision,
            gradient_checkpointing=machine.gpu is not None and machine.gpu_memory_gib < 12,
        ),
        samples=SampleConfig(prompts=(prompt,) if prompt else ()),
    )


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
