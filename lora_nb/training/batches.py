"""Which pictures are seen when, and with which words? Batches of one bucket, in an order that the seed decides."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.chance import make_random
from lora_nb.dataset.final_captions import final_caption
from lora_nb.models.base import Geometry
from lora_nb.training.cache import CachedImage
from lora_nb.training.noise import draw_normal
from lora_nb.training.randomness import make_generator
from lora_nb.training.views import Cut, View, cut_view

T = TypeVar("T")


Group = tuple[View, ...]  # the pictures of one batch


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs."""

    latents: Tensor  # (B, C, h, w)
    captions: list[str]  # as the model sees them: shuffled, or dropped
    generators: list[torch.Generator]  # one for each example: its noise and timestep come from here
    geometry: list[Geometry]  # how each picture was cut from its file
    names: list[str]  # the pictures, to name them when something goes wrong
    weights: Tensor  # (B,) how much each example counts: less than 1 for regularisation pictures, if so set
    masks: Tensor | None  # (B, 1, h, w) in 0..1, which part of each picture counts; None if all of it does
    share: float = 1.0  # of all examples of the step: how much its gradient counts
    turn: tuple[int, int] = (0, 0)  # how manieth batch of the step, of which process: decides what dropout drops


def epoch_batches(images: list[CachedImage], config: TrainConfig, epoch: int) -> list[Group]:
    """Put one epoch in order: every picture `repeats` times, batches of one bucket, shuffled twice.

    Each bucket's last batch may be smaller: no picture is dropped or shown twice to fill it.
    """
    chance = make_random(config.run.seed, "order", epoch)
    buckets: dict[Bucket, list[int]] = defaultdict(list)
    for position, image in enumerate(images):
        buckets[image.fit.bucket].append(position)
    batches: list[Group] = []
    for bucket in sorted(buckets):
        order = _repeat(buckets[bucket], images, epoch, chance)
        batches += [tuple(batch) for batch in chunks(order, config.run.batch_size)]
    chance.shuffle(batches)
    return batches


def _repeat(positions: list[int], images: list[CachedImage], epoch: int, chance: random.Random) -> list[View]:
    """Every picture once in random order, then again until each has had its repeats: twins rarely share a batch."""
    order: list[View] = []
    for turn in range(max(images[position].item.repeats for position in positions)):
        left = [position for position in positions if images[position].item.repeats > turn]
        chance.shuffle(left)
        for position in left:
            image = images[position]
            order.append(View(position, epoch, look=image.size_number * image.item.repeats + turn))
    return order


def epoch_steps(
    images: list[CachedImage], config: TrainConfig, epoch: int, processes: int = 1, done: int = 0
) -> Iterator[list[Group]]:
    """Go through an epoch's optimizer steps: each the list of batches whose gradients are added up.

    Several processes that train together go through as many batches at the same time. done: how many steps of the
    whole run lie behind, when one is continued; they are left out.
    """
    steps = list(chunks(epoch_batches(images, config, epoch), config.run.gradient_accumulation_steps * processes))
    yield from steps[max(0, done - (epoch - 1) * len(steps)) :]


@dataclass(frozen=True)
class Turn:
    """Which of a step's batches are this process's? All, unless several train together."""

    place: int = 0  # of this process, counted from 0
    processes: int = 1
    in_step: bool = False  # all processes get as many batches: where one has none left, the first again, for no share

    def parts(self, groups: list[Group]) -> Iterator[tuple[Group, int, float, tuple[int, int]]]:
        """Every `processes`-th group, with the place of its first example, its share of all examples, and its turn."""
        sizes = [len(group) for group in groups]
        for turn, start in enumerate(range(0, len(groups), self.processes)):
            number = start + self.place
            if number < len(groups):
                yield groups[number], sum(sizes[:number]), sizes[number] / sum(sizes), (turn, self.place)
            elif self.in_step:
                yield groups[0], 0, 0.0, (0, 0)


def cut_groups(groups: list[Group], most: int) -> list[Group]:
    """Cut batches into pieces of at most so many pictures; 0 leaves them whole."""
    return [tuple(piece) for group in groups for piece in chunks(list(group), most)] if most else groups


def make_batches(
    images: list[CachedImage], groups: list[Group], config: TrainConfig, step: int, turn: Turn | None = None
) -> Iterator[Batch]:
    """Make the batches of one step, or this process's turn of them.

    Noise and noise level are a function of (seed, step, place in the step); what is seen and read of a picture is one
    of (seed, epoch, picture, look). So neither changes when batches are cut into smaller pieces.
    """
    pieces = cut_groups(groups, config.run.micro_batch_size)
    for group, first, share, number in (turn or Turn()).parts(pieces):
        chosen = [images[view.position] for view in group]
        places = range(first, first + len(group))
        generators = [make_generator(config.run.seed, "example", step, place) for place in places]
        cuts = [cut_view(image, view, config.run.seed) for image, view in zip(chosen, group, strict=True)]
        captions = [
            final_caption(image.item, config, view.epoch, view.look) for image, view in zip(chosen, group, strict=True)
        ]
        shape = tuple(cuts[0].mean.shape)
        std = torch.stack([cut.std for cut in cuts])
        batch = join_batch(chosen, cuts, config, captions, generators, std * draw_normal(shape, generators))
        yield replace(batch, share=share, turn=number)


def join_batch(
    images: list[CachedImage],
    cuts: list[Cut],
    config: TrainConfig,
    captions: list[str],
    generators: list[torch.Generator],
    spread: Tensor | float,
) -> Batch:
    """Put pictures of one size together. spread: how far their latents are from the mean of what the VAE says."""
    weights = [config.data.prior_loss_weight if image.item.is_regularisation else 1.0 for image in images]
    masks = None
    if any(cut.mask is not None for cut in cuts):
        masks = torch.stack([torch.ones_like(cut.mean[:1]) if cut.mask is None else cut.mask for cut in cuts])
    return Batch(
        latents=torch.stack([cut.mean for cut in cuts]) + spread,
        captions=captions,
        generators=generators,
        geometry=[cut.geometry for cut in cuts],
        names=[image.item.name for image in images],
        weights=torch.tensor(weights),
        masks=masks,
    )


def chunks(items: list[T], size: int) -> Iterator[list[T]]:
    """Cut a list into pieces of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def count_steps(images: list[CachedImage], config: TrainConfig, processes: int = 1) -> int:
    """How many optimizer steps the whole run takes: every epoch has the same number."""
    return config.run.epochs * len(list(epoch_steps(images, config, 1, processes)))
