import io
from pathlib import Path

import pytest
from PIL import Image

from lora_nb.dataset import thumbnails
from lora_nb.dataset.thumbnails import thumbnail
from lora_nb.errors import DatasetError
from tests.dataset.pictures import save


def test_a_thumbnail_is_small_upright_and_made_once(tmp_path: Path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    path = save(tmp_path / "a.jpg", size=(1600, 800), exif=exif)
    data = thumbnail(path, tmp_path / "cache", 128)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "WEBP" and picture.size == (64, 128) and len(data) < 5_000
    monkeypatch.setattr(thumbnails, "open_reduced", None)
    assert thumbnail(path, tmp_path / "cache", 128) == data


def test_an_edited_picture_gets_a_new_one(tmp_path: Path):
    path = save(tmp_path / "a.png", size=(64, 48))
    first = thumbnail(path, tmp_path / "cache", 32)
    Image.new("RGB", (64, 64), "white").save(path)
    assert thumbnail(path, tmp_path / "cache", 32) != first


def test_a_broken_picture_is_named(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.png"):
        thumbnail(tmp_path / "a.png", tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"gone\.png"):
        thumbnail(tmp_path / "gone.png", tmp_path / "cache")
