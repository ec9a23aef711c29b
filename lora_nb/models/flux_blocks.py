"""Flux's transformer with its joint projections: as its authors made it, and as LoRA files know it.

diffusers splits what the original computes in one matrix product: q, k and v of each attention, and in the
single-stream blocks the MLP's first layer too. A LoRA file in the usual layout has one pair of matrices for all of
them. So the split layers are joined again before an adapter is put on: what is trained is then exactly what the file
holds, whatever the kind of adapter, and a matrix product of one wide layer is a little faster than four narrow ones.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

ADAPTED_BLOCKS = {"FluxTransformerBlock", "JoinedSingleBlock"}  # what a LoRA sits in, as in kohya's lora_flux.py

ORIGINAL_NAMES = {  # inside a block: the name here => the original's
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_qkv": "img_attn.qkv",
    "attn.to_added_qkv": "txt_attn.qkv",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "norm.linear": "modulation.lin",
    "linear1": "linear1",
    "linear2": "linear2",
}


def join_projections(transformer: Any) -> None:
    """Join the split layers of every block of diffusers' FluxTransformer2DModel, in place and one block at a time.

    What the transformer computes stays the same. Does nothing to blocks that are joined already.
    """
    for block in transformer.transformer_blocks:
        attention = block.attn
        if not attention.fused_projections:
            attention.to_qkv = _join(attention, ("to_q", "to_k", "to_v"))
            attention.to_added_qkv = _join(attention, ("add_q_proj", "add_k_proj", "add_v_proj"))
            attention.fused_projections = True  # diffusers' word, which its attention heeds
    blocks = transformer.single_transformer_blocks
    for place, block in enumerate(blocks):
        if not isinstance(block, JoinedSingleBlock):
            blocks[place] = JoinedSingleBlock(block)
    transformer._repeated_blocks = sorted(ADAPTED_BLOCKS)  # diffusers' word for what is worth compiling


def original_name(name: str) -> str:
    """ "transformer_blocks.0.attn.to_qkv" => "double_blocks.0.img_attn.qkv", as Black Forest Labs call it."""
    match = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", name)
    if not match:
        return name
    return f"{'single' if match[1] else 'double'}_blocks.{match[2]}.{ORIGINAL_NAMES[match[3]]}"


class JoinedSingleBlock(nn.Module):
    """diffusers' FluxSingleTransformerBlock with q, k, v and the MLP's first layer in one: linear1."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        block.attn.proj_mlp = block.proj_mlp  # for a moment, so that all four are in one place
        self.norm, self.act_mlp, self.linear2 = block.norm, block.act_mlp, block.proj_out
        self.linear1 = _join(block.attn, ("to_q", "to_k", "to_v", "proj_mlp"))
        self.attn = block.attn
        self.attn.to_qkv = nn.Identity()  # it gets q, k and v ready-made
        self.attn.fused_projections = True
        self.width = self.attn.inner_dim

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Picture tokens (B, N, D) and text tokens (B, T, D) => text tokens and picture tokens."""
        text_tokens = encoder_hidden_states.shape[1]
        before = torch.cat([encoder_hidden_states, hidden_states], dim=1)  # (B, T + N, D)
        normed, gate = self.norm(before, emb=temb)
        joined = self.linear1(normed)  # (B, T + N, 3 D + 4 D)
        qkv, inner = joined[..., : 3 * self.width], joined[..., 3 * self.width :]
        attended = self.attn(hidden_states=qkv, image_rotary_emb=image_rotary_emb, **(joint_attention_kwargs or {}))
        after = before + gate.unsqueeze(1) * self.linear2(torch.cat([attended, self.act_mlp(inner)], dim=2))
        if after.dtype == torch.float16:
            after = after.clip(-65504, 65504)
        return after[:, :text_tokens], after[:, text_tokens:]


@torch.no_grad()
def _join(parent: Any, names: tuple[str, ...]) -> nn.Linear:
    """Put linear layers with the same input into one, whose output is theirs side by side; they are taken away."""
    layers = [getattr(parent, name) for name in names]
    first = layers[0]
    has_bias = first.bias is not None
    joined = nn.Linear(first.in_features, sum(layer.out_features for layer in layers), bias=has_bias, device="meta")
    joined.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)
    if has_bias:
        joined.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]), requires_grad=False)
    for name in names:
        delattr(parent, name)
    return joined
