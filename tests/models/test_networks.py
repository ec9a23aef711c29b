"""Networks are read when they are needed, and put to sleep when they are not."""

import pytest
import torch

from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.base import load_model, putting_back_to_sleep


@pytest.fixture
def model(tiny_sd1_folder):
    return load_model(ModelConfig(base=str(tiny_sd1_folder)))


def is_asleep(model, name):
    return all(parameter.is_meta for parameter in model.networks.shape(name).parameters())


def test_nothing_is_read_before_it_is_needed(model):
    assert all(is_asleep(model, name) for name in ("denoiser", "vae", "lora_te"))
    assert (model.device, model.dtype, model.latent_factor) == (torch.device("cpu"), torch.float32, 4)
    model.encode_pictures(torch.zeros(1, 3, 16, 16))
    assert not is_asleep(model, "vae")
    assert is_asleep(model, "denoiser") and is_asleep(model, "lora_te")


@pytest.mark.parametrize("name", ["vae", "lora_te"])
def test_a_network_that_slept_is_what_it_was(model, name):
    vae = name == "vae"

    def use():
        return model.encode_pictures(pixels)[0] if vae else model.encode_captions(["cat"])["encoder_hidden_states"]

    pixels = torch.rand(1, 3, 16, 16)
    before = use()
    module = model.networks.shape(name)
    model.networks.sleep(name)
    assert is_asleep(model, name)
    assert torch.equal(use(), before)
    assert model.networks.shape(name) is module  # whoever held it sees it wake up


def test_a_cast_reaches_networks_that_are_read_later(model):
    model.to(dtype=torch.bfloat16)
    model.vae.requires_grad_(False)
    model.networks.sleep("vae")
    assert {model.denoiser.dtype, model.vae.dtype, model.text_encoders["lora_te"].dtype} == {torch.bfloat16}


def test_looking_at_layers_does_not_wake_what_sleeps(model):
    model.networks.sleep("lora_te", "vae")
    assert "lora_te" in model.text_encoders
    assert model.trained_modules().keys() == {"lora_unet", "lora_te"}
    assert is_asleep(model, "lora_te")
    add_adapter(model, AdapterConfig(train_text_encoder=False), seed=1)
    assert is_asleep(model, "lora_te")


def test_what_is_being_trained_does_not_sleep(model):
    add_adapter(model, AdapterConfig(train_text_encoder=True), seed=1)
    model.networks.sleep("lora_te")
    assert not is_asleep(model, "lora_te")


def test_who_woke_for_pictures_sleeps_again(model):
    model.networks.sleep("vae", "lora_te")
    with putting_back_to_sleep(model):
        model.encode_captions(["cat"])
        assert not is_asleep(model, "lora_te")
    assert is_asleep(model, "lora_te") and is_asleep(model, "vae")


def test_a_part_can_be_replaced(model):
    other = torch.nn.Linear(2, 2)
    model.vae = other
    model.networks.sleep("vae")
    assert model.vae is other
