"""The cache: used when nothing changed, rebuilt when anything did."""

import pytest
import torch
from PIL import Image

from lora_nb.config_file import change_settings
from lora_nb.dataset.images import scan_images
from lora_nb.models.base import load_model
from lora_nb.training.cache import cache_dataset


@pytest.fixture
def encode(project, config, monkeypatch):
    """Cache the project, and tell how many pictures the VAE was asked for."""
    model = load_model(config.model)
    calls = []
    encode_pictures = model.encode_pictures
    monkeypatch.setattr(model, "encode_pictures", lambda pixels: calls.append(1) or encode_pictures(pixels))

    def run(changed=config):
        calls.clear()
        images = cache_dataset(model, scan_images(project.images), changed.data, project.cache)
        return images, len(calls)

    run.model = model
    return run


def test_a_second_time_nothing_is_encoded(encode):
    first, calls = encode()
    again, calls_again = encode()
    assert (calls, calls_again) == (5, 0)
    assert all(a.mean.equal(b.mean) and a.std.equal(b.std) for a, b in zip(first, again, strict=True))


def test_an_edited_picture_is_encoded_again(encode, project):
    encode()
    Image.new("RGB", (64, 64), "white").save(project.images / "2_mochi" / "0.png")
    assert encode()[1] == 1


def test_another_resolution_is_encoded_again(encode, config):
    encode()
    images, calls = encode(change_settings(config, {"data.resolution": 80}))
    assert calls == 5 and images[0].mean.shape[-1] == 80 // 4


def test_another_vae_is_encoded_again(encode):
    encode()
    with torch.no_grad():
        next(encode.model.vae.parameters()).add_(0.01)
    assert encode()[1] == 5


def test_a_damaged_entry_is_made_again(encode, project):
    encode()
    entries = sorted((project.cache / "latents").iterdir())
    entries[0].write_bytes(entries[0].read_bytes()[:40])
    entries[1].write_bytes(b"")
    content = bytearray(entries[2].read_bytes())
    content[-1] ^= 1  # one bit
    entries[2].write_bytes(content)
    assert encode()[1] == 3
    assert encode()[1] == 0


def test_the_pictures_folder_stays_clean(encode, project):
    before = sorted(path.name for path in project.images.rglob("*"))
    encode()
    assert sorted(path.name for path in project.images.rglob("*")) == before


def test_mirroring_and_cropping_make_entries_of_their_own(encode, config):
    assert encode()[1] == 5
    assert encode(change_settings(config, {"data.flip": True}))[1] == 5  # only the mirrored ones are new
    assert encode(change_settings(config, {"data.resolution": 80, "data.random_crop": True}))[1] > 0
    assert encode()[1] == 0
    assert len(encode(change_settings(config, {"data.extra_resolutions": (48,)}))[0]) == 10
