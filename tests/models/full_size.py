"""Full-size models on the meta device: every layer in its shape, without numbers; no memory, no time."""

from typing import Any

import torch

from lora_nb.adapters.kinds import add_adapter
from lora_nb.adapters.layers import TRAINED, layers_of, matrices_of
from lora_nb.config import AdapterConfig, ModelConfig
from tests.tiny_models import SCHEDULER, make_t5, make_vae

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_BIG_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def make_sdxl() -> Any:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from lora_nb.models.sdxl import Parts, StableDiffusionXL

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL_UNET)
        first = CLIPTextModel(CLIPTextConfig(**CLIP_L))
        second = CLIPTextModelWithProjection(CLIPTextConfig(**CLIP_BIG_G, projection_dim=1280))
    config = ModelConfig(family="sdxl", base="sdxl")
    return StableDiffusionXL(config, Parts(unet, first, second, make_vae(), None, None, SCHEDULER))


def make_flux() -> Any:
    from diffusers import FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lora_nb.models.flux import Flux, Parts

    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
        clip = CLIPTextModel(CLIPTextConfig(**CLIP_L))
    config = ModelConfig(family="flux", base="flux")
    return Flux(config, Parts(transformer, clip, make_t5(100), make_vae(), None, None, {}))


def lora_shapes(model: Any, rank: int, alpha: float) -> dict[str, list[int]]:
    """Every tensor that a LoRA file of this model would hold, with its shape."""
    add_adapter(model, AdapterConfig(rank=rank, alpha=alpha), seed=0)
    shapes: dict[str, list[int]] = {}
    for key, layer in layers_of(model, TRAINED).items():
        down, up = matrices_of(layer, TRAINED)
        shapes |= {f"{key}.lora_down.weight": [*down.shape], f"{key}.lora_up.weight": [*up.shape], f"{key}.alpha": []}
        assert layer.lora_alpha[TRAINED] == alpha
    return shapes
