import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_nb.config import DataConfig
from lora_nb.dataset.buckets import Bucket, BucketRules, fit_image, fit_items, fit_picture, fit_size, make_buckets
from lora_nb.errors import DatasetError
from tests.dataset.pictures import make_item

SETS = json.loads((Path(__file__).parents[1] / "data" / "buckets.json").read_text())["sets"]


def set_name(values: dict) -> str:
    size = "x".join(map(str, values["max_reso"]))
    return f"{size}, {values['min_size']}-{values['max_size']}/{values['step']}, no_upscale={values['no_upscale']}"


def data_config(values: dict) -> DataConfig:
    return DataConfig(
        resolution=values["max_reso"][0],
        bucket_step=values["step"],
        min_bucket_size=values["min_size"],
        max_bucket_size=values["max_size"],
        enlarge_pictures=not values["no_upscale"],
    )


def is_square(values: dict) -> bool:
    return values["max_reso"][0] == values["max_reso"][1]


@pytest.mark.parametrize("values", SETS, ids=set_name)
def test_every_picture_goes_where_kohya_puts_it(values):
    width, height = values["max_reso"]
    rules = BucketRules(
        width * height, values["step"], values["min_size"], values["max_size"], not values["no_upscale"]
    )
    wrong = []
    for image_width, image_height, *expected in values["cases"]:
        fit = fit_size(image_width, image_height, rules)
        if [*fit.bucket, *fit.resized] != expected:
            wrong.append((image_width, image_height, fit, expected))
        if is_square(values):
            assert fit_picture(image_width, image_height, data_config(values)) == fit

    assert not wrong and len(values["cases"]) >= 59


@pytest.mark.parametrize("values", [v for v in SETS if v["resolutions"] and is_square(v)], ids=set_name)
def test_buckets_are_kohyas(values):
    assert make_buckets(data_config(values)) == [tuple(size) for size in values["resolutions"]]


def test_no_bucket_breaks_its_bounds():
    for step in (8, 32, 64, 96):
        for smallest, largest in ((100, 1000), (256, 256), (64, 2048), (700, 800)):
            data = DataConfig(bucket_step=step, min_bucket_size=smallest, max_bucket_size=largest)
            square, *others = sorted(make_buckets(data), key=lambda bucket: bucket != (512 // step * step,) * 2)
            assert square.width == square.height
            for bucket in others:
                assert smallest <= min(bucket) and max(bucket) <= largest and bucket.width * bucket.height <= 512**2
                assert bucket.width % step == bucket.height % step == 0


def test_without_buckets_every_picture_is_cropped_to_one_square():
    data = DataConfig(enable_buckets=False, enlarge_pictures=False, resolution=500, bucket_step=64)

    assert make_buckets(data) == [(448, 448)]
    assert fit_picture(1000, 200, data) == (Bucket(448, 448), (2240, 448), 896, 0)
    assert fit_picture(20, 30, data).bucket == (448, 448)


@pytest.mark.parametrize("enlarge", [True, False])
def test_the_resized_picture_always_covers_its_bucket(enlarge):
    data = DataConfig(enlarge_pictures=enlarge, resolution=128, bucket_step=32, min_bucket_size=64, max_bucket_size=256)
    for width in range(32, 700, 13):
        for height in range(32, 700, 17):
            try:
                fit = fit_picture(width, height, data)
            except DatasetError:
                assert not enlarge and max(width, height) / min(width, height) > 8
                continue
            (resized_width, resized_height), bucket = fit.resized, fit.bucket
            assert 0 <= fit.crop_left <= resized_width - bucket.width
            assert 0 <= fit.crop_top <= resized_height - bucket.height
            assert bucket.width * bucket.height <= 128 * 128


@pytest.mark.parametrize("size", [(63, 500), (500, 10), (1, 1), (100_000, 90), (90, 100_000), (30_000, 1)])
def test_a_picture_of_which_nothing_would_be_left_is_refused_by_name(size):
    data = DataConfig(enlarge_pictures=False)
    items = [make_item("1_x/narrow.png", size), make_item("1_x/good.png", (512, 512))]

    fits, problems = fit_items(items, data)

    assert list(fits) == items[1:] and len(problems) == 1
    assert problems[0].where == "1_x/narrow.png" and f"{size[0]} x {size[1]}" in problems[0].message
    assert problems[0].severity == "error" and "enlarge_pictures" in problems[0].fix


def test_a_fitted_image_has_its_buckets_size_and_keeps_the_middle():
    data = DataConfig(resolution=128, bucket_step=64, min_bucket_size=64, max_bucket_size=256)
    picture = Image.new("RGB", (300, 500), "red")
    picture.paste("blue", (0, 100, 300, 400))

    fit = fit_picture(300, 500, data)
    result = np.asarray(fit_image(picture, fit)).astype(int)

    assert result.shape == (fit.bucket.height, fit.bucket.width, 3)
    assert np.abs(result - result[::-1]).mean() < 3  # as much cut off above as below
    assert tuple(result[len(result) // 2, 5]) == (0, 0, 255)


def test_an_image_that_has_its_buckets_size_is_not_touched():
    data = DataConfig(resolution=128, bucket_step=64, min_bucket_size=64, max_bucket_size=256)
    picture = Image.effect_noise((128, 128), 80).convert("RGB")

    assert fit_image(picture, fit_picture(128, 128, data)).tobytes() == picture.tobytes()


def test_reducing_averages_instead_of_skipping_pixels():
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    data = DataConfig(resolution=64, bucket_step=64, min_bucket_size=64, max_bucket_size=64)

    result = np.asarray(fit_image(Image.fromarray(stripes), fit_picture(512, 512, data)))

    assert abs(result.astype(int) - 127).max() <= 8  # skipping would give 0 or 255


def test_a_picture_that_changed_shape_after_the_scan_is_not_stretched():
    data = DataConfig()

    fit_image(Image.new("RGB", (1000, 751)), fit_picture(1000, 750, data))  # a pixel more is no other shape
    with pytest.raises(DatasetError, match="750 x 1000 pixels now"):
        fit_image(Image.new("RGB", (750, 1000)), fit_picture(1000, 750, data))


@pytest.mark.parametrize("enlarge", [True, False])
def test_no_size_is_mistaken_for_a_changed_picture(enlarge):
    data = DataConfig(enlarge_pictures=enlarge, resolution=64, bucket_step=8, min_bucket_size=16, max_bucket_size=256)
    for size in [(16, 900), (17, 31), (300, 9), (9, 9), (640, 427), (1001, 333)]:
        assert fit_image(Image.new("RGB", size), fit_picture(*size, data)).size == fit_picture(*size, data).bucket
