"""If a training does not fit into memory: which change makes it fit, and costs the least?"""

from collections.abc import Callable
from dataclasses import dataclass

from lora_nb.config import TrainConfig
from lora_nb.config.savings import (
    FOR_GPUS,
    Changes,
    checkpoint,
    draw_nothing,
    halve_precision,
    keep_text,
    leave_words_alone,
    move_blocks,
    shrink_optimizer,
    shrink_pictures,
    split_batches,
    take_4_bits,
    take_8_bits,
)
from lora_nb.config_file import change_settings
from lora_nb.dataset.steps import StepPlan
from lora_nb.errors import ConfigError
from lora_nb.forecast.memory import Device, MemoryForecast, forecast_memory
from lora_nb.forecast.stages import BatchShape


@dataclass(frozen=True)
class Fit:
    """Settings that fit, and what was changed for it."""

    changes: Changes  # empty if it fits as it is
    forecast: MemoryForecast


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
