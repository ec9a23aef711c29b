"""Every kind of adapter, on linear layers, 1x1 and 3x3 convolutions: trained, written, read, attached, merged."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lora_nb.adapters.attached import attach_lora, detach_lora, set_lora_weight
from lora_nb.adapters.files import lora_summary, read_lora, save_lora
from lora_nb.adapters.kinds import ADAPTERS, _factors, add_adapter, remove_adapter
from lora_nb.adapters.layers import ATTACHED, TRAINED, layers_of, modules_of, unwrapped, weight_of
from lora_nb.adapters.modules import DoraModule, LohaModule, LokrModule, kind_of
from lora_nb.adapters.reading import name_some
from lora_nb.config import AdapterConfig
from lora_nb.errors import LoraFileError
from tests.adapters.helpers import add_trained, load_in_diffusers, predict

KINDS = {
    "lora": {"kind": "lora"},
    "locon": {"kind": "locon", "conv_rank": 3, "conv_alpha": 2},
    "loha": {"kind": "loha", "conv_rank": 3, "conv_alpha": 2, "alpha": 1.0},
    "lokr": {"kind": "lokr", "conv_rank": 2, "conv_alpha": 1, "lokr_factor": 2},
    "whole lokr": {"kind": "lokr", "conv_rank": 64, "conv_alpha": 1, "rank": 64},
    "dora": {"kind": "dora", "conv_rank": 3, "conv_alpha": 2},
    "stabilized": {"kind": "locon", "conv_rank": 3, "conv_alpha": 2, "rank_stabilized": True},
}


@pytest.fixture(params=KINDS)
def options(request):
    return KINDS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mochi.safetensors"


def reconstruct(tensors, name, weight):
    """What the web UIs and LyCORIS add to a layer's weight, written down from their formulas alone."""
    part = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    alpha, shape = part["alpha"].item(), weight.shape
    if "hada_w1_a" in part:
        product = (part["hada_w1_a"] @ part["hada_w1_b"]) * (part["hada_w2_a"] @ part["hada_w2_b"])
        return product.reshape(shape) * alpha / part["hada_w1_b"].shape[0]
    if "lokr_w1" in part:
        large = part["lokr_w2"] if "lokr_w2" in part else part["lokr_w2_a"] @ part["lokr_w2_b"]
        scale = 1 if "lokr_w2" in part else alpha / part["lokr_w2_b"].shape[0]
        rows, columns = part["lokr_w1"].shape
        large = large.reshape(shape[0] // rows, shape[1] // columns, *shape[2:])
        blocks = [torch.cat([value * large for value in row], dim=1) for row in part["lokr_w1"]]
        return torch.cat(blocks, dim=0) * scale
    down, up = part["lora_down.weight"], part["lora_up.weight"]
    delta = torch.einsum("or,r...->o...", up.flatten(1), down).reshape(shape) * alpha / down.shape[0]
    if "dora_scale" not in part:
        return delta
    changed = weight + delta
    length = changed.flatten(1).norm(dim=1).reshape(part["dora_scale"].shape)
    return changed * part["dora_scale"] / length - weight


def deltas(model, name):
    return {
        key: module.delta(weight_of(layers_of(model, name)[key])) for key, module in modules_of(model, name).items()
    }


def measured(layer):
    """What a wrapped layer does beyond its own weight, found by asking it: (out, in * kernel * kernel)."""
    own = unwrapped(layer)
    if isinstance(own, nn.Linear):
        eye = torch.eye(own.in_features)
        return (layer(eye) - own(eye)).T
    size = own.kernel_size[0]
    units = torch.eye(own.in_channels * size * size).reshape(-1, own.in_channels, size, size)
    middle = size // 2 if own.stride == (1, 1) else 0
    pad = own.padding[0]
    canvas = torch.zeros(len(units), own.in_channels, 5, 5)
    canvas[:, :, 1 : 1 + size, 1 : 1 + size] = units
    added = layer(canvas) - own(canvas)
    at = (1 + pad) // own.stride[0]
    assert middle >= 0
    return added[:, :, at, at].T


@torch.no_grad()
def test_what_is_trained_written_read_and_reconstructed_is_the_same_update(tiny_sd1, path, options):
    add_trained(tiny_sd1, **{"rank": 4, "alpha": 3.0} | options)
    layers = layers_of(tiny_sd1, TRAINED)
    shapes = Counter(tuple(weight_of(layer).shape[2:]) for layer in layers.values())
    assert shapes[()] and shapes[1, 1] and (shapes[3, 3] or options["kind"] == "lora")
    acts = {key: measured(layer) for key, layer in layers.items()}
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    file, tensors = read_lora(path), load_file(path)
    assert file.modules.keys() == acts.keys()
    wrong = []
    for key, act in acts.items():
        weight = weight_of(layers[key])
        read = file.modules[key].delta(weight)
        theirs = reconstruct(tensors, key, weight).flatten(1)
        for delta in (read, theirs):
            if (delta - act).norm() > 1e-5 * max(act.norm(), weight.norm() if options["kind"] == "dora" else 0):
                wrong.append(key)
        assert act.abs().max() > 1e-3, key
    assert not wrong, name_some(wrong)


@torch.no_grad()
@pytest.mark.parametrize("weight", [1.0, 0.4, -0.7])
def test_an_attached_file_equals_merged_weights_at_any_weight(tiny_sd1, path, options, weight):
    base = predict(tiny_sd1)
    add_trained(tiny_sd1, size=0.1, **{"rank": 4, "alpha": 3.0} | options)
    trained = predict(tiny_sd1)
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    remove_adapter(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), base)
    attach_lora(tiny_sd1, read_lora(path))
    if weight == 1:
        torch.testing.assert_close(predict(tiny_sd1), trained, atol=1e-5, rtol=1e-5)
    set_lora_weight(tiny_sd1, weight)
    attached = predict(tiny_sd1)
    added = deltas(tiny_sd1, ATTACHED)
    set_lora_weight(tiny_sd1, 0)
    assert torch.equal(predict(tiny_sd1), base)
    layers = {key: unwrapped(layer) for key, layer in layers_of(tiny_sd1, ATTACHED).items()}
    detach_lora(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), base)
    for key, layer in layers.items():
        layer.weight += weight * added[key].reshape(layer.weight.shape)
    torch.testing.assert_close(attached, predict(tiny_sd1), atol=2e-4, rtol=1e-3)
    assert (attached - base).abs().max() > 1e-3


def test_a_new_one_changes_nothing_and_all_of_it_learns(tiny_sd1, options):
    before = predict(tiny_sd1)
    parameters = add_adapter(tiny_sd1, AdapterConfig(**{"rank": 4, "alpha": 3.0} | options), seed=0)
    assert torch.equal(predict(tiny_sd1), before)
    remove_adapter(tiny_sd1)
    parameters = add_trained(tiny_sd1, size=0.1, **{"rank": 4, "alpha": 3.0} | options)
    latents = torch.ones(1, 4, 8, 8)
    tiny_sd1.predict(latents, torch.tensor([9]), tiny_sd1.encode_captions(["a cat"])).square().sum().backward()
    for part in parameters.values():
        assert all(value.dtype == torch.float32 and value.grad.abs().sum() > 0 for value in part)
    count = sum(len(part) for part in parameters.values())
    named = [*tiny_sd1.denoiser.named_parameters(), *tiny_sd1.text_encoders["lora_te"].named_parameters()]
    assert sum(value.requires_grad for _, value in named) == count


def test_kinds_mixed_in_one_file_and_with_a_trained_one_act_together(tiny_sd1, tmp_path):
    files = {}
    for kind in ("lora", "loha", "lokr", "dora"):
        add_trained(tiny_sd1, rank=2, alpha=1.0, size=0.1, kind=kind)
        save_lora(tiny_sd1, tmp_path / f"{kind}.safetensors", precision="fp32", metadata={})
        files[kind] = load_file(tmp_path / f"{kind}.safetensors")
    names = sorted(modules_of(tiny_sd1, TRAINED))
    chosen = {name: sorted(files)[number % 4] for number, name in enumerate(names)}
    mixed = {
        key: value
        for kind, tensors in files.items()
        for key, value in tensors.items()
        if chosen[key.partition(".")[0]] == kind
    }
    save_file(mixed, tmp_path / "mixed.safetensors")
    file = read_lora(tmp_path / "mixed.safetensors")
    assert Counter(kind_of(module) for module in file.modules.values()) == Counter(chosen.values())
    assert lora_summary(file)["kinds"] == dict(Counter(chosen.values()))

    remove_adapter(tiny_sd1)
    base = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    alone = predict(tiny_sd1)
    for kind in ("lora", "loha"):
        add_trained(tiny_sd1, rank=2, alpha=1.0, size=0.1, kind=kind)
        assert modules_of(tiny_sd1, ATTACHED).keys() == modules_of(tiny_sd1, TRAINED).keys() == set(names)
        both = predict(tiny_sd1)
        set_lora_weight(tiny_sd1, 0)
        assert not torch.equal(both, predict(tiny_sd1)) and not torch.equal(both, alone)
        set_lora_weight(tiny_sd1, 1)
        remove_adapter(tiny_sd1)
        assert torch.equal(predict(tiny_sd1), alone)
    detach_lora(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), base)


@pytest.mark.parametrize("kind", ["lora", "locon"])
def test_plain_diffusers_applies_the_same_update(tiny_sd1, tiny_sd1_folder, path, kind):
    from diffusers import StableDiffusionPipeline

    add_trained(tiny_sd1, **{"rank": 4, "alpha": 3.0, "train_text_encoder": False} | KINDS[kind])
    expected = {key: module.delta().detach() for key, module in modules_of(tiny_sd1, TRAINED).items()}
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd1_folder)
    load_in_diffusers(pipeline, path)
    found = {
        tiny_sd1.key_name("lora_unet", name): layer.get_delta_weight("theirs").flatten(1)
        for name, layer in pipeline.unet.named_modules()
        if "theirs" in getattr(layer, "lora_A", {})
    }
    assert found.keys() == expected.keys()
    for key, delta in found.items():
        torch.testing.assert_close(delta, expected[key], atol=1e-6, rtol=1e-5)


def test_lokr_factors_are_those_of_lycoris():
    table = {  # of its documentation: width => factors for -1, 2, 4, 8, 16
        127: [(1, 127)] * 5,
        128: [(8, 16), (2, 64), (4, 32), (8, 16), (8, 16)],
        250: [(10, 25), (2, 125), (2, 125), (5, 50), (10, 25)],
        360: [(18, 20), (2, 180), (4, 90), (8, 45), (15, 24)],
        512: [(16, 32), (2, 256), (4, 128), (8, 64), (16, 32)],
        1024: [(32, 32), (2, 512), (4, 256), (8, 128), (16, 64)],
    }
    from peft.tuners.lokr.layer import factorization

    for width, expected in table.items():
        assert [_factors(width, factor) for factor in (0, 2, 4, 8, 16)] == expected
    for width in (320, 640, 1280, 768, 3072, 77, 100):
        for factor in (0, 2, 3, 4, 8, 16, 50):
            assert _factors(width, factor) == tuple(sorted(factorization(width, factor or -1)))


def test_locon_on_full_sd1_has_kohyas_names_and_shapes():
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.adapters.test_kinds import full_sd1

    reference = json.loads((Path(__file__).parents[1] / "data" / "lora_keys_sd1_locon.json").read_text())
    model = full_sd1(UNet2DConditionModel, CLIPTextConfig, CLIPTextModel)
    names = ("rank", "alpha", "conv_rank", "conv_alpha")
    add_adapter(model, AdapterConfig(kind="locon", **{name: reference[name] for name in names}), seed=0)
    shapes = {}
    for key, module in modules_of(model, TRAINED).items():
        shapes |= {f"{key}.lora_down.weight": [*module.down.shape], f"{key}.lora_up.weight": [*module.up.shape]}
        shapes[f"{key}.alpha"] = []
    assert shapes == reference["tensors"]


def test_a_dora_of_columns_is_refused(tiny_sd1, path):
    add_trained(tiny_sd1, rank=2, alpha=1.0, kind="dora")
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    tensors = load_file(path)
    name = next(key for key in tensors if key.endswith("dora_scale") and "ff_net_2" in key)
    save_file(tensors | {name: torch.ones(1, 128)}, path)
    with pytest.raises(LoraFileError, match=f"{name.partition('.')[0]} do not fit"):
        read_lora(path)


@pytest.mark.parametrize(("kind", "drop"), [("loha", "hada_w2_b"), ("lokr", "lokr_w1"), ("lokr", "lokr_w2_a")])
def test_half_of_a_lycoris_layer_is_refused(tiny_sd1, path, kind, drop):
    add_trained(tiny_sd1, rank=2, alpha=1.0, kind=kind)
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    tensors = load_file(path)
    name = next(key for key in tensors if key.endswith(drop))
    del tensors[name]
    save_file(tensors, path)
    with pytest.raises(LoraFileError, match=f"lacks.*{name.partition('.')[0]}"):
        read_lora(path)


def test_every_kind_is_told_by_its_tensors(tiny_sd1, path):
    kinds = {"loha": LohaModule, "lokr": LokrModule, "dora": DoraModule}
    for kind, expected in kinds.items():
        add_trained(tiny_sd1, rank=2, alpha=1.0, kind=kind)
        save_lora(tiny_sd1, path, precision="fp16", metadata={})
        assert {type(module) for module in read_lora(path).modules.values()} == {expected}
    assert kinds.keys() <= ADAPTERS.keys()
