"""How long will training take? Counts the real batches of the real buckets, before anything runs.

The usual formula, pictures x repeats x epochs / batch size, is right only if every bucket fills its batches. A batch
holds pictures of one bucket, so each bucket may end with a batch that is not full.
"""

import math
from collections import Counter
from dataclasses import dataclass
from statistics import fmean

from lora_nb.config import RunConfig, TrainConfig
from lora_nb.dataset.buckets import Bucket, Fit, fit_all_sizes
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.errors import ConfigError, DatasetError, Problem


@dataclass(frozen=True)
class BucketCount:
    """One bucket's share of an epoch."""

    bucket: Bucket
    pictures: int  # different ones
    seen: int  # with repeats
    batches: int


@dataclass(frozen=True)
class StepPlan:
    """What a training will do, in numbers."""

    pictures: int  # different ones that are trained on
    seen_per_epoch: int  # with repeats, at all resolutions
    buckets: tuple[BucketCount, ...]
    batches_per_epoch: int
    steps_per_epoch: int  # fewer than the batches if gradients are accumulated
    epochs: int
    steps: int  # in total
    held_out: int  # pictures that are not trained on, but only used to judge
    mean_aspect_error: float  # how far width / height of the buckets is from the pictures', as Kohya reports it
    processes: int = 1  # that train together, each on its own batches


def plan_steps(dataset: Dataset, config: TrainConfig, processes: int = 1) -> StepPlan:
    """Count steps exactly. Raises DatasetError if there is no picture, or one that fits no bucket.

    processes: how many train together (`accelerate launch`). Each has its own batches, so there are fewer steps.
    """
    training, held_out = split_dataset(dataset, config)
    fits = _fit_all(training, config)
    pictures = Counter(fit.bucket for _, fit in fits)
    seen: Counter[Bucket] = Counter()
    for item, fit in fits:
        seen[fit.bucket] += item.repeats
    size = config.run.batch_size
    counts = tuple(
        BucketCount(bucket, pictures[bucket], seen[bucket], math.ceil(seen[bucket] / size))
        for bucket in sorted(pictures)
    )
    steps_per_epoch = _count_steps(list(seen.values()), config.run, processes)
    return StepPlan(
        pictures=len(training.items),
        seen_per_epoch=seen.total(),
        buckets=counts,
        batches_per_epoch=sum(count.batches for count in counts),
        steps_per_epoch=steps_per_epoch,
        epochs=config.run.epochs,
        steps=steps_per_epoch * config.run.epochs,
        held_out=len(held_out.items),
        mean_aspect_error=fmean(_aspect_error(item, fit) for item, fit in fits),
        processes=processes,
    )


def solve_repeats(dataset: Dataset, config: TrainConfig, target_steps: int, processes: int = 1) -> int:
    """The repeats, the same for every folder, whose total steps come nearest to a target; the fewest if several do.

    Regularisation pictures keep theirs.
    """
    if target_steps < 1:
        raise ConfigError(
            "No repeats can be found.",
            [Problem("target steps", f"{target_steps} does not work.", "Ask for at least 1 step.")],
        )
    fits = _fit_all(split_dataset(dataset, config).training, config)
    changing = Counter(fit.bucket for item, fit in fits if not item.is_regularisation)
    fixed: Counter[Bucket] = Counter()
    for item, fit in fits:
        fixed[fit.bucket] += item.repeats if item.is_regularisation else 0

    def steps(repeats: int) -> int:
        seen = [changing[bucket] * repeats + fixed[bucket] for bucket in fixed]
        return _count_steps(seen, config.run, processes) * config.run.epochs

    def fewest_repeats(at_least: int) -> int:
        low, high = 1, at_least * config.run.batch_size * config.run.gradient_accumulation_steps * processes
        while low < high:  # more repeats never mean fewer steps, so half of the range can be dropped each time
            middle = (low + high) // 2
            low, high = (low, middle) if steps(middle) >= at_least else (middle + 1, high)
        return low

    above = fewest_repeats(target_steps)
    if above == 1:
        return 1
    below = fewest_repeats(steps(above - 1))
    return min((below, above), key=lambda repeats: abs(steps(repeats) - target_steps))


def _fit_all(dataset: Dataset, config: TrainConfig) -> list[tuple[ImageItem, Fit]]:
    """Every picture at every resolution, with its bucket there."""
    if not any(not item.is_regularisation for item in dataset.items):
        problem = Problem(str(dataset.root), "It holds no picture to train on.", "Put .png or .jpg files there.")
        raise DatasetError("There is nothing to train on.", [problem])
    fits, problems = fit_all_sizes(dataset.items, config.data)
    if problems:
        raise DatasetError("Some pictures fit no bucket.", problems)
    return fits


def _count_steps(seen: list[int], run: RunConfig, processes: int) -> int:
    """Steps of one epoch, from how often pictures of each bucket are seen in it."""
    batches = sum(math.ceil(count / run.batch_size) for count in seen)
    return math.ceil(
        batches / (run.gradient_accumulation_steps * processes)
    )  # what is left at an epoch's end is a step, too


def _aspect_error(item: ImageItem, fit: Fit) -> float:
    return abs(fit.bucket.width / fit.bucket.height - item.width / item.height)
