"""Blocks, rates, dropout, norms and continuing: every setting of the adapter does what it says."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_nb.adapters.blocks import kohya_block
from lora_nb.adapters.dropout import set_dropout_time, without_dropout
from lora_nb.adapters.files import read_lora
from lora_nb.adapters.groups import parameter_groups
from lora_nb.adapters.kinds import add_adapter
from lora_nb.adapters.layers import TRAINED, layers_of, modules_of
from lora_nb.adapters.norms import scale_weight_norms, update_length
from lora_nb.config import AdapterConfig, OptimizerConfig
from lora_nb.errors import ConfigError, LoraFileError
from tests.adapters.helpers import add_trained, predict, save_trained


def ranks(model, **options):
    add_adapter(model, AdapterConfig(**{"rank": 4, "alpha": 2} | options), seed=0)
    return {key: module.rank for key, module in modules_of(model, TRAINED).items()}


def test_blocks_have_kohyas_numbers():
    assert kohya_block("lora_unet_down_blocks_1_attentions_0_proj_in") == "IN04"
    assert kohya_block("lora_unet_down_blocks_0_downsamplers_0_conv") == "IN03"
    assert kohya_block("lora_unet_mid_block_attentions_0_proj_in") == "MID"
    assert kohya_block("lora_unet_up_blocks_3_attentions_2_proj_in") == "OUT11"
    assert kohya_block("lora_unet_up_blocks_0_upsamplers_0_conv") == "OUT02"
    assert kohya_block("lora_unet_input_blocks_4_1_proj_in") == "IN04"
    assert kohya_block("lora_unet_output_blocks_5_1_proj_in") == "OUT05"
    assert kohya_block("lora_te_text_model_encoder_layers_0_mlp_fc1") == ""


def test_blocks_get_their_own_rank_and_the_longest_name_counts(tiny_sd1):
    table = {"mid_block": 2, "down_blocks": 8, "down_blocks.0": 3, "OUT03": 0, "lora_te.encoder.layers.1": 1}
    found = ranks(tiny_sd1, block_ranks=table)
    assert {rank for key, rank in found.items() if "_mid_" in key} == {2}
    assert {rank for key, rank in found.items() if "_down_blocks_0" in key} == {3}
    assert not any("_up_blocks_1_attentions_0_" in key for key in found)
    assert {rank for key, rank in found.items() if key.startswith("lora_te")} == {1, 4}
    assert sum(rank == 1 for rank in found.values()) == 6


def test_blocks_that_are_not_there_are_named(tiny_sd1):
    with pytest.raises(ConfigError, match=r"(?s)mid_blok.*mid_block"):
        ranks(tiny_sd1, block_ranks={"mid_blok": 2})
    with pytest.raises(ConfigError, match="nothing to train"):
        ranks(tiny_sd1, train_text_encoder=False, block_ranks={"lora_unet": 0})


def test_layers_and_parts_are_chosen(tiny_sd1):
    everything, attention = set(ranks(tiny_sd1)), set(ranks(tiny_sd1, layers="attention"))
    mlp = set(ranks(tiny_sd1, layers="attention_mlp"))
    assert attention < mlp < everything
    assert all("_attn" in key for key in attention)
    assert all("_ff_" in key or "_mlp_" in key for key in mlp - attention)
    assert all("_proj_in" in key or "_proj_out" in key for key in everything - mlp)
    assert all(key.startswith("lora_te_") for key in ranks(tiny_sd1, train_denoiser=False))


def test_every_group_has_its_rate(tiny_sd1):
    config = AdapterConfig(rank=4, alpha=2, block_learning_rates={"mid_block": 0.5, "up_blocks.1": 0})
    parameters = add_adapter(tiny_sd1, config, seed=0)
    optimizer = OptimizerConfig(learning_rate=1e-3, text_encoder_learning_rate=1e-4, loraplus_ratio=16)
    groups = {group["name"]: group for group in parameter_groups(tiny_sd1, config, optimizer)}
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates == pytest.approx(
        {
            "lora_unet": 1e-3,
            "lora_unet up": 16e-3,
            "lora_unet x0.5": 5e-4,
            "lora_unet x0.5 up": 8e-3,
            "lora_te": 1e-4,
            "lora_te up": 16e-4,
        }
    )
    grouped = [id(value) for group in groups.values() for value in group["params"]]
    assert sorted(grouped) == sorted(id(value) for part in parameters.values() for value in part)
    ups = {id(layer.lora_B[TRAINED].weight) for layer in layers_of(tiny_sd1, TRAINED).values()}
    assert all(
        (id(value) in ups) == name.endswith(" up") for name, group in groups.items() for value in group["params"]
    )
    assert not any("_up_blocks_1_" in key for key in modules_of(tiny_sd1, TRAINED))


def test_rank_stabilized_is_alpha_over_the_root_of_the_rank(tiny_sd1):
    for kind in ("lora", "loha", "dora"):
        add_adapter(tiny_sd1, AdapterConfig(kind=kind, rank=9, alpha=2, rank_stabilized=True), seed=0)
        assert all(math.isclose(module.scale, 2 / 3) for module in modules_of(tiny_sd1, TRAINED).values())


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"rank_dropout": 0.5},
        {"module_dropout": 0.5},
        {"kind": "locon", "dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3},
        {"kind": "loha", "rank_dropout": 0.5, "module_dropout": 0.3},
        {"kind": "lokr", "rank_dropout": 0.5, "module_dropout": 0.3},
        {"kind": "dora", "module_dropout": 0.5},
    ],
)
def test_dropout_is_a_function_of_the_step_and_only_acts_in_training(tiny_sd1, options):
    name, value = next((name, value) for name, value in options.items() if name.endswith("dropout"))
    add_trained(tiny_sd1, rank=4, alpha=2, **options | {name: 0.0} if len(options) == 1 else {"kind": options["kind"]})
    whole = predict(tiny_sd1)
    add_trained(tiny_sd1, rank=4, alpha=2, **options)
    state = torch.get_rng_state()
    seen = []
    for step in (1, 2, 1):
        set_dropout_time(tiny_sd1, step, 0)
        seen.append(predict(tiny_sd1))
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
    assert torch.equal(torch.get_rng_state(), state), "nobody else's chance is touched"
    assert value
    with without_dropout(tiny_sd1):
        torch.testing.assert_close(predict(tiny_sd1), whole)
    assert torch.equal(predict(tiny_sd1), seen[2])


def test_dropout_keeps_the_mean_and_drops_whole_ranks(tiny_sd1):
    add_trained(tiny_sd1, rank=64, alpha=64, rank_dropout=0.25)
    layer = next(layer for key, layer in layers_of(tiny_sd1, TRAINED).items() if key.endswith("attn1_to_q"))
    down, inputs = layer.lora_A[TRAINED], torch.randn(3, 5, layer.in_features)
    with without_dropout(tiny_sd1):
        plain = down(inputs)
    ratio = (down(inputs) / plain).detach()  # (3, 5, 64)
    assert ratio.std(dim=1).max() < 1e-4, "the same ranks at every place of a picture"
    assert {round(value, 3) for value in ratio[:, 0].flatten().tolist()} == {0.0, round(1 / 0.75, 3)}
    assert not torch.equal(ratio[0, 0], ratio[1, 0]), "other ranks for every picture"


@pytest.mark.parametrize("kind", ["lora", "locon", "lokr"])
def test_long_updates_are_shortened_as_by_kohya(tiny_sd1, kind):
    add_trained(tiny_sd1, rank=4, alpha=2, kind=kind)
    before = {key: module.delta().detach() for key, module in modules_of(tiny_sd1, TRAINED).items()}
    lengths = sorted(delta.norm().item() for delta in before.values())
    for key, module in modules_of(tiny_sd1, TRAINED).items():
        assert update_length(module).item() == pytest.approx(before[key].norm().item(), rel=1e-4)
    limit = lengths[len(lengths) // 2]
    scale_weight_norms(tiny_sd1, limit)
    for key, module in modules_of(tiny_sd1, TRAINED).items():
        norm = before[key].norm().clamp(min=limit / 2)
        expected = before[key] * (norm.clamp(max=limit) / norm)
        torch.testing.assert_close(module.delta(), expected, atol=1e-5, rtol=1e-3)


def test_a_training_goes_on_from_a_file_of_any_ranks(tiny_sd1, tmp_path):
    path = save_trained(tiny_sd1, tmp_path / "first.safetensors", rank=6, alpha=3)
    tensors = load_file(path)
    tensors = {key: value for key, value in tensors.items() if not key.startswith("lora_te_")}
    for number, key in enumerate(key for key in list(tensors) if key.endswith("lora_down.weight")):
        up, rank = key.replace("lora_down", "lora_up"), 2 + number % 4
        tensors[key], tensors[up] = tensors[key][:rank].contiguous(), tensors[up][:, :rank].contiguous()
    save_file(tensors, path)  # dynamic ranks and no text encoder, as from another program
    file = read_lora(path)
    add_adapter(tiny_sd1, AdapterConfig(rank=1, alpha=1, continue_from=str(path)), seed=0)
    found = modules_of(tiny_sd1, TRAINED)
    for key, module in file.modules.items():
        assert (found[key].rank, found[key].alpha) == (module.rank, 3)
        torch.testing.assert_close(found[key].delta(), module.delta(), atol=1e-6, rtol=1e-5)
    fresh = found.keys() - file.modules.keys()
    assert len(fresh) == 18 and all(found[key].rank == 1 and not found[key].delta().any() for key in fresh)


def test_what_would_be_lost_of_a_file_or_is_another_kind_is_refused(tiny_sd1, tmp_path):
    path = str(save_trained(tiny_sd1, tmp_path / "first.safetensors"))
    with pytest.raises(LoraFileError, match="would be lost"):
        add_adapter(tiny_sd1, AdapterConfig(train_text_encoder=False, continue_from=path), seed=0)
    with pytest.raises(LoraFileError, match=r"is a lora, but adapter.kind is 'loha'"):
        add_adapter(tiny_sd1, AdapterConfig(kind="loha", continue_from=path), seed=0)
