"""Every setting, declared once, one file a section: its default, bounds, help, Kohya's name, what it applies to.

The forms, the JSON file, the command line's checks and the documentation are all made from these fields.
To add a setting, add a field with `setting(...)` to its section and the line of code that uses it.
"""

import typing
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import model_validator
from pydantic.fields import FieldInfo

from lora_nb.config.adapter import AdapterConfig
from lora_nb.config.base import Section, setting
from lora_nb.config.data import DataConfig
from lora_nb.config.loss import LossConfig
from lora_nb.config.model import WORKSHOP_MODEL, ModelConfig
from lora_nb.config.noise import NoiseConfig
from lora_nb.config.optimizer import OptimizerConfig
from lora_nb.config.pictures import GenerationConfig, PictureConfig, SampleConfig, Sampler
from lora_nb.config.run import RunConfig

__all__ = [
    "WORKSHOP_MODEL",
    "AdapterConfig",
    "DataConfig",
    "GenerationConfig",
    "LossConfig",
    "ModelConfig",
    "NoiseConfig",
    "OptimizerConfig",
    "PictureConfig",
    "RunConfig",
    "SampleConfig",
    "Sampler",
    "Section",
    "TrainConfig",
    "choices_of",
    "facts_of",
    "list_settings",
    "read_setting",
    "setting",
]

FLUX_STEP = 16  # pixels


class TrainConfig(Section):
    """All settings of a training: what a project's config.json holds."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    adapter: AdapterConfig = AdapterConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    noise: NoiseConfig = NoiseConfig()
    loss: LossConfig = LossConfig()
    run: RunConfig = RunConfig()
    samples: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def buckets_suit_the_family(self) -> Self:
        if self.model.family == "flux" and self.data.bucket_step % FLUX_STEP:
            raise ValueError(
                f"data.bucket_step is {self.data.bucket_step}, and Flux needs a multiple of {FLUX_STEP}: one of its "
                f"tokens stands for {FLUX_STEP} x {FLUX_STEP} pixels"
            )
        return self


def list_settings() -> Iterator[tuple[str, FieldInfo]]:
    """Go through all settings in order: ("run.epochs", its declaration)."""
    for section, part in TrainConfig.model_fields.items():
        for name, field in _section_class(part).model_fields.items():
            yield f"{section}.{name}", field


def read_setting(config: TrainConfig, name: str) -> Any:
    """The value of a setting by its path: read_setting(config, "run.epochs")."""
    section, _, field = name.partition(".")
    return getattr(getattr(config, section), field)


def facts_of(field: FieldInfo) -> dict[str, Any]:
    """What `setting` noted beside a field's default and bounds: kohya, advanced, off, and what it applies to."""
    return typing.cast(dict[str, Any], field.json_schema_extra)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The values that a setting can be chosen from; empty when it is not a choice."""
    return typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()


def _section_class(field: FieldInfo) -> type[Section]:
    return typing.cast(type[Section], field.annotation)
