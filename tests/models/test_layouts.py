"""The names of the original programs, compared with diffusers' own conversion."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from lora_nb.models.file_source import CONFIGS
from lora_nb.models.layouts import flux_layout, open_clip_layout, unet_layout, vae_layout
from tests.models.original_files import to_original


def read_config(edition, part):
    return json.loads((CONFIGS / f"{edition}.json").read_text())[part]


def shapes(weights):
    return {name: tuple(value.shape) for name, value in weights.items()}


@pytest.mark.parametrize("edition", ["sd1", "sd2", "sdxl"])
def test_full_size_unet_has_the_names_that_diffusers_converts(edition):
    config = read_config(edition, "unet")
    with torch.device("meta"):
        weights = UNet2DConditionModel.from_config(config).state_dict()
    original = to_original(weights, unet_layout(config))
    assert shapes(convert_ldm_unet_checkpoint(original, config)) == shapes(weights)


@pytest.mark.parametrize("edition", ["sd1", "sdxl"])
def test_full_size_vae_has_the_names_that_diffusers_converts(edition):
    config = read_config(edition, "vae")
    with torch.device("meta"):
        weights = AutoencoderKL.from_config(config).state_dict()
    original = to_original(weights, vae_layout(config))
    assert shapes(convert_ldm_vae_checkpoint(original, config)) == shapes(weights)


def test_open_clip_values_are_those_that_diffusers_converts():
    config = CLIPTextConfig(vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=2, projection_dim=8)
    config.num_attention_heads = 2
    module = CLIPTextModelWithProjection(config)
    weights = module.state_dict()
    prefix = "conditioner.embedders.1.model."
    converted = convert_open_clip_checkpoint(module, to_original(weights, open_clip_layout(prefix)), prefix)
    assert converted.keys() == {name for name in weights if "position_ids" not in name}
    assert all(torch.equal(value, weights[name]) for name, value in converted.items())


def test_full_size_flux_has_the_names_that_diffusers_converts_and_its_rows_in_their_order():
    config = read_config("flux_dev", "transformer") | {"num_layers": 2, "num_single_layers": 2}
    with torch.device("meta"):
        weights = FluxTransformer2DModel.from_config(config).state_dict()
    # A real weight would take gigabytes: every row repeats one number, which says which weight and row it is.
    numbered = {
        name: ((torch.arange(len(value)) + 7 * place) % 251).to(torch.uint8).view(-1, *[1] * (value.dim() - 1))
        for place, (name, value) in enumerate(weights.items())
    }
    original = to_original(numbered, flux_layout("model.diffusion_model."))
    assert original["model.diffusion_model.single_blocks.1.linear1.weight"].shape[0] == 7 * 3072
    converted = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    assert converted.keys() == weights.keys()
    assert all(torch.equal(value, numbered[name]) for name, value in converted.items())
