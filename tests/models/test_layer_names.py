"""SDXL's layers under the names of Stability's code, convolutions included."""

import pytest
import torch
from torch import nn

from lora_nb.models.layer_names import sgm_name
from tests.models.full_size import SDXL_UNET

NAMES = {
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.resnets.1.time_emb_proj": "input_blocks.2.0.emb_layers.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
    "down_blocks.2.attentions.1.proj_out": "input_blocks.8.1.proj_out",
    "mid_block.resnets.0.conv2": "middle_block.0.out_layers.3",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "mid_block.resnets.1.conv1": "middle_block.2.in_layers.2",
    "up_blocks.0.attentions.2.transformer_blocks.9.attn2.to_k": "output_blocks.2.1.transformer_blocks.9.attn2.to_k",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.2.resnets.2.conv1": "output_blocks.8.0.in_layers.2",
}


@pytest.mark.parametrize(("ours", "theirs"), NAMES.items())
def test_layers_are_named_as_in_the_original(ours, theirs):
    assert sgm_name(ours, 2) == theirs


def test_diffusers_leads_every_name_of_the_full_unet_back_to_its_layer():
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL_UNET)
    layers = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and "blocks." in name + "." and "." in name
        if name.startswith(("down_blocks", "mid_block", "up_blocks"))
    ]
    named = {f"lora_unet_{sgm_name(name, 2).replace('.', '_')}.lora_down.weight": name for name in layers}
    assert len(named) == len(layers)  # no two layers share a name
    back = _maybe_map_sgm_blocks_to_diffusers(dict.fromkeys(named), unet.config)
    inside = {"in_layers_2": "conv1", "emb_layers_1": "time_emb_proj", "out_layers_3": "conv2"}
    inside |= {"input_blocks": "down_blocks", "middle_block": "mid_block", "output_blocks": "up_blocks"}
    inside |= {"skip_connection": "conv_shortcut", "downsamplers_0_op": "downsamplers_0_conv"}
    found = set()
    for key in back:
        name = key.removeprefix("lora_unet_").removesuffix(".lora_down.weight")
        for theirs, ours in inside.items():
            name = name.replace(theirs, ours)
        found.add(name)
    ours = {name.replace(".", "_") for name in layers}
    assert found == ours, sorted(found ^ ours)[:6]
