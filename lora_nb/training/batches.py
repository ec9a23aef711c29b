"""Which pictures are seen when, and with which words? Batches of one bucket, in an order that the seed decides."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.tags import arrange_caption, training_caption
from lora_nb.training.cache import CachedImage
from lora_nb.training.noise import draw_normal
from lora_nb.training.randomness import make_generator, make_random

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs."""

    latents: Tensor  # (B, C, h, w)
    captions: list[str]  # as the model sees them: shuffled, or dropped
    generators: list[torch.Generator]  # one for each example: its noise and timestep come from here
    names: list[str]  # the pictures, to name them when something goes wrong


def epoch_batches(images: list[CachedImage], config: TrainConfig, epoch: int) -> list[tuple[int, ...]]:
    """Put one epoch in order: every picture `repeats` times, batches of one bucket, shuffled twice.

    Returns the pictures' positions in `images`. Each bucket's last batch may be smaller: no picture is dropped or
    shown twice to fill it.
    """
    chance = make_random(config.run.seed, "order", epoch)
    buckets: dict[Bucket, list[int]] = defaultdict(list)
    for position, image in enumerate(images):
        buckets[image.fit.bucket].append(position)
    batches: list[tuple[int, ...]] = []
    for bucket in sorted(buckets):
        order = _repeat(buckets[bucket], images, chance)
        batches += [tuple(batch) for batch in chunks(order, config.run.batch_size)]
    chance.shuffle(batches)
    return batches


def _repeat(positions: list[int], images: list[CachedImage], chance: random.Random) -> list[int]:
    """Every picture once in random order, then again until each has had its repeats: twins rarely share a batch."""
    order: list[int] = []
    for turn in range(max(images[position].item.repeats for position in positions)):
        left = [position for position in positions if images[position].item.repeats > turn]
        chance.shuffle(left)
        order += left
    return order


def epoch_steps(images: list[CachedImage], config: TrainConfig, epoch: int) -> Iterator[list[tuple[int, ...]]]:
    """Go through an epoch's optimizer steps: each the list of batches whose gradients are added up."""
    yield from chunks(epoch_batches(images, config, epoch), config.run.gradient_accumulation_steps)


def make_batches(
    images: list[CachedImage], groups: list[tuple[int, ...]], config: TrainConfig, step: int
) -> Iterator[Batch]:
    """Make the batches of one step. All chance in them is a function of (seed, step, place in the step)."""
    first = 0
    for group in groups:
        chosen = [images[position] for position in group]
        places = range(first, first + len(group))
        generators = [make_generator(config.run.seed, "example", step, place) for place in places]
        mean = torch.stack([image.mean for image in chosen])
        std = torch.stack([image.std for image in chosen])
        captions = [
            arrange_caption(
                training_caption(image.item, config.data),
                config.data,
                make_random(config.run.seed, "caption", step, place),
            )
            for image, place in zip(chosen, places, strict=True)
        ]
        latents = mean + std * draw_normal(tuple(mean.shape[1:]), generators)
        yield Batch(latents, captions, generators, [image.item.name for image in chosen])
        first += len(group)


def chunks(items: list[T], size: int) -> Iterator[list[T]]:
    """Cut a list into pieces of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def count_steps(images: list[CachedImage], config: TrainConfig) -> int:
    """How many optimizer steps the whole run takes: every epoch has the same number."""
    return config.run.epochs * len(list(epoch_steps(images, config, 1)))
