"""How much memory will a training need? Played through without weights, in seconds, on any machine."""

from dataclasses import dataclass, replace
from typing import Literal

from lora_nb.config import TrainConfig
from lora_nb.forecast.blueprint import waiting_weights
from lora_nb.forecast.ledger import size_of, tensors_in
from lora_nb.forecast.optimizer_state import optimizer_state_bytes
from lora_nb.forecast.played import adapter_of, blueprint_of, caching_bytes, picture_bytes, training_bytes
from lora_nb.forecast.quantized import dequantized_bytes, saved_bytes
from lora_nb.forecast.stages import BatchShape, caption_bytes
from lora_nb.models.base import DiffusionModel
from lora_nb.training.conditioning import LARGEST_CACHE, REMEMBERED_BYTES

Device = Literal["cuda", "cpu"]

GIB = 2**30
PROGRAM = {  # in main memory, before there is any model: Python with PyTorch, diffusers, transformers and peft
    "cpu": int(0.5 * GIB),  # measured
    "cuda": int(2.5 * GIB),  # with CUDA's libraries, which are large; not measured here
}
DRIVER = int(0.6 * GIB)  # what CUDA and its matrix library take of a GPU before the first tensor; 0.75 on an H200
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
    model = blueprint_of(config)
    encoders = [*model.text_encoders, *model.frozen_text_encoders]
    read = {role: size_of(tensors_in(model.networks[role])) for role in ("denoiser", "vae", *encoders)}
    fewer, written_out = saved_bytes(model, config.run.quantization), dequantized_bytes(model, config.run.quantization)
    kept = {role: size - fewer.get(role, 0) for role, size in read.items()}
    if device == "cuda":
        kept["denoiser"] -= size_of(waiting_weights(model))
    remembered, keeps_encoders = plan_text(model, config, captions)
    roles = ("denoiser", *(encoders if keeps_encoders else []))
    caching = caching_bytes(config, shape, device)
    caching -= 0 if config.adapter.train_text_encoder else sum(fewer.get(role, 0) for role in encoders)

    trained, lora_file = adapter_of(config)
    matrices = size_of(trained)
    optimizer = optimizer_state_bytes(trained, config.optimizer)
    moving = training_bytes(config, shape, device, roles) - matrices
    # on a GPU the optimizer makes a copy of the matrices, which counts where a batch takes next to nothing
    moving = max(moving, matrices if device == "cuda" else 0) + written_out
    drawing = picture_bytes(config, shape, device) + written_out if draws_pictures(config) else 0

    lost = 1 + FRAGMENTATION[device]
    weights, overhead = sum(kept[role] for role in roles), DRIVER if device == "cuda" else PROGRAM["cpu"]
    adapter = matrices * (2 if config.optimizer.ema_decay else 1)
    everything = sum(kept.values()) + adapter + optimizer + remembered + overhead
    result = MemoryForecast(
        weights=weights,
        adapter=adapter,
        gradients=matrices,
        optimizer=optimizer,
        activations=int(moving * lost) + remembered,
        overhead=overhead,
        caching=caching + overhead,
        pictures=everything + int(drawing * lost) if drawing else 0,
        host=PROGRAM[device] + max(read.values()),
        lora_file=lora_file,
    )
    return result if device == "cuda" else replace(result, host=result.peak)


def draws_pictures(config: TrainConfig) -> bool:
    """Whether sample pictures are drawn in the run."""
    return bool(config.samples.every_n_epochs and config.samples.prompts)


def plan_text(model: DiffusionModel, config: TrainConfig, captions: int) -> tuple[int, bool]:
    """The bytes of encoded captions that are remembered, and whether the text encoders stay in memory beside them."""
    if config.adapter.train_text_encoder:
        return 0, True
    size = captions * caption_bytes(model, config)
    too_large = config.data.cache_text == "auto" and size > LARGEST_CACHE
    return min(size, REMEMBERED_BYTES), config.data.cache_text == "never" or too_large
