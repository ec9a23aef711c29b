"""SDXL: two text encoders, size and crop, layers and their names, and a VAE that fp16 is too small for."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.config import ModelConfig
from lora_nb.config_file import make_config
from lora_nb.dataset.buckets import BucketRules, fit_size
from lora_nb.errors import ConfigError, ModelError
from lora_nb.models.base import Geometry, load_model
from tests.models.full_size import lora_shapes, make_sdxl

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "lora_keys_sdxl.json").read_text())


def test_full_sdxl_gets_the_same_layers_names_and_shapes_as_from_kohya():
    model = make_sdxl()
    assert [len(model.target_modules(prefix)) for prefix in ("lora_unet", "lora_te1", "lora_te2")] == [722, 72, 192]
    assert lora_shapes(model, REFERENCE["rank"], REFERENCE["alpha"]) == REFERENCE["tensors"]


def test_captions_are_encoded_as_diffusers_does(tiny_sdxl):
    hidden_states, _, pooled, _ = tiny_sdxl.pipeline(None).encode_prompt("a red cat", device="cpu")
    ours = tiny_sdxl.encode_captions(["a red cat"])
    assert ours["encoder_hidden_states"].shape == (1, 77, 96)
    assert torch.equal(ours["encoder_hidden_states"], hidden_states)
    assert torch.equal(ours["text_embeds"], pooled)


@pytest.fixture
def portrait():
    """A picture of 1000 x 1500 in the bucket of 832 x 1216: resized to 832 x 1248, 16 pixels cut off at the top."""
    fit = fit_size(1000, 1500, BucketRules(1024**2, 64, 256, 2048))
    return Geometry((1000, 1500), fit.resized, (fit.crop_left, fit.crop_top), fit.bucket)


def test_size_and_true_crop_are_told_with_the_height_first(tiny_sdxl, portrait):
    assert portrait.size == (832, 1216) and portrait.resized == (832, 1248)
    added = tiny_sdxl.add_geometry({"text_embeds": torch.zeros(1, 1)}, [portrait])
    assert added["time_ids"].tolist() == [[1500, 1000, 16, 0, 1216, 832]]
    assert "text_embeds" in added


def test_kohyas_crop_is_that_of_a_picture_inside_its_bucket(tiny_sdxl_folder, portrait):
    model = load_model(ModelConfig(family="sdxl", base=str(tiny_sdxl_folder), crop_conditioning="kohya"))
    assert model.add_geometry({}, [portrait])["time_ids"].tolist() == [[1500, 1000, 0, 10, 1216, 832]]
    wide = Geometry((1500, 1000), (1248, 832), (16, 0), (1216, 832))
    assert model.add_geometry({}, [wide])["time_ids"].tolist() == [[1000, 1500, 10, 0, 832, 1216]]


def test_size_and_crop_change_what_the_model_says(tiny_sdxl, portrait):
    def predict(geometry):
        conditioning = tiny_sdxl.add_geometry(tiny_sdxl.encode_captions(["a"]), [geometry])
        return tiny_sdxl.predict(torch.ones(1, 4, 8, 8), torch.tensor([500]), conditioning)

    with torch.no_grad():
        first = predict(portrait)
        for change in ({"crop": (0, 400)}, {"original": (200, 300)}, {"size": (512, 512)}):
            assert (predict(portrait._replace(**change)) - first).abs().max() > 1e-4


def test_latents_have_sdxls_scale(tiny_sdxl):
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    mean, _ = tiny_sdxl.encode_pictures(pixels)
    torch.testing.assert_close(mean, tiny_sdxl.vae.encode(pixels).latent_dist.mean * 0.13025)


def test_a_vae_that_overflows_in_fp16_stays_in_fp32(tiny_sdxl_folder):
    config = ModelConfig(family="sdxl", base=str(tiny_sdxl_folder))
    model = load_model(config, precision="fp16")
    assert model.vae.dtype == torch.float32 and model.denoiser.dtype == torch.float16
    assert model.to(dtype=torch.float16).vae.dtype == torch.float32
    assert load_model(config, precision="bf16").vae.dtype == torch.bfloat16
    fixed = load_model(config)
    fixed.vae.register_to_config(force_upcast=False)  # as in the VAE that was mended for fp16
    assert fixed.to(dtype=torch.float16).vae.dtype == torch.float16


def test_v_prediction_sdxl_is_recognised(tiny_sdxl_folder):
    model = load_model(ModelConfig(family="sdxl", base=str(tiny_sdxl_folder), prediction="v", zero_terminal_snr="on"))
    assert model.objective.prediction == "v" and model.objective.zero_terminal_snr


def test_clip_skip_is_refused(tiny_sdxl):
    with pytest.raises(ModelError, match="clip_skip is 2"):
        tiny_sdxl.encode_captions(["a"], 2)
    with pytest.raises(ConfigError, match=r"model\.clip_skip"):
        make_config({"model": {"family": "sdxl", "base": "x", "clip_skip": 2}})


def test_another_family_is_refused(tiny_sd1_folder, tiny_sdxl_folder):
    with pytest.raises(ModelError, match="is set to sdxl"):
        load_model(ModelConfig(family="sdxl", base=str(tiny_sd1_folder)))
    with pytest.raises(ModelError, match="StableDiffusionXL"):
        load_model(ModelConfig(family="sd1", base=str(tiny_sdxl_folder)))
