"""What would spoil a training? Looks at pictures, captions and settings together, before an hour is spent.

Every finding says what is wrong with which numbers, and what to do. Only what makes training impossible is an error.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket, Fit, fit_all_sizes, fit_items, lost_share, make_buckets
from lora_nb.dataset.caption_checks import check_captions
from lora_nb.dataset.folders import name_some
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.masks import check_masks
from lora_nb.errors import DatasetError, Problem

FEW_PICTURES = 5  # below this, a LoRA learns the pictures and not what they have in common
MANY_REPEATS = 1000  # more is surely a date or a serial number at the start of a folder's name
LARGEST_LOSS = 0.25  # share of a picture that may be cropped away without a word
LARGEST_SCALE = 1.1  # enlarging by up to this is not visible
FEW_HELD_OUT = 3  # pictures; below this, their loss is mostly chance
_ORDER = {"error": 0, "warning": 1, "note": 2}


class Fitted(NamedTuple):
    """The dataset with its settings and how each picture gets its bucket's size."""

    dataset: Dataset
    config: TrainConfig
    fits: dict[ImageItem, Fit]  # at the main resolution
    sizes: list[tuple[ImageItem, Fit]]  # at all resolutions


def check_dataset(dataset: Dataset, config: TrainConfig, *, single_pictures: bool = True) -> list[Problem]:
    """Everything that is wrong or unwise, errors first, with what the scan found.

    single_pictures: with what `flaws.find_flaws` says picture by picture, too: small, cropped, doubled.
    """
    if all(item.is_regularisation for item in dataset.items):
        fix = "Put .png, .jpg or .webp files there: directly, or in folders such as 10_mochi."
        return _sort([Problem(str(dataset.root), "There is no picture to train on.", fix), *dataset.problems])
    sizes, problems = fit_all_sizes(dataset.items, config.data)
    fits = fit_items(dataset.items, config.data)[0]
    fitted = Fitted(dataset, config, fits, sizes)
    for check in CHECKS:
        if single_pictures or check not in _OF_SINGLE_PICTURES:
            problems += check(fitted)
    problems += [*check_captions(dataset, config.data), *check_masks(dataset, config.data)]
    return _sort([*dataset.problems, *problems])


def _check_amount(fitted: Fitted) -> Iterator[Problem]:
    dataset = fitted.dataset
    where = str(dataset.root)
    count = sum(not item.is_regularisation for item in dataset.items)
    if count < FEW_PICTURES:
        message = f"{count} picture{'s are' if count > 1 else ' is'} very few to learn a subject from."
        yield Problem(where, message, "Add different ones: 10 to 30 are good for a subject.", "warning")
    for folder, repeats in sorted({(item.path.parent.name, item.repeats) for item in dataset.items}):
        if repeats > MANY_REPEATS:
            message = f"The number in the folder's name means {repeats} repeats of every picture in each epoch."
            yield Problem(folder, message, "Is it a date or a size? Put a small number first, e.g. 10_.", "warning")


def _check_identical_files(fitted: Fitted) -> Iterator[Problem]:
    same_size: defaultdict[int, list[ImageItem]] = defaultdict(list)
    for item in fitted.dataset.items:
        if item.path.is_file():  # it may have been deleted after the scan
            same_size[item.path.stat().st_size].append(item)
    same_bytes: defaultdict[bytes, list[str]] = defaultdict(list)
    for group in same_size.values():
        for item in group if len(group) > 1 else ():
            same_bytes[hashlib.sha256(item.path.read_bytes()).digest()].append(item.name)
    for names in same_bytes.values():
        if len(names) > 1:
            message = f"The same picture is there {len(names)} times ({name_some(names)}), so it counts more."
            fix = "Keep one of them, and use repeats if it shall count more."
            yield Problem(names[0], message, fix, "warning")


def _check_bucket_range(fitted: Fitted) -> Iterator[Problem]:
    data = fitted.config.data
    if not data.enable_buckets or not data.enlarge_pictures or len(make_buckets(data)) > 1:
        return
    side = make_buckets(data)[0].width
    message = (
        f"At resolution {data.resolution}, sides of {data.min_bucket_size} to {data.max_bucket_size} in steps of "
        f"{data.bucket_step} leave one bucket, {side} x {side}: every picture is cropped to a square."
    )
    better = max(data.resolution // 2 // data.bucket_step, 1) * data.bucket_step
    fix = f"Set data.min_bucket_size to {better} and data.max_bucket_size to {2 * data.resolution}."
    yield Problem("data.min_bucket_size", message, fix, "warning")


def _check_small_pictures(fitted: Fitted) -> Iterator[Problem]:
    scales = {item: fit.resized[0] / item.width for item, fit in fitted.fits.items()}
    small = [f"{item.name} {scale:.1f}x" for item, scale in _largest_first(scales) if scale > LARGEST_SCALE]
    if small:
        message = f"Smaller than their bucket, so they are enlarged and get blurred: {name_some(small)}."
        fix = "Take larger originals, lower data.resolution, or turn off data.enlarge_pictures."
        yield Problem(_count(small, fitted), message, fix, "warning")


def _check_crops(fitted: Fitted) -> Iterator[Problem]:
    losses = {item: lost_share(fit) for item, fit in fitted.fits.items()}
    cropped = [f"{item.name} {lost:.0%}" for item, lost in _largest_first(losses) if lost > LARGEST_LOSS]
    if cropped:
        message = f"Much of the picture is cropped away to fit a bucket: {name_some(cropped)}."
        fix = "Crop them yourself around the subject"
        fix += "." if fitted.config.data.enable_buckets else ", or turn on data.enable_buckets."
        yield Problem(_count(cropped, fitted), message, fix, "warning")


def _check_bucket_sizes(fitted: Fitted) -> Iterator[Problem]:
    """Buckets that cannot fill a batch: their steps see fewer pictures, or one picture twice."""
    batch_size = fitted.config.run.batch_size
    pictures: defaultdict[Bucket, int] = defaultdict(int)
    seen: defaultdict[Bucket, int] = defaultdict(int)
    for item, fit in fitted.sizes:
        pictures[fit.bucket] += 1
        seen[fit.bucket] += item.repeats
    fix = "Crop pictures to fewer shapes, or lower run.batch_size."
    short = [f"{_size(bucket)} has {seen[bucket]}" for bucket in sorted(seen) if seen[bucket] < batch_size]
    if short:
        message = (
            f"{len(short)} of {len(seen)} buckets have fewer pictures in an epoch, with repeats, than the batch size "
            f"of {batch_size}, so their steps are made of fewer: {name_some(short)}."
        )
        yield Problem("run.batch_size", message, fix, "warning")
    doubled = [bucket for bucket in sorted(seen) if pictures[bucket] < batch_size <= seen[bucket]]
    if doubled:
        shown = name_some([f"{_size(bucket)} has {pictures[bucket]}" for bucket in doubled])
        message = (
            f"{len(doubled)} of {len(seen)} buckets have fewer different pictures than the batch size of "
            f"{batch_size}, so a batch shows one picture twice: {shown}."
        )
        yield Problem("run.batch_size", message, fix, "note")


def _check_regularisation(fitted: Fitted) -> Iterator[Problem]:
    seen = [0, 0]
    for item in fitted.dataset.items:
        seen[item.is_regularisation] += item.repeats
    if seen[1] > seen[0]:
        message = f"In an epoch {seen[1]} regularisation pictures are seen and {seen[0]} of your own, with repeats."
        fix = "Give their folder fewer repeats, or fewer pictures: as many as your own is the custom."
        yield Problem("regularisation", message, fix, "warning")
    if not seen[1] and fitted.config.data.prior_loss_weight != 1:
        message = f"It is {fitted.config.data.prior_loss_weight:g}, but there are no regularisation pictures."
        yield Problem("data.prior_loss_weight", message, "Add some, or set it to 1.", "warning")


def _check_held_out(fitted: Fitted) -> Iterator[Problem]:
    try:
        held_out = split_dataset(fitted.dataset, fitted.config).held_out
    except DatasetError as error:
        yield from error.problems
        return
    if 0 < len(held_out.items) < FEW_HELD_OUT:
        message = f"Only {len(held_out.items)} pictures are held out, which says little about the LoRA."
        yield Problem("data.validation_split", message, "Add pictures, hold out more, or set it to 0.", "note")


CHECKS: tuple[Callable[[Fitted], Iterator[Problem]], ...] = (
    _check_amount,
    _check_identical_files,
    _check_bucket_range,
    _check_small_pictures,
    _check_crops,
    _check_bucket_sizes,
    _check_regularisation,
    _check_held_out,
)
_OF_SINGLE_PICTURES = (_check_identical_files, _check_small_pictures, _check_crops)


def _largest_first(values: dict[ImageItem, float]) -> list[tuple[ImageItem, float]]:
    return sorted(values.items(), key=lambda pair: -pair[1])


def _size(bucket: Bucket) -> str:
    return f"{bucket.width} x {bucket.height}"


def _count(found: list[str], fitted: Fitted) -> str:
    return f"{len(found)} of {len(fitted.dataset.items)} pictures"


def _sort(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: _ORDER[problem.severity])
