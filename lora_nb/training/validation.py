"""How wrong is the model on pictures it has never seen? Always the same pictures, noise and noise levels.

A falling loss on the training's own pictures proves little: a LoRA can learn them by heart. Where the loss on held-out
pictures begins to rise, it does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.final_captions import plain_caption
from lora_nb.models.base import DiffusionModel
from lora_nb.training.batches import Batch, chunks, join_batch
from lora_nb.training.cache import CachedImage
from lora_nb.training.randomness import make_generator
from lora_nb.training.views import cut_middle

DRAWS = 8  # of noise and noise level for each picture


@torch.no_grad()
def validation_loss(
    model: DiffusionModel, images: list[CachedImage], config: TrainConfig, raw_loss: Callable[[Batch], Tensor]
) -> float:
    """The mean of `raw_loss` over held-out pictures, without dropout and with unshuffled captions.

    Its noise levels are drawn as the training's are, so the two losses can be compared.
    """
    with evaluation_mode(model):
        losses = [(float(raw_loss(batch)), len(batch.names)) for batch in validation_batches(images, config)]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def validation_batches(images: list[CachedImage], config: TrainConfig) -> Iterator[Batch]:
    """Every held-out picture DRAWS times, the same at each call."""
    buckets: dict[Bucket, list[CachedImage]] = defaultdict(list)
    for image in images:
        buckets[image.fit.bucket].append(image)
    for bucket in sorted(buckets):
        for draw in range(DRAWS):
            for group in chunks(buckets[bucket], config.run.batch_size):
                generators = [make_generator(config.run.seed, "validation", each.item.name, draw) for each in group]
                captions = [plain_caption(image.item, config) for image in group]
                yield join_batch(group, [cut_middle(image) for image in group], config, captions, generators, 0.0)


@contextmanager
def evaluation_mode(model: DiffusionModel) -> Iterator[None]:
    """Switch dropout off, and afterwards on again where it was on."""
    modules = [module for part in model.trained_modules().values() for module in part.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True
