"""The small matrices: where they sit, how they start, and that they go again without a trace."""

import json
import math
from pathlib import Path

import torch

from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.adapters.layers import TRAINED, layers_of, matrices_of, modules_of
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.stable_diffusion import Parts, StableDiffusion
from tests.adapters.helpers import add_trained, predict
from tests.tiny_models import SCHEDULER, make_vae

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "lora_keys_sd1.json").read_text())


def full_sd1(unet_class, config_class, text_encoder_class):
    with torch.device("meta"):  # shapes without numbers: no memory, no time
        unet = unet_class(cross_attention_dim=768, attention_head_dim=8)
        sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        text_encoder = text_encoder_class(config_class(**sizes))
    return StableDiffusion(ModelConfig(base="sd15"), Parts(unet, text_encoder, make_vae(), None, SCHEDULER))


def test_full_sd1_gets_the_same_layers_names_and_shapes_as_from_kohya():
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    model = full_sd1(UNet2DConditionModel, CLIPTextConfig, CLIPTextModel)
    assert len(model.target_modules("lora_unet")) == 192
    assert len(model.target_modules("lora_te")) == 72

    add_adapter(model, AdapterConfig(rank=REFERENCE["rank"], alpha=REFERENCE["alpha"]), seed=0)
    shapes = {}
    for key, layer in layers_of(model, TRAINED).items():
        down, up = matrices_of(layer, TRAINED)
        shapes |= {f"{key}.lora_down.weight": [*down.shape], f"{key}.lora_up.weight": [*up.shape], f"{key}.alpha": []}
        assert layer.lora_alpha[TRAINED] == REFERENCE["alpha"]
    assert shapes == REFERENCE["tensors"]


def test_new_adapter_changes_nothing_before_training(tiny_sd1):
    before = predict(tiny_sd1)
    add_adapter(tiny_sd1, AdapterConfig(rank=4, alpha=2), seed=1)
    assert torch.equal(predict(tiny_sd1), before)


def test_only_the_small_matrices_are_trained_and_all_of_them(tiny_sd1):
    parameters = add_trained(tiny_sd1)
    assert {prefix: len(part) for prefix, part in parameters.items()} == {"lora_unet": 2 * 48, "lora_te": 2 * 18}
    named = [*tiny_sd1.denoiser.named_parameters(), *tiny_sd1.text_encoders["lora_te"].named_parameters()]
    assert all(parameter.requires_grad == (".lora_" in name) for name, parameter in named)
    latents = torch.ones(1, 4, 8, 8)
    tiny_sd1.predict(latents, torch.tensor([9]), tiny_sd1.encode_captions(["a cat"])).square().sum().backward()
    for part in parameters.values():
        assert all(parameter.dtype == torch.float32 and parameter.grad.abs().sum() > 0 for parameter in part)


def test_a_frozen_text_encoder_gets_none(tiny_sd1):
    parameters = add_adapter(tiny_sd1, AdapterConfig(train_text_encoder=False), seed=0)
    assert list(parameters) == ["lora_unet"]
    assert not any("lora" in name for name, _ in tiny_sd1.text_encoders["lora_te"].named_modules())


def test_first_values_depend_on_the_seed_and_the_layer_alone(tiny_sd1):
    def first_values(seed, **options):
        add_adapter(tiny_sd1, AdapterConfig(rank=4, alpha=2, **options), seed=seed)
        return {key: matrices_of(layer, TRAINED)[0].detach() for key, layer in layers_of(tiny_sd1, TRAINED).items()}

    one, (torch_state, _) = first_values(7), (torch.get_rng_state(), torch.randn(3))
    state = torch.get_rng_state()
    again, unet_only, other = first_values(7), first_values(7, train_text_encoder=False), first_values(8)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(torch_state, state)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert all(torch.equal(one[key], unet_only[key]) for key in unet_only)
    assert not any(torch.equal(one[key], other[key]) for key in one)


def test_first_values_are_spread_as_kohyas(tiny_sd1):
    add_adapter(tiny_sd1, AdapterConfig(rank=64, alpha=2), seed=0)
    for layer in layers_of(tiny_sd1, TRAINED).values():
        down, up = matrices_of(layer, TRAINED)
        bound = 1 / math.sqrt(down[0].numel())  # kaiming-uniform with a = sqrt(5)
        assert 0.95 * bound < down.abs().max() <= bound
        assert abs(down.mean()) < 0.1 * bound
        assert not up.any()


def test_removing_leaves_the_model_as_it_was(tiny_sd1):
    parts = tiny_sd1.trained_modules().values()
    names = [[name for name, _ in part.named_modules()] for part in parts]
    before = predict(tiny_sd1)
    add_trained(tiny_sd1)
    assert not torch.equal(predict(tiny_sd1), before)
    remove_adapter(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), before)
    assert names == [[name for name, _ in part.named_modules()] for part in parts]
    assert not any(hasattr(part, "peft_config") for part in parts)


def test_adding_again_replaces_it(tiny_sd1):
    add_trained(tiny_sd1, rank=4)
    before_training = add_adapter(tiny_sd1, AdapterConfig(rank=2, alpha=2), seed=0)
    assert {layer.r[TRAINED] for layer in layers_of(tiny_sd1, TRAINED).values()} == {2}
    assert before_training["lora_unet"][0].shape[0] == 2


def test_small_matrices_stay_float32_on_a_half_precision_model(tiny_sd1):
    tiny_sd1.to(dtype=torch.bfloat16)
    parameters = add_trained(tiny_sd1)
    assert {parameter.dtype for part in parameters.values() for parameter in part} == {torch.float32}
    assert predict(tiny_sd1).dtype == torch.bfloat16


def test_an_adapter_put_on_a_sleeping_text_encoder_reads_its_weights(tiny_sd1):
    expected = modules_of_new(tiny_sd1, "dora")  # a DoRA starts from the lengths of the weights themselves
    remove_adapter(tiny_sd1)
    tiny_sd1.networks.sleep("lora_te")
    found = modules_of_new(tiny_sd1, "dora")
    assert all(torch.equal(found[key].dora_scale, module.dora_scale) for key, module in expected.items())


def modules_of_new(model, kind):
    add_adapter(model, AdapterConfig(kind=kind, rank=4, alpha=2), seed=0)
    return modules_of(model, TRAINED)
