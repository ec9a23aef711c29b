"""What other programs call a layer. LoRA files name layers as the model's first authors did, not as diffusers does."""

import re

# inside a U-Net's residual block: diffusers' name => the original's
RESNET_LAYERS = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def sgm_name(name: str, layers_per_block: int) -> str:
    """A layer of SDXL's U-Net as Stability's generative-models call it, where all blocks are counted through.

    "down_blocks.1.attentions.0.proj_in" => "input_blocks.4.1.proj_in"
    """
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)|mid_block\.(\w+)\.(\d+)\.(.+)", name)
    if not match:
        return name
    if match[6]:
        rest = match[8]
        place = 1 if match[6] == "attentions" else 2 * int(match[7])
        return f"middle_block.{place}.{_inside(match[6], rest)}"
    side, block, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    size = layers_per_block + 1
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * size}.0.op"
    if kind == "upsamplers":  # it follows the last layer of its block, behind attention where there is any
        return f"output_blocks.{(block + 1) * size - 1}.2.{rest}"
    first = f"input_blocks.{block * size + 1 + number}" if side == "down" else f"output_blocks.{block * size + number}"
    return f"{first}.{1 if kind == 'attentions' else 0}.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    return RESNET_LAYERS.get(rest, rest) if kind == "resnets" else rest
