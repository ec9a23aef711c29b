"""If a training does not fit into memory: which change makes it fit, and costs the least?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.dataset.steps import StepPlan
from lora_nb.errors import ConfigError
from lora_nb.forecast.memory import Device, MemoryForecast, forecast_memory
from lora_nb.forecast.stages import BatchShape

Changes = dict[str, Any]  # settings by their names
LEAST_SIDE = 256  # pixels: a smaller resolution is no training of these models


@dataclass(frozen=True)
class Fit:
    """Settings that fit, and what was changed for it."""

    changes: Changes  # empty if it fits as it is
    forecast: MemoryForecast


def keep_text(config: TrainConfig) -> Changes:
    """Encoded captions are remembered, so that the text encoder can leave."""
    return {"data.cache_text": "auto"} if config.data.cache_text == "never" else {}


def halve_precision(config: TrainConfig) -> Changes:
    """Half of the bits: faster, too."""
    half = "bf16" if config.model.family == "flux" else "fp16"  # in fp16, Flux's numbers overflow
    return {"run.precision": half} if config.run.precision == "fp32" else {}


def checkpoint(config: TrainConfig) -> Changes:
    """A quarter slower, the same LoRA."""
    return {} if config.run.gradient_checkpointing else {"run.gradient_checkpointing": True}


def shrink_optimizer(config: TrainConfig) -> Changes:
    """What the optimizer remembers, in 8 bits."""
    return {"optimizer.kind": "adamw8bit"} if config.optimizer.kind in ("adamw", "prodigy") else {}


def split_batches(config: TrainConfig) -> Changes:
    """Single pictures, added up to the same batch: slower, the same LoRA."""
    run = config.run
    count = run.batch_size * run.gradient_accumulation_steps
    return {"run.batch_size": 1, "run.gradient_accumulation_steps": count} if run.batch_size > 1 else {}


def draw_nothing(config: TrainConfig) -> Changes:
    """No sample pictures while it trains."""
    return {"samples.every_n_epochs": 0} if config.samples.every_n_epochs else {}


def leave_words_alone(config: TrainConfig) -> Changes:
    """The U-Net or transformer alone learns."""
    both = config.adapter.train_text_encoder and config.adapter.train_denoiser
    return {"adapter.train_text_encoder": False} if both else {}


def take_8_bits(config: TrainConfig) -> Changes:
    """The base model a little coarser, and slower."""
    return {"run.quantization": "int8"} if config.run.quantization == "none" else {}


def take_4_bits(config: TrainConfig) -> Changes:
    """The base model coarser, and slower."""
    return {"run.quantization": "nf4"} if config.run.quantization == "int8" else {}


def move_blocks(config: TrainConfig) -> Changes:
    """Flux's blocks wait in main memory: slower by the copying, the same LoRA."""
    return {"run.offload": 0.5 if config.run.offload < 0.5 else 1.0} if config.run.offload < 1 else {}


def shrink_pictures(config: TrainConfig) -> Changes:
    """Three quarters of the resolution: fewer details."""
    data = config.data
    side = data.resolution * 3 // 4 // data.bucket_step * data.bucket_step
    return {"data.resolution": side} if side >= LEAST_SIDE else {}


# From the cheapest to the dearest; what a model or an adapter refuses is left out. To add one: write it, name it here.
LADDER: tuple[Callable[[TrainConfig], Changes], ...] = (
    keep_text,
    halve_precision,
    checkpoint,
    shrink_optimizer,
    split_batches,
    draw_nothing,
    leave_words_alone,
    take_8_bits,
    take_4_bits,
    move_blocks,
    shrink_pictures,
    shrink_pictures,
)
FOR_GPUS = (halve_precision, take_8_bits, take_4_bits, move_blocks)  # slow without one, and then no help


def make_fit(
    config: TrainConfig,
    shape: BatchShape,
    device: Device,
    capacity: float,
    captions: int = 100,
    forecast: MemoryForecast | None = None,
) -> Fit | None:
    """The settings as they are if they fit into `capacity` bytes; else with the cheapest changes that make them fit.

    Goes down the ladder until it fits, and then takes back every change that was not needed. None if nothing helps.
    forecast: that of the settings as they are, if it is known.
    """
    forecast = forecast or forecast_memory(config, shape, device, captions)
    taken: list[Changes] = []  # of each rung: what belongs together is taken back together
    for rung in LADDER:
        if forecast.peak <= capacity:
            break
        changes = rung(change_settings(config, _join(taken))) if device == "cuda" or rung not in FOR_GPUS else {}
        if changes and (found := _try(config, _join([*taken, changes]), shape, device, captions)):
            taken, forecast = [*taken, changes], found
    if forecast.peak > capacity:
        return None
    for changes in reversed(taken[:-1]):
        fewer = [other for other in taken if other is not changes]
        found = _try(config, _join(fewer), shape, device, captions)
        if found and found.peak <= capacity:
            taken, forecast = fewer, found
    return Fit(_join(taken), forecast)


def largest_batch(plan: StepPlan, config: TrainConfig) -> BatchShape:
    """The batch of a run that takes the most memory."""
    rows = [(min(config.run.batch_size, row.seen), row.bucket) for row in plan.buckets]
    pictures, bucket = max(rows, key=lambda row: row[0] * row[1].width * row[1].height)
    return BatchShape(bucket.width, bucket.height, pictures)


def shape_after(shape: BatchShape, before: TrainConfig, after: TrainConfig) -> BatchShape:
    """The largest batch when settings have changed."""

    def scale(side: int) -> int:
        step = after.data.bucket_step
        return max(side * after.data.resolution // before.data.resolution // step * step, step)

    pictures = min(shape.pictures, after.run.batch_size)
    return BatchShape(scale(shape.width), scale(shape.height), pictures)


def _join(taken: list[Changes]) -> Changes:
    """All changes; of two to one setting, the later."""
    return {name: value for changes in taken for name, value in changes.items()}


def _try(
    config: TrainConfig, changes: Changes, shape: BatchShape, device: Device, captions: int
) -> MemoryForecast | None:
    """The forecast with these changes; None if they do not go together."""
    try:
        changed = change_settings(config, changes)
    except ConfigError:
        return None
    return forecast_memory(changed, shape_after(shape, config, changed), device, captions)
