"""Ranks and learning rates of single blocks, as Kohya numbers them, come over by the blocks' names."""

import json
from pathlib import Path

import pytest

from lora_nb.adapters.blocks import kohya_block
from lora_nb.kohya.block_rules import SDXL, UNET, WITH_ATTENTION
from lora_nb.kohya.importing import import_values

DATA = Path(__file__).parent.parent / "data"
SD1_DIMS = ",".join(str(number + 1) for number in range(25))
SDXL_DIMS = ",".join(str(number + 1) for number in range(23))


def blocks_in(name):
    """The blocks that hold layers in a file that kohya's own trainer wrote."""
    tensors = json.loads((DATA / f"lora_keys_{name}.json").read_text())["tensors"]
    return {block for key in tensors if (block := kohya_block(key.partition(".")[0] + "_"))}


def settings_of(values):
    config = import_values(values).config
    return dict(config.adapter.block_ranks), dict(config.adapter.block_learning_rates)


def test_only_blocks_with_layers_are_named():
    """A block without layers would be refused when the training starts."""
    assert WITH_ATTENTION["sd1"] == blocks_in("sd1") and WITH_ATTENTION["sdxl"] == blocks_in("sdxl")
    assert {name for name in UNET if name} == blocks_in("sd1_locon")
    assert len(UNET) == 25 and len(SDXL) == 23, "as many numbers as kohya asks for"


def test_ranks_of_blocks_are_those_of_kohyas_numbering():
    ranks, _ = settings_of({"network_dim": 8, "block_dims": SD1_DIMS})
    assert (ranks["IN01"], ranks["IN08"], ranks["MID"], ranks["OUT03"], ranks["OUT11"]) == (2, 9, 13, 17, 25)
    assert "IN07" not in ranks, "it has network_dim"
    ranks, _ = settings_of({"network_dim": 8, "sdxl": True, "block_dims": SDXL_DIMS})
    assert (ranks["IN04"], ranks["IN08"], ranks["MID"], ranks["OUT00"], ranks["OUT05"]) == (6, 10, 12, 14, 19)
    ranks, _ = settings_of({"network_dim": 8, "conv_dim": 4, "LoRA_type": "Kohya LoCon", "block_dims": SD1_DIMS})
    assert (ranks["IN03"], ranks["OUT00"]) == (4, 14), "a LoCon reaches the blocks of convolutions, too"


def test_rates_of_blocks_come_over_together():
    down = "0,0.1,0.2,1,0.4,0.5,1,1,1,1,1,1"
    _, rates = settings_of({"down_lr_weight": down, "mid_lr_weight": "0.3", "block_lr_zero_threshold": "0.15"})
    assert rates == {"IN01": 0.0, "IN02": 0.2, "IN04": 0.4, "IN05": 0.5, "MID": 0.3}
    _, rates = settings_of({"sdxl": True, "up_lr_weight": "linear+0.5"})
    assert rates == {"OUT00": 0.5, "OUT01": 0.625, "OUT02": 0.75, "OUT03": 0.875, "OUT05": 1.125}
    findings = import_values({"down_lr_weight": down, "mid_lr_weight": "0.3"}).findings
    assert [finding.outcome for finding in findings] == ["imported", "imported"]


@pytest.mark.parametrize(
    ("values", "blocks", "ranks"),
    [
        ({"train_double_block_indices": "all", "train_single_block_indices": "all"}, "all", {}),
        ({"train_double_block_indices": "none"}, "single", {}),
        ({"train_single_block_indices": "none", "train_double_block_indices": "0,2-18"}, "double", {
            "double_blocks.1": 0}),
        ({"train_single_block_indices": "7", "single_mod_dim": "0", "train_double_block_indices": "none"}, "single", {
            **{f"single_blocks.{number}": 0 for number in range(38) if number != 7},
            "single_blocks.7.modulation": 0}),
    ],
)  # fmt: skip
def test_flux_blocks_are_chosen_as_in_kohya(values, blocks, ranks):
    result = import_values({"flux1_checkbox": True} | values)
    assert (result.config.adapter.flux_blocks, dict(result.config.adapter.block_ranks)) == (blocks, ranks)
    assert result.count()["not supported"] == 0


def test_without_any_flux_block_the_text_encoder_is_what_learns():
    values = {"flux1_checkbox": True, "train_double_block_indices": "none", "train_single_block_indices": "none"}
    assert not import_values(values).config.adapter.train_denoiser


@pytest.mark.parametrize(
    ("values", "key", "outcome"),
    [
        ({"block_dims": "4,4,4"}, "block_dims", "not supported"),
        ({"block_dims": SD1_DIMS, "LoRA_type": "LyCORIS/LoCon"}, "block_dims", "not needed"),
        ({"block_alphas": "4,4,4", "network_alpha": 4}, "block_alphas", "not needed"),
        ({"block_alphas": "4,4,2", "network_alpha": 4}, "block_alphas", "not supported"),
        ({"mid_lr_weight": "1"}, "mid_lr_weight", "not needed"),
        ({"down_lr_weight": "spiral"}, "down_lr_weight", "not supported"),
        ({"flux1_checkbox": True, "train_single_block_indices": "38"}, "train_single_block_indices", "not supported"),
        ({"train_single_block_indices": "38"}, "train_single_block_indices", "not needed"),
    ],
)
def test_what_cannot_be_brought_over_says_so(values, key, outcome):
    (finding,) = [finding for finding in import_values(values).findings if finding.key == key]
    assert finding.outcome == outcome and finding.why and not finding.settings
