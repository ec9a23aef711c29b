"""A base model in fewer bits: smaller, nearly the same, and its LoRA is a LoRA like any other."""

import pytest
import torch

from lora_nb.config import AdapterConfig, ModelConfig, choices_of
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.models.base import load_model
from lora_nb.models.quantization import QUANTIZERS, weight_bytes

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
