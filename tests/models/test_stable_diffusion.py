"""Stable Diffusion 1.x: captions, pictures, layers and their names."""

import warnings

import pytest
import torch
from torch import nn

from lora_nb.config import ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.stable_diffusion import Parts, StableDiffusion
from tests.tiny_models import SCHEDULER, make_text_encoder, make_unet, make_vae


def test_captions_are_encoded_as_diffusers_does(tiny_sd1):
    pipeline = tiny_sd1.pipeline(None)
    for clip_skip in (1, 2, 3):
        ours = tiny_sd1.encode_captions(["a red cat"], clip_skip)["encoder_hidden_states"]
        # diffusers counts from 0; with transformers 5 its own clip_skip fails on the text encoder's new layout
        encoder, tokens = pipeline.text_encoder, pipeline.tokenizer
        ids = tokens("a red cat", padding="max_length", max_length=77, return_tensors="pt").input_ids
        output = encoder(ids, output_hidden_states=True)
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        assert torch.equal(ours, norm(output.hidden_states[-clip_skip]))
    plain = pipeline.encode_prompt("a red cat", "cpu", 1, False)[0]
    assert torch.equal(tiny_sd1.encode_captions(["a red cat"])["encoder_hidden_states"], plain)


def test_clip_skip_beyond_the_text_encoder_is_refused(tiny_sd1):
    with pytest.raises(ModelError, match=r"clip_skip is 4.*3 layers"):
        tiny_sd1.encode_captions(["a"], 4)


def test_captions_are_cut_after_75_tokens(tiny_sd1):
    assert tiny_sd1.max_tokens == 75
    assert tiny_sd1.count_tokens("") == 0
    assert tiny_sd1.count_tokens("a b, c") == 4
    assert tiny_sd1.count_tokens("x " * 100) == 100
    long, cut = (tiny_sd1.encode_captions(["x " * count])["encoder_hidden_states"] for count in (100, 75))
    assert long.shape == (1, 77, 32)
    assert torch.equal(long, cut)


def test_captions_of_a_batch_do_not_touch_each_other(tiny_sd1):
    both = tiny_sd1.encode_captions(["a cat", "two dogs in a forest"])["encoder_hidden_states"]
    alone = tiny_sd1.encode_captions(["a cat"])["encoder_hidden_states"]
    torch.testing.assert_close(both[:1], alone)


def test_pictures_become_latents_and_pictures_again(tiny_sd1):
    pixels = torch.rand(2, 3, 64, 96) * 2 - 1
    mean, std = tiny_sd1.encode_pictures(pixels)
    assert mean.shape == std.shape == (2, 4, 16, 24)  # factor 4: this VAE has three levels
    spread = tiny_sd1.vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean, spread.mean * 0.18215)
    torch.testing.assert_close(std, spread.std * 0.18215)
    assert not mean.requires_grad
    again = tiny_sd1.decode_latents(mean)
    assert again.shape == pixels.shape
    assert again.abs().max() <= 1


def test_layers_have_kohyas_names_in_both_layouts_of_the_text_encoder():
    class Wrapped(nn.Module):
        """transformers 4: the encoder sits in a text_model of its own."""

        def __init__(self, encoder):
            super().__init__()
            self.text_model, self.config = encoder, encoder.config

        def forward(self, *args, **options):
            return self.text_model(*args, **options)

    inner = getattr(make_text_encoder(514), "text_model", make_text_encoder(514))
    names = []
    for encoder in (inner, Wrapped(inner)):
        model = StableDiffusion(ModelConfig(base="tiny"), Parts(make_unet(), encoder, make_vae(), None, SCHEDULER))
        names.append({model.key_name("lora_te", target) for target in model.target_modules("lora_te")})
    assert names[0] == names[1]
    assert len(names[0]) == 18
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj" in names[0]


def test_what_is_trained_keeps_its_precision(tiny_sd1):
    layer = tiny_sd1.denoiser.conv_in
    layer.requires_grad_(True)
    tiny_sd1.to(dtype=torch.bfloat16)
    assert layer.weight.dtype == torch.float32
    assert tiny_sd1.denoiser.conv_out.weight.dtype == tiny_sd1.vae.dtype == tiny_sd1.dtype == torch.bfloat16


def test_gradient_checkpointing_changes_no_gradient(tiny_sd1):
    def gradient():
        tiny_sd1.denoiser.conv_in.requires_grad_(True).zero_grad()
        latents = torch.ones(1, 4, 8, 8)
        tiny_sd1.predict(latents, torch.tensor([5]), tiny_sd1.encode_captions(["a"])).square().sum().backward()
        return tiny_sd1.denoiser.conv_in.weight.grad.clone()

    plain = gradient()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_sd1.set_gradient_checkpointing(True)
        assert tiny_sd1.denoiser.is_gradient_checkpointing
        torch.testing.assert_close(gradient(), plain)
        tiny_sd1.set_gradient_checkpointing(False)
    assert not tiny_sd1.denoiser.is_gradient_checkpointing


def test_loading_says_nothing(tiny_sd1_folder, capfd):
    from lora_nb.config import ModelConfig
    from lora_nb.models.base import load_model

    load_model(ModelConfig(base=str(tiny_sd1_folder)))
    assert capfd.readouterr() == ("", "")
