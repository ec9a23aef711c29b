"""Full-size models with random weights, in diffusers format: what benchmarks run on where nothing can be downloaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import lora_nb.models
from tests.tiny_models import SCHEDULER

TOKENIZER = Path(lora_nb.models.__file__).parent / "clip_tokenizer"
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
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


def write_sd1(folder: Path) -> None:
    """Stable Diffusion 1.5 in float32: 4.2 GB on disk."""
    save(folder / "unet", UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8))
    save(folder / "vae", AutoencoderKL(**VAE))
    save(folder / "text_encoder", CLIPTextModel(CLIPTextConfig(vocab_size=49408, **CLIP_L)))
    finish(folder, "StableDiffusionPipeline", {"unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel"})


def write_sdxl(folder: Path) -> None:
    """Stable Diffusion XL in bfloat16: 7 GB on disk."""
    torch.set_default_dtype(torch.bfloat16)
    save(folder / "unet", UNet2DConditionModel(**SDXL_UNET))
    save(folder / "vae", AutoencoderKL(**VAE, scaling_factor=0.13025))
    save(folder / "text_encoder", CLIPTextModel(CLIPTextConfig(vocab_size=49408, **CLIP_L)))
    save(folder / "text_encoder_2", CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=49408, **CLIP_G)))
    torch.set_default_dtype(torch.float32)
    parts = {"unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel"}
    finish(folder, "StableDiffusionXLPipeline", parts | {"text_encoder_2": "CLIPTextModelWithProjection"})


def save(place: Path, network: Any) -> None:
    network.save_pretrained(place)


def finish(folder: Path, pipeline: str, networks: dict[str, str]) -> None:
    """Write what a model's folder holds besides weights; the index comes last, so a cut-off folder is written anew."""
    tokenizers = ["tokenizer", "tokenizer_2"] if "text_encoder_2" in networks else ["tokenizer"]
    for name in tokenizers:
        shutil.copytree(TOKENIZER, folder / name, dirs_exist_ok=True)
        write(folder / name / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    write(folder / "scheduler/scheduler_config.json", SCHEDULER)
    library = {name: ["transformers" if "text" in name else "diffusers", kind] for name, kind in networks.items()}
    library |= {"vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "PNDMScheduler"]}
    library |= {name: ["transformers", "CLIPTokenizer"] for name in tokenizers}
    write(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": "0.34.0"} | library)


def write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
