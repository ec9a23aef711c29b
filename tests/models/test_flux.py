"""Flux: tokens, captions, joined layers and their names, guidance and mask."""

import json
import math
from pathlib import Path

import pytest
import torch

from lora_nb.adapters.files import read_lora, save_lora
from lora_nb.adapters.layers import TRAINED
from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError, ModelError
from lora_nb.models.base import load_model
from lora_nb.models.flux import pack, place_ids, unpack
from lora_nb.sampling import generate
from tests.adapters.helpers import add_trained, deltas_of
from tests.models.full_size import lora_shapes, make_flux
from tests.tiny_models import make_flux_transformer, save_tiny_flux

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "lora_keys_flux.json").read_text())


def test_full_flux_gets_the_same_layers_names_and_shapes_as_from_kohya():
    model = make_flux()
    assert [len(model.target_modules(prefix)) for prefix in ("lora_unet", "lora_te1")] == [304, 72]
    assert lora_shapes(model, REFERENCE["rank"], REFERENCE["alpha"]) == REFERENCE["tensors"]


def load(folder, **settings):
    return load_model(ModelConfig(family="flux", base=str(folder), **({"t5_tokens": 32} | settings)))


def test_joined_layers_say_what_diffusers_says(tiny_flux, tiny_flux_folder):
    from diffusers import FluxTransformer2DModel

    plain = FluxTransformer2DModel.from_pretrained(tiny_flux_folder, subfolder="transformer")
    latents, sigma = torch.randn(2, 16, 8, 12), torch.tensor([0.3, 0.7])
    conditioning = tiny_flux.encode_captions(["a cat", "two dogs"])
    with torch.no_grad():
        expected = plain(
            hidden_states=pack(latents),
            timestep=sigma,
            guidance=torch.ones(2),
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=conditioning["encoder_hidden_states"],
            txt_ids=torch.zeros(32, 3),
            img_ids=place_ids(4, 6, torch.device("cpu")),
        ).sample
        torch.testing.assert_close(pack(tiny_flux.predict(latents, sigma, conditioning)), expected)
    names = dict(tiny_flux.denoiser.named_modules())
    assert not [name for name in names if name.endswith(("to_q", "add_k_proj", "proj_mlp"))]  # no weight is held twice


def test_tokens_are_packed_as_diffusers_does():
    from diffusers import FluxPipeline

    latents = torch.randn(2, 16, 8, 12)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 16, 8, 12))
    assert torch.equal(unpack(tokens, 8, 12), latents)
    expected = FluxPipeline._prepare_latent_image_ids(2, 4, 6, "cpu", torch.float32)
    assert torch.equal(place_ids(4, 6, torch.device("cpu")), expected)


def test_captions_are_encoded_as_diffusers_does(tiny_flux):
    ours = tiny_flux.encode_captions(["a red cat"])
    theirs = tiny_flux.pipeline(None).encode_prompt("a red cat", None, device="cpu", max_sequence_length=32)
    assert torch.equal(ours["encoder_hidden_states"], theirs[0])
    assert torch.equal(ours["pooled"], theirs[1])
    assert tiny_flux.max_tokens == 31 and tiny_flux.count_tokens("cat") == 4  # a space in front, letter by letter


def test_latents_are_shifted_and_scaled(tiny_flux):
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    mean, std = tiny_flux.encode_pictures(pixels)
    spread = tiny_flux.vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean, (spread.mean - 0.1159) * 0.3611)
    torch.testing.assert_close(std, spread.std * 0.3611)
    expected = tiny_flux.vae.decode(spread.mean).sample.clamp(-1, 1)
    torch.testing.assert_close(tiny_flux.decode_latents(mean), expected, rtol=1e-4, atol=1e-5)


def test_the_mask_hides_the_filling_behind_a_caption(tiny_flux_folder):
    def say(model, filling):
        conditioning = model.encode_captions(["a cat"])
        conditioning["encoder_hidden_states"] = conditioning["encoder_hidden_states"].clone()
        conditioning["encoder_hidden_states"][:, 10:] = filling  # the caption has 7 tokens with its end
        with torch.no_grad():
            return model.predict(torch.ones(1, 16, 8, 8), torch.tensor([0.5]), conditioning)

    masked, open_ = load(tiny_flux_folder, t5_attention_mask=True), load(tiny_flux_folder)
    assert torch.equal(say(masked, 0.0), say(masked, 3.0))
    assert not torch.allclose(say(open_, 0.0), say(open_, 3.0))
    assert masked.encode_captions(["a cat"])["text_mask"].sum() == 7
    settings = GenerationConfig(prompt="a cat", steps=2, width=64, height=64, guidance_scale=3.5)
    assert list(generate(masked, settings).getdata()) != list(generate(open_, settings).getdata())


def test_guidance_changes_what_dev_says_and_schnell_takes_none(tiny_flux_folder, tmp_path):
    def say(model):
        with torch.no_grad():
            conditioning = model.encode_captions(["a cat"])
            return model.predict(torch.ones(1, 16, 8, 8), torch.tensor([0.5]), conditioning)

    assert not torch.allclose(say(load(tiny_flux_folder)), say(load(tiny_flux_folder, guidance=3.5)))
    folder = save_tiny_flux(tmp_path / "schnell", guidance=False)
    model = load(folder)
    assert model.variant == "schnell" and load(tiny_flux_folder).variant == "dev"
    assert math.isfinite(float(say(model).sum()))
    with pytest.raises(ModelError, match="takes no guidance"):
        load(folder, guidance=3.5)
    settings = GenerationConfig(prompt="a cat", steps=2, width=64, height=64, guidance_scale=1.0)
    assert generate(model, settings).size == (64, 64)
    with pytest.raises(ConfigError, match="guidance_scale"):
        generate(model, settings.model_copy(update={"guidance_scale": 3.5}))


def test_other_samplers_and_negative_prompts_are_refused(tiny_flux):
    settings = GenerationConfig(prompt="a", negative_prompt="b", sampler="ddim", width=72, height=64)
    with pytest.raises(ConfigError, match=r"sampler: .*ddim.*euler") as error:
        generate(tiny_flux, settings.model_copy(update={"width": 68}))
    assert [problem.where for problem in error.value.problems] == ["width", "sampler", "negative_prompt"]
    for setting in ({"sampler": "ddim"}, {"negative_prompt": "b"}):
        with pytest.raises(ConfigError, match="would do nothing"):
            make_config({"model": {"family": "flux", "base": "x"}, "samples": setting})


def test_what_acts_on_other_families_only_is_refused_or_switched_off():
    config = make_config({"model": {"family": "flux", "base": "x"}})
    assert config.loss.weighting == "none" and config.noise.offset == config.noise.adaptive == 0
    for section, setting in {"loss": {"weighting": "debiased"}, "noise": {"offset": 0.1}}.items():
        with pytest.raises(ConfigError, match="would do nothing"):
            make_config({"model": {"family": "flux", "base": "x"}, section: setting})
    for section, setting in {"model": {"guidance": 3.5}, "noise": {"timestep_sampling": "uniform"}}.items():
        with pytest.raises(ConfigError, match="would do nothing"):
            make_config({section: setting})
    with pytest.raises(ConfigError, match="bucket_step is 8"):
        make_config({"model": {"family": "flux", "base": "x"}, "data": {"bucket_step": 8}})


def test_at_full_width_diffusers_reads_the_same_deltas(tmp_path):
    """Its reader splits the joined layers again: here with the real sizes, on one block of each kind."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    width = 3072
    names = {"lora_unet_double_blocks_0_img_attn_qkv": 3 * width, "lora_unet_single_blocks_0_linear1": 7 * width}
    tensors = {}
    for name, out in names.items():
        tensors |= {f"{name}.lora_down.weight": torch.randn(4, width), f"{name}.lora_up.weight": torch.randn(out, 4)}
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    ours = {name: tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"][:, :8] / 2 for name in names}
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(tensors))
    blocks = {
        "lora_unet_double_blocks_0_img_attn_qkv": ("transformer.transformer_blocks.0.", ("to_q", "to_k", "to_v")),
        "lora_unet_single_blocks_0_linear1": ("transformer.single_transformer_blocks.0.", ("to_q", "to_k", "to_v")),
    }
    for name, (block, parts) in blocks.items():
        keys = [f"{block}attn.{part}" for part in parts] + ([f"{block}proj_mlp"] if "single" in name else [])
        up_down = [theirs[f"{key}.lora_B.weight"] @ theirs[f"{key}.lora_A.weight"][:, :8] for key in keys]
        torch.testing.assert_close(torch.cat(up_down), ours[name], rtol=1e-5, atol=1e-5)


def test_a_saved_lora_has_the_joined_layers_deltas(tiny_flux, tmp_path):
    add_trained(tiny_flux, rank=4, alpha=3.0)
    expected = deltas_of(tiny_flux, TRAINED)
    save_lora(tiny_flux, tmp_path / "a.safetensors", precision="fp32", metadata={})
    modules = read_lora(tmp_path / "a.safetensors").modules
    assert modules["lora_unet_double_blocks_1_txt_attn_qkv"].up.shape == (96, 4)
    assert modules["lora_unet_single_blocks_1_linear1"].up.shape == (224, 4)
    for name, module in modules.items():
        torch.testing.assert_close(module.delta(), expected[name], rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_changes_no_gradient(tiny_flux):
    def gradients():
        tiny_flux.denoiser.zero_grad()
        add_trained(tiny_flux, rank=2)
        conditioning = tiny_flux.encode_captions(["a"])
        tiny_flux.predict(torch.ones(1, 16, 8, 8), torch.tensor([0.5]), conditioning).square().sum().backward()
        return [parameter.grad for parameter in tiny_flux.denoiser.parameters() if parameter.requires_grad]

    plain = gradients()
    tiny_flux.set_gradient_checkpointing(True)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(gradients(), plain, strict=True))


def test_another_family_and_another_task_are_refused(tiny_sdxl_folder, tmp_path):
    with pytest.raises(ModelError, match="is set to flux"):
        load(tiny_sdxl_folder)
    folder = save_tiny_flux(tmp_path / "fill")
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 384}))
    with pytest.raises(ModelError, match="384 channels"):
        load(folder)


def test_joining_twice_does_nothing_more():
    from lora_nb.models.flux_blocks import join_projections

    transformer = make_flux_transformer()
    join_projections(transformer)
    before = [id(module) for module in transformer.modules()]
    join_projections(transformer)
    assert [id(module) for module in transformer.modules()] == before
