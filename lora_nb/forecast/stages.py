"""The stages of a run, played through on a model without weights: the run's own code, and a ledger beside it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from lora_nb.adapters.dropout import set_dropout_time
from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket, Fit
from lora_nb.dataset.images import ImageItem
from lora_nb.forecast.allocators import taken_on_cpu
from lora_nb.forecast.blueprint import META, waiting_weights
from lora_nb.forecast.half_precision import HalfPrecision
from lora_nb.forecast.kernels import SCRATCH, FusedAttention
from lora_nb.forecast.ledger import Ledger, tensors_in
from lora_nb.models.base import PRECISIONS, DiffusionModel
from lora_nb.training.batches import make_batches
from lora_nb.training.cache import CachedImage
from lora_nb.training.conditioning import CaptionEncoder
from lora_nb.training.loop import training_loss
from lora_nb.training.speed import slow_down, speed_up
from lora_nb.training.views import View

CAPTION = "a caption"


@dataclass(frozen=True)
class BatchShape:
    """The largest batch of a run: its pictures' size in pixels, and how many there are."""

    width: int
    height: int
    pictures: int


def play_caching(
    model: DiffusionModel, shape: BatchShape, config: TrainConfig, device: str, reads_captions: bool
) -> int:
    """The VAE encodes a picture; then, beside it, the text encoders read a caption. => peak in bytes"""
    with Ledger(SCRATCH) as ledger, FusedAttention(), torch.no_grad():
        ledger.hold(tensors_in(model.vae))
        model.encode_pictures(torch.empty(1, 3, shape.height, shape.width, device=META))
        if reads_captions:
            for encoder in (*model.text_encoders.values(), *model.frozen_text_encoders.values()):
                ledger.hold(tensors_in(encoder))
            read_caption(model, config)
    return ledger.held + peak_beside(ledger, device)


def play_training(
    model: DiffusionModel, shape: BatchShape, config: TrainConfig, device: str, parts: list[nn.Module]
) -> int:
    """One step, forward and backward, of a model with its adapter on. => bytes that it takes beside the weights

    parts: the networks that are in memory. device: "cuda" or "cpu".
    """
    encode_captions = CaptionEncoder(model, config)
    batches = list(make_batches_like(model, shape, config))
    if not config.adapter.train_text_encoder:
        encode_captions(batches[0].captions)  # remembered, as in a run; what encoding them takes is another stage
    ledger = Ledger(SCRATCH)
    ledger.ignore(waiting_weights(model))
    for part in parts:
        ledger.hold(tensors_in(part))
    speed_up(model, config.model_copy(update={"run": config.run.model_copy(update={"compile": False})}))
    try:
        with on_device(device, config.run.precision), ledger:
            for number, batch in enumerate(batches):
                set_dropout_time(model, 1, number, 0)
                loss, _ = training_loss(model, batch, config, encode_captions)
                backward(loss)
                del loss
    finally:
        slow_down(model)
    return peak_beside(ledger, device)


def play_pictures(model: DiffusionModel, shape: BatchShape, config: TrainConfig, device: str) -> int:
    """A sample picture: one step of the denoiser, twice as wide with a negative prompt, and the VAE. => bytes that this
    takes beside the weights at its peak"""
    samples = config.samples
    height, width = samples.height // model.latent_factor, samples.width // model.latent_factor
    rows = 2 if model.takes_negative_prompt and samples.guidance_scale != 1 else 1
    latents = torch.empty(rows, latent_channels(model), height, width, device=META)
    with torch.no_grad():
        conditioning = {name: torch.cat([each] * rows) for name, each in read_caption(model, config).items()}
        batch = next(iter(make_batches_like(model, shape, config)))
        conditioning = model.add_geometry(conditioning, batch.geometry[:1] * rows)
        with Ledger(SCRATCH) as ledger, FusedAttention():
            ledger.ignore(waiting_weights(model))
            ledger.hold([*tensors_in(model.denoiser), *tensors_in(model.vae)])
            model.predict(latents, torch.zeros(rows, device=META), conditioning)
            model.decode_latents(latents[:1])
    return peak_beside(ledger, device)


def peak_beside(ledger: Ledger, device: str) -> int:
    """The most that was taken beside the tensors that were there before."""
    return taken_on_cpu(ledger.events) if device == "cpu" else ledger.peak - ledger.held


def caption_bytes(model: DiffusionModel, config: TrainConfig) -> int:
    """What one encoded caption takes."""
    with torch.no_grad():
        return sum(tensor.nbytes for tensor in read_caption(model, config).values())


def read_caption(model: DiffusionModel, config: TrainConfig) -> dict[str, Tensor]:
    """What the text encoders make of one caption, as a run has them read."""
    data = config.data
    return model.encode_captions([CAPTION], config.model.clip_skip, data.max_tokens, data.weighted_captions)


def latent_channels(model: DiffusionModel) -> int:
    config: Any = model.networks.shape("vae").config
    return int(config.latent_channels)


@contextmanager
def on_device(device: str, precision: str) -> Iterator[None]:
    """Functions keep and cast what they would on that device."""
    with ExitStack() as stack:
        stack.enter_context(FusedAttention())
        if precision != "fp32":
            stack.enter_context(HalfPrecision(PRECISIONS[precision], device))
        yield


def backward(loss: Tensor) -> None:
    """loss.backward(), except that what checkpointing computes again still runs within the modes of `on_device`."""
    engine = Variable._execution_engine
    engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def make_batches_like(model: DiffusionModel, shape: BatchShape, config: TrainConfig) -> Iterator[Any]:
    """The batches of one step. Of several whose gradients are added up, two show all that there is to see."""
    size = (shape.width, shape.height)
    item = ImageItem(Path(f"{CAPTION}.png"), *size, CAPTION, True, shape.pictures, CAPTION)
    latents = torch.zeros(latent_channels(model), *(side // model.latent_factor for side in reversed(size)))
    image = CachedImage(item, Fit(Bucket(*size), size, 0, 0), latents, latents)
    pieces = max(1, 2 // config.run.gradient_accumulation_steps) * (config.run.micro_batch_size or shape.pictures)
    group = tuple(View(0, 1, look) for look in range(min(shape.pictures, pieces)))
    return make_batches([image], [group] * min(config.run.gradient_accumulation_steps, 2), config, step=1)
