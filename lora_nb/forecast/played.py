"""Each stage of a run is played once for all settings that mean the same to it.

A form asks for a new forecast after every change, and the search for what fits tries many. Most changes leave most
stages as they were: another optimizer, other sample pictures or more epochs need nothing played again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from torch import Tensor

from lora_nb.adapters.files import file_bytes
from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.config import TrainConfig
from lora_nb.forecast.blueprint import META, draw_blueprint
from lora_nb.forecast.stages import BatchShape, play_caching, play_pictures, play_training
from lora_nb.models.base import DiffusionModel

LOADING = {"precision", "offload"}  # of the run's settings, what the model itself looks like
BATCHES = {"batch_size", "micro_batch_size", "gradient_accumulation_steps"}
STEPPING = {*LOADING, *BATCHES, "gradient_checkpointing", "channels_last"}


@dataclass(frozen=True)
class Relevant:
    """Settings of which all but some have their defaults: two are equal if those some are."""

    key: str
    config: TrainConfig = field(compare=False)


def blueprint_of(config: TrainConfig) -> DiffusionModel:
    """The model without weights. Leave it as you found it: it is the same one each time."""
    return _blueprint(keep(config, "model", run=LOADING))


def adapter_of(config: TrainConfig) -> tuple[list[Tensor], int]:
    """The small matrices, without numbers, and the bytes of a file of them."""
    return _adapter(keep(config, "model", "adapter", run={*LOADING, "save_precision"}))


def caching_bytes(config: TrainConfig, shape: BatchShape, device: str) -> int:
    """See stages.play_caching."""
    return _caching(keep(config, "model", "data", "adapter", run=LOADING), shape, device)


def training_bytes(config: TrainConfig, shape: BatchShape, device: str, roles: tuple[str, ...]) -> int:
    """See stages.play_training. roles: the networks that are in memory."""
    return _training(keep(config, "model", "data", "noise", "loss", "adapter", run=STEPPING), shape, device, roles)


def picture_bytes(config: TrainConfig, shape: BatchShape, device: str) -> int:
    """See stages.play_pictures."""
    return _pictures(keep(config, "model", "data", "adapter", "samples", run=LOADING), shape, device)


def keep(config: TrainConfig, *sections: str, run: set[str]) -> Relevant:
    """These sections, and these settings of `run`; the defaults for everything else."""
    default = TrainConfig()
    values = {name: getattr(config if name in sections else default, name) for name in TrainConfig.model_fields}
    values["run"] = default.run.model_copy(update={name: getattr(config.run, name) for name in run})
    kept = default.model_copy(update=values)  # not checked again: a part of what goes together need not
    return Relevant(kept.model_dump_json(), kept)


@lru_cache(maxsize=3)
def _blueprint(kept: Relevant) -> DiffusionModel:
    return draw_blueprint(kept.config.model, kept.config.run.precision, kept.config.run.offload)


@lru_cache(maxsize=32)
def _adapter(kept: Relevant) -> tuple[list[Tensor], int]:
    model = blueprint_of(kept.config)
    with _adapted(model, kept.config) as trained:
        return trained, file_bytes(model, kept.config.run.save_precision)


@lru_cache(maxsize=128)
def _caching(kept: Relevant, shape: BatchShape, device: str) -> int:
    reads_captions = not kept.config.adapter.train_text_encoder
    return play_caching(blueprint_of(kept.config), shape, kept.config, device, reads_captions)


@lru_cache(maxsize=128)
def _training(kept: Relevant, shape: BatchShape, device: str, roles: tuple[str, ...]) -> int:
    model = blueprint_of(kept.config)
    with _adapted(model, kept.config):
        return play_training(model, shape, kept.config, device, [model.networks[role] for role in roles])


@lru_cache(maxsize=128)
def _pictures(kept: Relevant, shape: BatchShape, device: str) -> int:
    model = blueprint_of(kept.config)
    with _adapted(model, kept.config):
        return play_pictures(model, shape, kept.config, device)


@contextmanager
def _adapted(model: DiffusionModel, config: TrainConfig) -> Iterator[list[Tensor]]:
    """The model with the small matrices on; they have no numbers either."""
    with META:
        parts = add_adapter(model, config.adapter, config.run.seed)
    try:
        yield [parameter for part in parts.values() for parameter in part]
    finally:
        remove_adapter(model)
