"""LoRA files on a model: any strength, no reload, nothing left behind."""

import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_nb.adapters.attached import attach_lora, detach_lora, set_lora_weight
from lora_nb.adapters.files import read_lora
from lora_nb.adapters.kinds import remove_adapter
from lora_nb.adapters.layers import ATTACHED, TRAINED, layers_of
from lora_nb.errors import LoraFileError
from tests.adapters.helpers import add_trained, deltas_of, predict, save_trained


@pytest.fixture
def file(tiny_sd1, tmp_path):
    return read_lora(save_trained(tiny_sd1, tmp_path / "one.safetensors", rank=4, alpha=3.0))


@pytest.fixture
def other_file(tiny_sd1, tmp_path):
    return read_lora(save_trained(tiny_sd1, tmp_path / "other.safetensors", rank=2, alpha=2.0, seed=9))


def merge(model, file, weight):
    """The base model with the LoRA added to its very weights: what every strength must equal."""
    for prefix, part in model.trained_modules().items():
        for target in model.target_modules(prefix):
            module = file.modules.get(model.key_name(prefix, target))
            if module:
                layer = part.get_submodule(target).weight
                layer.data += (weight * module.delta()).reshape(layer.shape)


@pytest.mark.parametrize("weight", [1.0, 0.35, -0.7, 2.5])
def test_attached_lora_equals_merged_weights(tiny_sd1, file, weight):
    attach_lora(tiny_sd1, file)
    set_lora_weight(tiny_sd1, weight)
    attached = predict(tiny_sd1)
    detach_lora(tiny_sd1)
    base = predict(tiny_sd1)
    merge(tiny_sd1, file, weight)
    torch.testing.assert_close(attached, predict(tiny_sd1), atol=2e-4, rtol=1e-3)
    assert (attached - base).abs().max() > 0.05


def test_at_weight_1_it_is_the_delta_that_was_trained(tiny_sd1, tmp_path):
    from lora_nb.adapters.files import save_lora

    add_trained(tiny_sd1, rank=4, alpha=3.0)
    trained, expected = predict(tiny_sd1), deltas_of(tiny_sd1, TRAINED)
    save_lora(tiny_sd1, tmp_path / "a.safetensors", precision="fp32", metadata={})
    remove_adapter(tiny_sd1)
    attach_lora(tiny_sd1, read_lora(tmp_path / "a.safetensors"))
    assert torch.equal(predict(tiny_sd1), trained)
    for key, delta in deltas_of(tiny_sd1, ATTACHED).items():
        torch.testing.assert_close(delta, expected[key], atol=1e-6, rtol=0)


def test_weight_0_is_exactly_the_base_model_even_if_the_lora_overflows(tiny_sd1, file):
    before = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    for layer in layers_of(tiny_sd1, ATTACHED).values():
        layer.lora_B[ATTACHED].weight.data.fill_(3e38)
    set_lora_weight(tiny_sd1, 0)
    assert torch.equal(predict(tiny_sd1), before)
    set_lora_weight(tiny_sd1, 1)
    assert not torch.equal(predict(tiny_sd1), before)


def test_detaching_leaves_nothing_behind(tiny_sd1, file):
    names = [name for name, _ in tiny_sd1.denoiser.named_modules()]
    before = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    detach_lora(tiny_sd1)
    detach_lora(tiny_sd1)  # twice is no mistake
    assert torch.equal(predict(tiny_sd1), before)
    assert names == [name for name, _ in tiny_sd1.denoiser.named_modules()]
    assert tiny_sd1.attached is None
    with pytest.raises(LoraFileError, match="attach_lora"):
        set_lora_weight(tiny_sd1, 1)


def test_another_file_takes_its_place_whatever_its_rank(tiny_sd1, file, other_file):
    attach_lora(tiny_sd1, other_file)
    expected = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    set_lora_weight(tiny_sd1, 0.3)
    attach_lora(tiny_sd1, other_file)
    assert torch.equal(predict(tiny_sd1), expected)
    assert tiny_sd1.attached.weight == 1


def test_the_next_epoch_is_put_on_quickly(tiny_sd1, file, tmp_path):
    next_epoch = read_lora(save_trained(tiny_sd1, tmp_path / "next.safetensors", rank=4, alpha=3.0, seed=5))
    attach_lora(tiny_sd1, next_epoch)
    expected = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    started = time.perf_counter()
    attach_lora(tiny_sd1, next_epoch)
    assert time.perf_counter() - started < 0.5
    assert torch.equal(predict(tiny_sd1), expected)


def test_a_file_of_some_layers_with_mixed_ranks_works(tiny_sd1, file, tmp_path):
    tensors = load_file(file.path)
    names = sorted(file.modules)[::3]
    kept = {}
    for number, name in enumerate(names):
        rank = 1 + number % 3
        kept[f"{name}.lora_down.weight"] = tensors[f"{name}.lora_down.weight"][:rank].contiguous()
        kept[f"{name}.lora_up.weight"] = tensors[f"{name}.lora_up.weight"][:, :rank].contiguous()
    save_file(kept, tmp_path / "mixed.safetensors")
    mixed = read_lora(tmp_path / "mixed.safetensors")
    attach_lora(tiny_sd1, mixed)
    assert {key: layer.r[ATTACHED] for key, layer in layers_of(tiny_sd1, ATTACHED).items()} == {
        name: 1 + number % 3 for number, name in enumerate(names)
    }
    for key, delta in deltas_of(tiny_sd1, ATTACHED).items():
        torch.testing.assert_close(delta.flatten(1), mixed.modules[key].delta(), atol=1e-6, rtol=0)


def test_linear_matrices_fit_a_1x1_convolution(tiny_sd1, file, tmp_path):
    flat = {key: tensor.flatten(1) if tensor.dim() == 4 else tensor for key, tensor in load_file(file.path).items()}
    assert len({tensor.dim() for tensor in load_file(file.path).values()}) == 3
    save_file(flat, tmp_path / "flat.safetensors")
    attach_lora(tiny_sd1, file)
    expected = predict(tiny_sd1)
    attach_lora(tiny_sd1, read_lora(tmp_path / "flat.safetensors"))
    assert torch.equal(predict(tiny_sd1), expected)


def test_it_follows_the_models_precision(tiny_sd1, file):
    tiny_sd1.to(dtype=torch.bfloat16)
    attach_lora(tiny_sd1, file)
    assert {layer.lora_A[ATTACHED].weight.dtype for layer in layers_of(tiny_sd1, ATTACHED).values()} == {torch.bfloat16}
    assert torch.isfinite(predict(tiny_sd1)).all()


@pytest.mark.filterwarnings("error::UserWarning")  # peft has some for such models
def test_attached_and_trained_act_together_and_part_in_any_order(tiny_sd1, file):
    base = predict(tiny_sd1)
    parameters = add_trained(tiny_sd1, rank=2, seed=4)
    values = [parameter.detach().clone() for part in parameters.values() for parameter in part]
    alone = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)
    assert not torch.equal(predict(tiny_sd1), alone)
    set_lora_weight(tiny_sd1, 0)
    assert torch.equal(predict(tiny_sd1), alone)

    now = [
        layer for layers in tiny_sd1.trained_modules().values() for layer in layers.parameters() if layer.requires_grad
    ]
    trained = [parameter for part in parameters.values() for parameter in part]
    assert {id(parameter) for parameter in now} == {id(parameter) for parameter in trained}
    assert all(torch.equal(parameter, value) for parameter, value in zip(trained, values, strict=True))

    set_lora_weight(tiny_sd1, 1)
    remove_adapter(tiny_sd1)
    with_file = predict(tiny_sd1)
    assert not torch.equal(with_file, base)
    add_trained(tiny_sd1, rank=2, seed=4)
    detach_lora(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), alone)
    remove_adapter(tiny_sd1)
    assert torch.equal(predict(tiny_sd1), base)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "XL or Flux"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "trained on"),
        ("lora_unet_input_blocks_4_1_proj_in", "Stable Diffusion XL"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "Flux"),
        ("lora_unet_down_blocks_3_resnets_0_conv1", "trained on"),
    ],
)
def test_layers_that_the_model_lacks_are_named_and_nothing_is_changed(tiny_sd1, file, tmp_path, name, words):
    extra = {f"{name}.lora_down.weight": torch.ones(4, 8), f"{name}.lora_up.weight": torch.ones(8, 4)}
    save_file(load_file(file.path) | extra, tmp_path / "foreign.safetensors")
    attach_lora(tiny_sd1, file)
    before = predict(tiny_sd1)
    with pytest.raises(LoraFileError, match=rf"{name}.*({words})"):
        attach_lora(tiny_sd1, read_lora(tmp_path / "foreign.safetensors"))
    assert torch.equal(predict(tiny_sd1), before)


def test_layers_of_another_size_are_refused(tiny_sd1, file, tmp_path):
    tensors = load_file(file.path)
    key = next(key for key in tensors if key.endswith("to_q.lora_down.weight"))
    save_file(tensors | {key: torch.ones(4, 320)}, tmp_path / "large.safetensors")
    with pytest.raises(LoraFileError, match="other sizes"):
        attach_lora(tiny_sd1, read_lora(tmp_path / "large.safetensors"))


def test_a_lora_of_a_failed_training_is_refused(tiny_sd1, file, tmp_path):
    tensors = load_file(file.path)
    key = next(key for key in tensors if key.endswith("to_q.lora_up.weight"))
    tensors[key][0, 0] = float("nan")
    save_file(tensors, tmp_path / "nan.safetensors")
    with pytest.raises(LoraFileError, match="not numbers"):
        attach_lora(tiny_sd1, read_lora(tmp_path / "nan.safetensors"))
