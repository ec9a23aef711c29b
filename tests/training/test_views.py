"""What is seen of a picture: mirrored and cropped latents are those of mirrored and cropped pixels, truly reported."""

from collections import Counter

import pytest
import torch
from torch.nn.functional import avg_pool2d

from lora_nb.config_file import change_settings
from lora_nb.dataset.images import scan_images
from lora_nb.training.cache import cache_dataset, to_pixels
from lora_nb.training.views import View, cut_middle, cut_view

FACTOR = 4


class AveragingModel:
    """A model whose latents are the means of 4 x 4 pixels: what they should be can be computed."""

    latent_factor = FACTOR
    vae = torch.nn.Linear(1, 1)

    def encode_pictures(self, pixels):
        mean = avg_pool2d(pixels, FACTOR)
        return mean, mean.abs() * 0.1


def cache(project, config, **changes):
    changed = change_settings(config, changes)
    return cache_dataset(AveragingModel(), scan_images(project.images), changed.data, project.cache), changed


@pytest.fixture
def project(project):
    """Noise, so that no two crops are alike, in shapes that leave much to crop from a square."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number, size in enumerate([(64, 64), (99, 64), (64, 130), (200, 90), (64, 64)]):
        picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        picture.save(project.images / "2_mochi" / f"{number}.png")
    return project


def expected(image, cut, mirrored):
    """The latents of exactly the pixels that the geometry names."""
    fit = image.fit._replace(crop_left=0, crop_top=0, bucket=image.fit.bucket._make(image.fit.resized))
    pixels = to_pixels(image.item, fit)
    pixels = pixels.flip(-1) if mirrored else pixels
    (left, top), (width, height) = cut.geometry.crop, cut.geometry.size
    return avg_pool2d(pixels[:, top : top + height, left : left + width], FACTOR)


@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("crop", [True, False])
def test_the_latents_are_those_of_the_crop_that_is_reported(project, config, crop, buckets):
    changes = {"data.flip": True, "data.random_crop": crop, "data.enable_buckets": buckets}
    images, changed = cache(project, config, **changes)
    seen, mirrored_count = Counter(), 0
    for position, image in enumerate(images):
        for look in range(40):
            cut = cut_view(image, View(position, 1, look), changed.run.seed)
            plain, mirrored = (expected(image, cut, way) for way in (False, True))
            is_mirrored = torch.allclose(cut.mean, mirrored, atol=1e-5)
            assert is_mirrored or torch.allclose(cut.mean, plain, atol=1e-5)
            assert cut.geometry.size == image.fit.bucket
            mirrored_count += is_mirrored
            seen[position, cut.geometry.crop] += 1
    assert 70 < mirrored_count < 130
    crops_of_third = {crop for position, crop in seen if position == 2}
    assert len(crops_of_third) <= 2 if not crop else buckets or len(crops_of_third) > 5


def test_a_random_crop_reaches_both_ends(project, config):
    images, changed = cache(project, config, **{"data.random_crop": True, "data.enable_buckets": False})
    tops = {cut_view(images[2], View(2, 1, look), changed.run.seed).geometry.crop[1] for look in range(300)}
    assert min(tops) <= FACTOR and max(tops) >= 130 - 64 - FACTOR and len(tops) == 17
    assert abs(cut_middle(images[2]).geometry.crop[1] - (130 - 64) / 2) <= FACTOR


def test_the_crop_is_the_seeds_and_the_looks(project, config):
    images, _ = cache(project, config, **{"data.random_crop": True, "data.enable_buckets": False})
    crops = [cut_view(images[2], View(2, epoch, look), seed).geometry.crop for epoch, look, seed in [(1, 0, 0)] * 2]
    assert crops[0] == crops[1]
    others = {cut_view(images[2], View(2, e, look), s).geometry.crop for e in (1, 2) for look in (0, 1) for s in (0, 1)}
    assert len(others) > 3


def test_masks_are_cut_like_their_pictures(project, config):
    from PIL import Image

    mask = Image.new("L", (64, 130), 0)
    mask.paste(255, (0, 60, 32, 130))
    mask.save(project.images / "2_mochi" / "2.mask.png")
    changes = {"data.flip": True, "data.random_crop": True, "data.loss_mask": "files", "data.enable_buckets": False}
    images, changed = cache(project, config, **changes)
    assert [image.mask is None for image in images] == [True, True, False, True, True]
    for look in range(30):
        cut = cut_view(images[2], View(2, 1, look), changed.run.seed)
        top = cut.geometry.crop[1]
        mirrored = torch.allclose(cut.mean, expected(images[2], cut, True), atol=1e-5)
        rows = (torch.arange(64) + top >= 60).float()
        columns = (torch.arange(64) < 32).float()
        wanted = avg_pool2d((rows[:, None] * (columns.flip(0) if mirrored else columns)[None])[None], FACTOR)
        torch.testing.assert_close(cut.mask, wanted, atol=0.02, rtol=0)
