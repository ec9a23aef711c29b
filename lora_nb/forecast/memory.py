"""How much memory will a training need? Played through without weights, in seconds, on any machine."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from lora_nb.adapters.files import file_bytes
from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.config import TrainConfig
from lora_nb.forecast.blueprint import draw_blueprint
from lora_nb.forecast.ledger import size_of, tensors_in
from lora_nb.forecast.optimizer_state import optimizer_state_bytes
from lora_nb.forecast.quantized import dequantized_bytes, saved_bytes
from lora_nb.forecast.stages import BatchShape, caption_bytes, play_caching, play_pictures, play_training
from lora_nb.models.base import DiffusionModel
from lora_nb.training.conditioning import LARGEST_CACHE, REMEMBERED_BYTES

Device = Literal["cuda", "cpu"]

GIB = 2**30
PROGRAM = {  # in main memory, before there is any model: Python with PyTorch, diffusers, transformers and peft
    "cpu": int(0.5 * GIB),  # measured
    "cuda": int(2.5 * GIB),  # with CUDA's libraries, which are large; not measured here
}
DRIVER = int(0.6 * GIB)  # what CUDA and its matrix library take of a GPU before the first tensor; not measured here
FRAGMENTATION = {"cpu": 0.0, "cuda": 0.05}  # share of the changing tensors that is lost between blocks


@dataclass(frozen=True)
class MemoryForecast:
    """What a run takes, in bytes. The first six add up to the peak of a training step."""

    weights: int  # of the networks that are in memory while it trains
    adapter: int  # the small matrices, and their average if one is kept
    gradients: int
    optimizer: int  # what it remembers of past steps
    activations: int  # what waits for the backward pass, and what is needed for a moment
    overhead: int  # the program itself; on a GPU what its driver takes
    caching: int  # peak while pictures and captions are encoded
    pictures: int  # peak while sample pictures are drawn; 0 if none are
    host: int  # peak of the computer's main memory
    lora_file: int  # size of each LoRA file

    @property
    def training(self) -> int:
        """The peak of a training step."""
        return self.weights + self.adapter + self.gradients + self.optimizer + self.activations + self.overhead

    @property
    def peak(self) -> int:
        """The most that is needed at any time: of the GPU's memory, or without a GPU of the main memory."""
        return max(self.training, self.caching, self.pictures)


def forecast_memory(config: TrainConfig, shape: BatchShape, device: Device, captions: int = 100) -> MemoryForecast:
    """The memory of a run whose largest batch has this shape.

    captions: how many different ones it has; what the text encoders made of them is remembered.
    """
    model = draw_blueprint(config.model, config.run.precision)
    fewer, written_out = (count(model, config.run.quantization) for count in (saved_bytes, dequantized_bytes))
    remembered, keeps_encoders = plan_text(model, config, captions)
    caching = play_caching(model, shape, config, device, reads_captions=not config.adapter.train_text_encoder)
    networks = {name: size_of(tensors_in(model.networks[name])) for name in needed_networks(model, config)}

    with torch.device("meta"):  # so that the small matrices have no numbers either
        trained = [each for part in add_adapter(model, config.adapter, config.run.seed).values() for each in part]
    matrices = size_of(trained)
    optimizer = optimizer_state_bytes(trained, config.optimizer)
    lora_file = file_bytes(model, config.run.save_precision)
    parts = [model.denoiser, *(encoders_of(model) if keeps_encoders else [])]
    resident = sum(size_of(tensors_in(part)) for part in parts)
    moving = max(play_training(model, shape, config, device, parts) - matrices, 0)
    # on a GPU the optimizer makes a copy of the matrices, which counts where a batch takes next to nothing
    moving = max(moving, matrices if device == "cuda" else 0) + written_out

    drawing = 0
    if config.samples.every_n_epochs and config.samples.prompts:
        woken = [model.vae, *([] if keeps_encoders else encoders_of(model))]
        beside = sum(size_of(tensors_in(part)) for part in woken)
        drawing = beside + int(play_pictures(model, shape, config, device) * (1 + FRAGMENTATION[device])) + written_out
    remove_adapter(model)
    overhead = DRIVER if device == "cuda" else PROGRAM["cpu"]
    steady = resident - fewer + (matrices if config.optimizer.ema_decay else 0) + optimizer + remembered + overhead
    result = MemoryForecast(
        weights=resident - matrices - fewer,
        adapter=matrices * (2 if config.optimizer.ema_decay else 1),
        gradients=matrices,
        optimizer=optimizer,
        activations=int(moving * (1 + FRAGMENTATION[device])) + remembered,
        overhead=overhead,
        caching=caching + overhead,
        pictures=steady + drawing if drawing else 0,
        host=PROGRAM[device] + max(networks.values()),
        lora_file=lora_file,
    )
    return result if device == "cuda" else replace(result, host=result.peak)


def plan_text(model: DiffusionModel, config: TrainConfig, captions: int) -> tuple[int, bool]:
    """The bytes of encoded captions that are remembered, and whether the text encoders stay in memory beside them."""
    if config.adapter.train_text_encoder:
        return 0, True
    size = captions * caption_bytes(model, config)
    too_large = config.data.cache_text == "auto" and size > LARGEST_CACHE
    return min(size, REMEMBERED_BYTES), config.data.cache_text == "never" or too_large


def needed_networks(model: DiffusionModel, config: TrainConfig) -> list[str]:
    """The networks that a run reads at one time or another."""
    return ["denoiser", "vae", *model.text_encoders, *model.frozen_text_encoders]


def encoders_of(model: DiffusionModel) -> list[Any]:
    """All text encoders, those that never learn included."""
    return [*model.text_encoders.values(), *model.frozen_text_encoders.values()]
