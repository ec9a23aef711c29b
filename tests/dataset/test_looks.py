import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lora_nb.dataset import looks as looks_module
from lora_nb.dataset.flaws import ALIKE, BLURRED
from lora_nb.dataset.looks import Looks, find_alike, look_at
from lora_nb.project import open_project
from lora_nb.workshop import demo_project
from tests.dataset.pictures import save


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The demo's twelve pictures: alike in style, different in content."""
    project = open_project(tmp_path_factory.mktemp("demo") / "demo")
    demo_project.fill_if_empty(project)
    return sorted(project.images.rglob("*.png"))


def test_different_pictures_of_one_subject_are_not_alike(drawn):
    assert list(find_alike([look_at(path, 64) for path in drawn], ALIKE)) == []


def test_a_smaller_paler_recompressed_or_slightly_cropped_copy_is_alike(drawn, tmp_path):
    image = Image.open(drawn[0]).convert("RGB")
    small = io.BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(small, "JPEG", quality=40)
    copies = [Image.open(small), image.point(lambda level: level * 0.9 + 20), image.crop((3, 3, 253, 253))]
    for number, copy in enumerate(copies):
        copy.convert("RGB").save(tmp_path / f"{number}.png")
    paths = [drawn[0], *(tmp_path / f"{number}.png" for number in range(3)), *drawn[1:]]

    assert list(find_alike([look_at(path, 512) for path in paths], ALIKE)) == [[0, 1, 2, 3]]


def test_blur_is_told_from_sharpness_whatever_the_contrast(drawn, tmp_path):
    for path in drawn:
        sharp = Image.open(path).convert("RGB")
        pale = sharp.point(lambda level: level // 4 + 128)
        pale.save(tmp_path / "pale.png")
        sharp.filter(ImageFilter.GaussianBlur(4)).save(tmp_path / "blurred.png")
        assert look_at(path, 512).sharpness > 10 * BLURRED and look_at(tmp_path / "pale.png", 512).sharpness > BLURRED
        assert look_at(tmp_path / "blurred.png", 512).sharpness < BLURRED


def test_a_sharp_subject_before_a_blurred_background_is_sharp(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8))
    picture = noise.filter(ImageFilter.GaussianBlur(12))
    picture.paste(noise.crop((0, 0, 160, 160)), (120, 120))
    picture.save(tmp_path / "a.png")

    assert look_at(tmp_path / "a.png", 512).sharpness > BLURRED


def test_one_colour_has_no_blur(tmp_path):
    Image.new("RGB", (100, 100), "red").save(tmp_path / "a.png")
    assert look_at(tmp_path / "a.png", 64).sharpness > BLURRED


def test_looks_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    project = open_project(tmp_path / "p")
    path = save(project.images / "a.png")
    assert Looks(project, 64).measure([path]) == 0
    monkeypatch.setattr(looks_module, "look_at", None)  # would fail
    again = Looks(project, 64)

    assert again.measure([path]) == 0 and again.size(path) == (64, 48, False)
    save(path, size=(32, 32))
    assert again.get(path) is None and again.size(path) == (32, 32, False)


def test_measuring_stops_after_its_time_and_says_what_is_left(tmp_path):
    project = open_project(tmp_path / "p")
    paths = [save(project.images / f"{number}.png") for number in range(40)]
    looks = Looks(project, 64)

    left = looks.measure(paths, seconds=0)

    assert 0 < left < 40
    assert looks.measure(paths) == 0


def test_a_damaged_file_has_a_look_that_says_so(tmp_path):
    project = open_project(tmp_path / "p")
    path = save(project.images / "a.jpg")
    path.write_bytes(path.read_bytes()[:400])
    looks = Looks(project, 64)
    looks.measure([path])

    assert "damaged" in looks.get(path).damage
