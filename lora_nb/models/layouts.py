"""Where is each weight of a model in a checkpoint of the original programs? The names, in one direction only.

A checkpoint from Civitai keeps the names of the programs that first trained these models: LDM's for Stable Diffusion,
SGM's for SDXL, BFL's for Flux. Each function here takes one weight of a diffusers (or transformers) model by its name
and says where that program keeps it: so a model is read weight by weight, and whatever else is in the file is left.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where one weight is: a key of the checkpoint, or a share of the rows of that key."""

    key: str
    share: tuple[int, int, int] = (0, 1, 1)  # rows from first to last, in parts of so many: (1, 2, 3) is the middle
    transposed: bool = False
    halves_swapped: bool = False  # the first half of the rows is kept second


Layout = Callable[[str], Place]  # name of a weight in diffusers => its place

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "embeddings.token_embedding": "token_embedding",
    "final_layer_norm": "ln_final",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_FLUX_ENDS = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}
_FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
    "proj_out": "linear2",
}
_FLUX_THIRDS = {
    "attn.to_q": ("img_attn.qkv", 0),
    "attn.to_k": ("img_attn.qkv", 1),
    "attn.to_v": ("img_attn.qkv", 2),
    "attn.add_q_proj": ("txt_attn.qkv", 0),
    "attn.add_k_proj": ("txt_attn.qkv", 1),
    "attn.add_v_proj": ("txt_attn.qkv", 2),
}
# q, k, v and the MLP's first layer, four times as tall, are one matrix in the single blocks
_FLUX_SEVENTHS = {"attn.to_q": (0, 1, 7), "attn.to_k": (1, 2, 7), "attn.to_v": (2, 3, 7), "proj_mlp": (3, 7, 7)}


def unet_layout(config: Mapping[str, Any], prefix: str = "model.diffusion_model.") -> Layout:
    """The U-Net of Stable Diffusion 1, 2 and XL, where blocks are numbered through."""
    per_block = int(config["layers_per_block"]) + 1  # down: the resnets and a downsampler; up: one resnet more
    with_attention = ["CrossAttn" in kind for kind in config["up_block_types"]]

    def locate(name: str) -> Place:
        module, _, kind = name.rpartition(".")
        if module in _UNET_ENDS:
            return Place(f"{prefix}{_UNET_ENDS[module]}.{kind}")
        part, block, rest = _split_block(name)
        if part == "mid_block":
            layer, inner = _layer(rest)
            number = 1 if rest.startswith("attentions") else 2 * layer
            return Place(f"{prefix}middle_block.{number}.{_resnet(inner)}")
        layer, inner = _layer(rest)
        if part == "down_blocks":
            if rest.startswith("downsamplers"):
                return Place(f"{prefix}input_blocks.{(block + 1) * per_block}.0.op.{kind}")
            slot = 1 if rest.startswith("attentions") else 0
            return Place(f"{prefix}input_blocks.{1 + block * per_block + layer}.{slot}.{_resnet(inner)}")
        if rest.startswith("upsamplers"):
            slot = 2 if with_attention[block] else 1
            return Place(f"{prefix}output_blocks.{block * per_block + per_block - 1}.{slot}.conv.{kind}")
        slot = 1 if rest.startswith("attentions") else 0
        return Place(f"{prefix}output_blocks.{block * per_block + layer}.{slot}.{_resnet(inner)}")

    return locate


def vae_layout(config: Mapping[str, Any], prefix: str = "first_stage_model.") -> Layout:
    """The VAE of all families, whose decoder counts its levels from the other end."""
    last = len(config["up_block_types"]) - 1

    def locate(name: str) -> Place:
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda found: f"up.{last - int(found[1])}.block.", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{last - int(found[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
        if "mid_block.attentions.0." in name:
            name = _replace_any(name.replace("mid_block.attentions.0.", "mid.attn_1."), _VAE_ATTENTION)
        return Place(prefix + name)

    return locate


def clip_layout(prefix: str = "", wrapped: bool = True) -> Layout:
    """A CLIP text encoder with the names of the transformers package, which dropped a level in its version 5."""
    level = "text_model." if wrapped else ""
    return lambda name: Place(prefix + (name if name == "text_projection.weight" else level + _unwrap(name)))


def open_clip_layout(prefix: str) -> Layout:
    """A CLIP text encoder with OpenCLIP's names: q, k and v are one matrix, the projection is transposed."""

    def locate(name: str) -> Place:
        name = _unwrap(name)
        if name == "text_projection.weight":
            return Place(f"{prefix}text_projection", transposed=True)
        if name == "embeddings.position_embedding.weight":
            return Place(f"{prefix}positional_embedding")
        found = re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
        if found:
            third = "qkv".index(found[2])
            key = f"{prefix}transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}"
            return Place(key, share=(third, third + 1, 3))
        return Place(prefix + _replace_any(name, _OPEN_CLIP).replace("encoder.layers.", "transformer.resblocks."))

    return locate


def t5_layout(prefix: str = "") -> Layout:
    """T5's encoder keeps its names; the table of words, which has two, is kept as `shared`."""
    return lambda name: Place(prefix + name.replace("encoder.embed_tokens.", "shared."))


def flux_layout(prefix: str) -> Layout:
    """The Flux transformer with Black Forest Labs' names."""

    def locate(name: str) -> Place:
        module, _, kind = name.rpartition(".")
        if module in _FLUX_ENDS:
            return Place(f"{prefix}{_FLUX_ENDS[module]}.{kind}")
        if module == "norm_out.linear":  # scale and shift stand the other way round
            return Place(f"{prefix}final_layer.adaLN_modulation.1.{kind}", halves_swapped=True)
        part, block, _ = _split_block(name)
        inner = module.split(".", 2)[2]
        kind = "scale" if ".norm_" in module else kind
        if part == "single_transformer_blocks":
            home = f"{prefix}single_blocks.{block}"
            if inner in _FLUX_SEVENTHS:
                return Place(f"{home}.linear1.{kind}", share=_FLUX_SEVENTHS[inner])
            return Place(f"{home}.{_FLUX_SINGLE[inner]}.{kind}")
        home = f"{prefix}double_blocks.{block}"
        if inner in _FLUX_THIRDS:
            key, third = _FLUX_THIRDS[inner]
            return Place(f"{home}.{key}.{kind}", share=(third, third + 1, 3))
        return Place(f"{home}.{_FLUX_DOUBLE[inner]}.{kind}")

    return locate


def _unwrap(name: str) -> str:
    return name.removeprefix("text_model.")


def _split_block(name: str) -> tuple[str, int, str]:
    """ "down_blocks.1.resnets.0.conv1.weight" => ("down_blocks", 1, "resnets.0.conv1.weight")"""
    part, _, rest = name.partition(".")
    if part == "mid_block":  # there is one
        return part, 0, rest
    number, _, rest = rest.partition(".")
    return part, int(number), rest


def _layer(name: str) -> tuple[int, str]:
    """ "resnets.0.conv1.weight" => (0, "conv1.weight")"""
    _, number, inner = name.split(".", 2)
    return int(number), inner


def _resnet(name: str) -> str:
    module, _, kind = name.rpartition(".")
    return f"{_RESNET.get(module, module)}.{kind}"


def _replace_any(name: str, names: Mapping[str, str]) -> str:
    """Replace the one part of a dotted name that has another name there."""
    for ours, theirs in names.items():
        if f".{ours}." in f".{name}":
            return f".{name}".replace(f".{ours}.", f".{theirs}.")[1:]
    return name
