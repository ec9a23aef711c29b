"""Which changes of the settings save memory? Each is a small function: settings => what to change, nothing if it is so.

`forecast.fitting` tries them before a run, `training.setbacks` when memory has run out in one.
"""

from typing import Any

from lora_nb.config import TrainConfig

Changes = dict[str, Any]  # settings by their names
LEAST_SIDE = 256  # pixels: a smaller resolution is no training of these models


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
    """One picture of a batch after the other: slower, the same LoRA."""
    return {"run.micro_batch_size": 1} if at_once(config) > 1 else {}


def halve_pieces(config: TrainConfig) -> Changes:
    """Half as many pictures at once: slower, the same LoRA."""
    count = at_once(config)
    return {"run.micro_batch_size": (count + 1) // 2} if count > 1 else {}


def at_once(config: TrainConfig) -> int:
    """How many pictures the model works on at the same time, at most."""
    run = config.run
    return min(run.batch_size, run.micro_batch_size or run.batch_size)


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


FOR_GPUS = (halve_precision, take_8_bits, take_4_bits, move_blocks)  # slow without one, and then no help
