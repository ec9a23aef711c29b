"""Which part of a picture is seen this time, and which way round? Mirroring and random crops, cut from the latents."""

from typing import NamedTuple

from torch import Tensor

from lora_nb.dataset.buckets import Fit
from lora_nb.dataset.chance import make_random
from lora_nb.models.base import Geometry
from lora_nb.training.cache import CachedImage


class View(NamedTuple):
    """One look at a picture. All chance about the picture and its caption is a function of this and the seed."""

    position: int  # of the picture in the list of cached pictures
    epoch: int  # counted from 1
    look: int  # the how-manieth in this epoch, at all resolutions, counted from 0


class Cut(NamedTuple):
    """What is seen of a picture at one look."""

    mean: Tensor  # (C, h, w) of the bucket's size
    std: Tensor
    mask: Tensor | None  # (1, h, w)
    geometry: Geometry


def cut_view(image: CachedImage, view: View, seed: int) -> Cut:
    """Mirror the picture or not, and choose its crop, where the settings ask for it."""
    chance = make_random(seed, "picture", view.epoch, image.item.name, view.look)
    mirror = chance.random() < 0.5  # drawn always, so that mirroring does not change the crops
    return _cut(image, mirror and image.mirrored is not None, (chance.random(), chance.random()))


def cut_middle(image: CachedImage) -> Cut:
    """The picture the right way round, cropped equally at both ends."""
    return _cut(image, False, (0.5, 0.5))


def _cut(image: CachedImage, mirror: bool, place: tuple[float, float]) -> Cut:
    """place: where the crop lies between the left and the right end, and between top and bottom, from 0 to 1."""
    mean, std = image.mirrored if mirror and image.mirrored else (image.mean, image.std)
    mask = image.mask.flip(-1) if mirror and image.mask is not None else image.mask
    stored = image.stored or image.fit
    left, top = (_mirror(stored) if mirror else stored)[2:]
    if stored.bucket != image.fit.bucket:
        factor = stored.bucket.width // mean.shape[-1]
        height, width = image.fit.bucket.height // factor, image.fit.bucket.width // factor
        x, y = int(place[0] * (mean.shape[-1] - width + 1)), int(place[1] * (mean.shape[-2] - height + 1))
        mean, std = (tensor[:, y : y + height, x : x + width] for tensor in (mean, std))
        mask = mask[:, y : y + height, x : x + width] if mask is not None else None
        left, top = left + x * factor, top + y * factor
    item = image.item
    return Cut(mean, std, mask, Geometry((item.width, item.height), stored.resized, (left, top), image.fit.bucket))


def _mirror(fit: Fit) -> Fit:
    """The same crop of the mirrored picture: what was cut off at the right is now cut off at the left."""
    return fit._replace(crop_left=fit.resized[0] - fit.bucket.width - fit.crop_left)
