"""A base model in fewer bits: smaller, nearly the same, and its LoRA is a LoRA like any other."""

import pytest
import torch

from lora_nb.config import AdapterConfig, ModelConfig, choices_of
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.models.base import load_model
from lora_nb.models.quantization import QUANTIZERS, quantize, weight_bytes
from lora_nb.training.cache import fingerprint_module

BITS = {"int8": 8, "nf4": 4}
FARTHEST = {"int8": 0.02, "nf4": 0.25}  # of the prediction's length, on random weights


def predict(model):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 16, 16, generator=generator)
    text = {"encoder_hidden_states": torch.randn(2, 77, 32, generator=generator)}
    with torch.no_grad():
        return model.predict(latents.to(model.dtype), torch.tensor([100, 900]), text).float()


def load(folder, kind, precision="fp32"):
    return load_model(ModelConfig(base=str(folder)), precision, "cpu", kind)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", BITS)
def test_a_model_in_fewer_bits_says_nearly_the_same(tiny_sd1_folder, kind, precision):
    whole = predict(load(tiny_sd1_folder, "none"))
    small = predict(load(tiny_sd1_folder, kind, precision))
    assert 0 < (small - whole).norm() < FARTHEST[kind] * whole.norm()


@pytest.mark.parametrize("kind", BITS)
def test_the_linear_layers_shrink_to_their_bits(tiny_sd1_folder, kind):
    whole, small = (load(tiny_sd1_folder, each).denoiser for each in ("none", kind))
    layers = {name: layer for name, layer in whole.named_modules() if type(layer) is torch.nn.Linear}
    shrunk = {name for name, layer in small.named_modules() if type(layer).__name__ in ("Linear4bit", "Linear8bitLt")}
    assert {name for name in layers if "blocks" in name or "mid_block" in name} == shrunk
    weights = sum(layers[name].weight.numel() for name in shrunk)
    saved = weight_bytes(whole) - weight_bytes(small)
    scales = weights * (32 - BITS[kind]) / 8 - saved  # bytes
    assert 0 < scales < 0.15 * 4 * weights


@pytest.fixture(params=BITS)
def small_flux(request, tiny_flux_folder):
    return load_model(
        ModelConfig(family="flux", base=str(tiny_flux_folder), t5_tokens=32), "fp32", "cpu", request.param
    )


def layer_types(model):
    return {type(layer).__name__ for layer in model.networks.shape("t5").modules()} & {"Linear4bit", "Linear8bitLt"}


def test_t5_reads_nearly_the_same_in_fewer_bits(tiny_flux, small_flux):
    captions = ["mochi sits in a forest", "a cat"]
    whole, small = (model.encode_captions(captions)["encoder_hidden_states"] for model in (tiny_flux, small_flux))
    assert 0 < (small - whole).norm() < FARTHEST["nf4"] * whole.norm()
    assert weight_bytes(small_flux.frozen_text_encoders["t5"]) < 0.6 * weight_bytes(
        tiny_flux.frozen_text_encoders["t5"]
    )


def test_a_network_in_fewer_bits_is_not_read_before_it_is_needed_and_sleeps_like_any_other(small_flux):
    networks, t5 = small_flux.networks, small_flux.networks.shape("t5")
    assert all(weight.is_meta for name in ("denoiser", "t5") for weight in networks.shape(name).parameters())
    first = small_flux.encode_captions(["mochi"])["encoder_hidden_states"]
    assert layer_types(small_flux)
    networks.sleep("t5")
    assert "t5" in networks.sleeping() and not layer_types(small_flux)
    assert all(weight.is_meta for weight in t5.parameters())
    assert torch.equal(small_flux.encode_captions(["mochi"])["encoder_hidden_states"], first)
    assert small_flux.frozen_text_encoders["t5"] is t5 and layer_types(small_flux)


def test_a_network_that_is_in_memory_shrinks_at_once_and_can_be_put_to_sleep_as_well(tiny_flux):
    tiny_flux.encode_captions(["mochi"])
    quantize(tiny_flux, "nf4", "cpu")
    first = tiny_flux.encode_captions(["mochi"])["encoder_hidden_states"]
    assert layer_types(tiny_flux)
    tiny_flux.networks.sleep("t5")
    assert all(weight.is_meta for weight in tiny_flux.networks.shape("t5").parameters())
    assert torch.equal(tiny_flux.encode_captions(["mochi"])["encoder_hidden_states"], first)


def test_encoded_captions_of_fewer_bits_are_known_by_their_weights(tiny_flux, small_flux):
    before = fingerprint_module(small_flux.frozen_text_encoders["t5"])
    small_flux.encode_captions(["mochi"])
    assert fingerprint_module(small_flux.frozen_text_encoders["t5"]) == before
    assert fingerprint_module(tiny_flux.frozen_text_encoders["t5"]) != before


def test_what_t5_keeps_finer_in_fp16_stays_as_it_is(tiny_flux_folder):
    model = load_model(ModelConfig(family="flux", base=str(tiny_flux_folder)), "fp16", "cpu", "nf4")
    feed_forward = model.frozen_text_encoders["t5"].encoder.block[0].layer[1].DenseReluDense
    assert type(feed_forward.wo) is torch.nn.Linear and feed_forward.wo.weight.dtype == torch.float32
    assert type(feed_forward.wi_0).__name__ == "Linear4bit"


@pytest.mark.parametrize(
    "kind", [kind for kind in ("locon", "loha", "lokr") if kind in choices_of(AdapterConfig.model_fields["kind"])]
)
def test_only_lora_and_dora_go_beside_fewer_bits(kind):
    with pytest.raises(ConfigError, match="quantization"):
        make_config({"adapter": {"kind": kind}, "run": {"quantization": "nf4"}})


def test_every_choice_has_its_function():
    import typing

    from lora_nb.config import RunConfig

    assert set(typing.get_args(RunConfig.model_fields["quantization"].annotation)) == set(QUANTIZERS)
