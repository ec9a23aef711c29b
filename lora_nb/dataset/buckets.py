"""Aspect-ratio buckets: which size does a picture get in training? Pure arithmetic, equal to Kohya's.

A batch needs pictures of one size. Cropping all of them to a square would cut off heads and feet, so there are several
sizes of about the same area, the buckets, and each picture goes to the one whose shape is most like its own: it is
resized until it covers the bucket, and what sticks out is cropped evenly from both sides.

Source: kohya-ss/sd-scripts, library/train_util.py (BucketManager) and library/model_util.py.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from PIL import Image

from lora_nb.config import DataConfig
from lora_nb.dataset.images import ImageItem
from lora_nb.errors import DatasetError, Problem


class Bucket(NamedTuple):
    """A size that pictures are trained at, in pixels."""

    width: int
    height: int


class Fit(NamedTuple):
    """How one picture gets its bucket's size: resize, then crop."""

    bucket: Bucket
    resized: tuple[int, int]  # width and height after resizing, each at least the bucket's
    crop_left: int  # pixels cut off at the left edge, then at the top
    crop_top: int


class BucketRules(NamedTuple):
    """The numbers that buckets follow from."""

    area: int  # pixels that no bucket exceeds
    step: int  # sides are multiples of it
    smallest: int  # bounds of the sides
    largest: int
    enlarge: bool = True


def make_buckets(data: DataConfig) -> list[Bucket]:
    """All buckets that pictures may go to when they may be enlarged; without `enable_buckets` only the square."""
    return list(_make_buckets(_rules(data)))


def fit_picture(width: int, height: int, data: DataConfig) -> Fit:
    """Choose the bucket of a picture of this size. Raises DatasetError if it is too narrow for any."""
    return fit_size(width, height, _rules(data))


def fit_size(width: int, height: int, rules: BucketRules) -> Fit:
    """`fit_picture` by bare numbers."""
    resized = (width, height)
    if rules.enlarge:
        bucket = _nearest_bucket(width, height, rules)
        resized = _cover(width, height, bucket)
    else:
        if width * height > rules.area:
            resized = _shrink(width, height, rules)
        bucket = Bucket(*(side // rules.step * rules.step for side in resized))
    if min(bucket) <= 0:
        message = f"{width} x {height} is too narrow: at this resolution, not one bucket step ({rules.step}) is left."
        fix = "Crop or enlarge the picture, turn on data.enlarge_pictures, or remove it."
        raise DatasetError("A picture fits no bucket.", [Problem("picture", message, fix)])
    return Fit(bucket, resized, (resized[0] - bucket.width) // 2, (resized[1] - bucket.height) // 2)


def fit_items(items: Iterable[ImageItem], data: DataConfig) -> tuple[dict[ImageItem, Fit], list[Problem]]:
    """Fit all pictures of a dataset; those that fit no bucket come back as problems that name them."""
    fits, problems = {}, []
    for item in items:
        try:
            fits[item] = fit_picture(item.width, item.height, data)
        except DatasetError as error:
            problems += [Problem(item.name, problem.message, problem.fix) for problem in error.problems]
    return fits, problems


def resolutions_of(data: DataConfig) -> tuple[int, ...]:
    """Every resolution at which a picture is trained."""
    return (data.resolution, *data.extra_resolutions)


def at_resolution(data: DataConfig, side: int) -> DataConfig:
    """The settings of one of several resolutions: the bounds of the bucket sides grow and shrink with it."""
    if side == data.resolution:
        return data
    scale, step = side / data.resolution, data.bucket_step
    smallest = max(int(data.min_bucket_size * scale) // step * step, step)
    largest = max(int(data.max_bucket_size * scale) // step * step, side // step * step)
    bounds = {"min_bucket_size": min(smallest, largest), "max_bucket_size": largest}
    return data.model_copy(update={"resolution": side, **bounds})


def fit_all_sizes(items: Sequence[ImageItem], data: DataConfig) -> tuple[list[tuple[ImageItem, Fit]], list[Problem]]:
    """Fit all pictures at every resolution: each appears once for each of them."""
    pairs, problems = [], []
    for side in resolutions_of(data):
        fits, found = fit_items(items, at_resolution(data, side))
        pairs += list(fits.items())
        problems += found
    return pairs, problems


def seen_box(width: int, height: int, fit: Fit) -> tuple[float, float, float, float]:
    """What of a picture of this size its bucket shows: left, top, right, bottom in the picture's own pixels."""
    across, down = width / fit.resized[0], height / fit.resized[1]
    left, top = fit.crop_left * across, fit.crop_top * down
    return left, top, left + fit.bucket.width * across, top + fit.bucket.height * down


def lost_share(fit: Fit) -> float:
    """How much of a picture its bucket cuts off: 0 is nothing."""
    return 1 - fit.bucket.width * fit.bucket.height / (fit.resized[0] * fit.resized[1])


def uncropped(fit: Fit, factor: int) -> Fit:
    """The same picture with all that the crop leaves over, in whole cells of `factor` pixels."""
    width, height = (side // factor * factor for side in fit.resized)
    return Fit(Bucket(width, height), fit.resized, (fit.resized[0] - width) // 2, (fit.resized[1] - height) // 2)


def fit_image(image: Image.Image, fit: Fit) -> Image.Image:
    """Resize and crop a picture, or its mask, to its bucket. Raises DatasetError if the fit is for another shape."""
    width, height = fit.resized
    if abs(image.width * height - image.height * width) > max(image.size):  # more than rounding can explain
        message = f"It is {image.width} x {image.height} pixels now, and was of another shape when it was scanned."
        raise DatasetError("A picture has changed.", [Problem("picture", message, "Scan the pictures again.")])
    resized = image.resize(fit.resized, Image.Resampling.LANCZOS)  # averages when it reduces, so nothing flickers
    left, top = fit.crop_left, fit.crop_top
    return resized.crop((left, top, left + fit.bucket.width, top + fit.bucket.height))


def _rules(data: DataConfig) -> BucketRules:
    area = data.resolution**2
    if not data.enable_buckets:  # one square: no other size is between its bounds
        side = data.resolution // data.bucket_step * data.bucket_step
        return BucketRules(area, data.bucket_step, side, side)
    step = data.bucket_step
    smallest = math.ceil(data.min_bucket_size / step) * step
    return BucketRules(area, step, smallest, data.max_bucket_size // step * step, data.enlarge_pictures)


@lru_cache
def _make_buckets(rules: BucketRules) -> tuple[Bucket, ...]:
    square = math.isqrt(rules.area) // rules.step * rules.step
    buckets = {Bucket(square, square)}
    for width in range(rules.smallest, rules.largest + 1, rules.step):
        height = min(rules.largest, rules.area // width // rules.step * rules.step)
        if height >= rules.smallest:
            buckets |= {Bucket(width, height), Bucket(height, width)}
    return tuple(sorted(buckets))


def _nearest_bucket(width: int, height: int, rules: BucketRules) -> Bucket:
    """The bucket of just this size, or the one whose width / height differs least."""
    buckets = _make_buckets(rules)
    if (width, height) in buckets:
        return Bucket(width, height)
    return min(buckets, key=lambda bucket: abs(bucket.width / bucket.height - width / height))


def _cover(width: int, height: int, bucket: Bucket) -> tuple[int, int]:
    """The picture's size when it just covers its bucket."""
    is_wider = width / height > bucket.width / bucket.height
    scale = bucket.height / height if is_wider else bucket.width / width
    return int(width * scale + 0.5), int(height * scale + 0.5)


def _shrink(width: int, height: int, rules: BucketRules) -> tuple[int, int]:
    """The size within the area that has one side a multiple of the step: the side that keeps the shape better."""
    aspect = width / height
    ideal_width = math.sqrt(rules.area * aspect)
    by_width = _round_down(ideal_width, rules.step)
    by_height = _round_down(rules.area / ideal_width, rules.step)
    height_of_width = _round_down(by_width / aspect, rules.step)
    width_of_height = _round_down(by_height * aspect, rules.step)
    width_error = abs(by_width / height_of_width - aspect) if height_of_width else math.inf
    height_error = abs(width_of_height / by_height - aspect) if by_height else math.inf
    if width_error < height_error:
        return by_width, int(by_width / aspect + 0.5)
    return int(by_height * aspect + 0.5), by_height


def _round_down(side: float, step: int) -> int:
    return int(side + 0.5) // step * step
