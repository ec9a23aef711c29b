"""Tiny, random models of every family in diffusers format, each made in about a second and without a download."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

SCHEDULER = {  # as in Stable Diffusion 1.5's own folder
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
SCHEDULER_V = SCHEDULER | {"prediction_type": "v_prediction"}  # as in Stable Diffusion 2.1's own folder
PARTS = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "PNDMScheduler"],
}
WIDTH = 32


def make_vocabulary() -> dict[str, int]:
    """Every byte, alone and at the end of a word: no word is unknown to it."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


def save_tokenizer(folder: Path) -> int:
    """Write a tokenizer that reads letter by letter; returns the size of its vocabulary."""
    vocabulary = make_vocabulary()
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    start, end = "<|startoftext|>", "<|endoftext|>"
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": start, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"unk_token": end, "pad_token": end}))
    return len(vocabulary)


def make_text_config(vocabulary_size: int, width: int = WIDTH, layers: int = 3) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=vocabulary_size - 2,
        eos_token_id=vocabulary_size - 1,
        pad_token_id=vocabulary_size - 1,
    )


def make_text_encoder(vocabulary_size: int, width: int = WIDTH, layers: int = 3) -> CLIPTextModel:
    return CLIPTextModel(make_text_config(vocabulary_size, width, layers))


def make_unet(width: int = WIDTH, **options: Any) -> UNet2DConditionModel:
    shape = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=8,
        **(shape | options),
    )


def make_vae(**options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),  # three levels: a latent cell is 4 pixels wide
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=64,
        **({"scaling_factor": 0.18215} | options),
    )


def save_tiny_sd1(folder: Path) -> Path:
    """Write the whole model folder; always the same weights, whatever was drawn before."""
    return _save_stable_diffusion(folder, SCHEDULER)


def save_tiny_sd2(folder: Path) -> Path:
    """The same for Stable Diffusion 2.1 with 768 pixels: it predicts v, and its projections are linear layers."""
    return _save_stable_diffusion(folder, SCHEDULER_V, use_linear_projection=True)


def save_tiny_sdxl(folder: Path) -> Path:
    """The same for SDXL: two text encoders of different widths, and a U-Net that is told the picture's size."""
    vocabulary_size = save_tokenizer(folder / "tokenizer")
    save_tokenizer(folder / "tokenizer_2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {
            "unet": make_sdxl_unet(),
            "vae": make_vae(scaling_factor=0.13025, force_upcast=True),
            "text_encoder": make_text_encoder(vocabulary_size),
            "text_encoder_2": CLIPTextModelWithProjection(make_text_config(vocabulary_size, 2 * WIDTH)),
        }
    kinds = {
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "force_zeros_for_empty_prompt": True,
    }
    scheduler = SCHEDULER | {"_class_name": "EulerDiscreteScheduler"}
    return _save_parts(folder, "StableDiffusionXLPipeline", parts, scheduler, PARTS | kinds)


def save_tiny_flux(folder: Path, guidance: bool = True) -> Path:
    """The same for Flux.1 dev (with guidance) or schnell: a transformer of two blocks of each kind, CLIP and T5."""
    vocabulary_size = save_tokenizer(folder / "tokenizer")
    t5_size = save_t5_tokenizer(folder / "tokenizer_2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {
            "transformer": make_flux_transformer(guidance),
            "vae": make_vae(scaling_factor=0.3611, shift_factor=0.1159, latent_channels=16),
            "text_encoder": make_text_encoder(vocabulary_size),
            "text_encoder_2": make_t5(t5_size),
        }
    kinds = {name: PARTS[name] for name in ("vae", "text_encoder", "tokenizer")} | {
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": 3.0 if guidance else 1.0,
        "use_dynamic_shifting": guidance,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    }
    return _save_parts(folder, "FluxPipeline", parts, scheduler, kinds)


def make_flux_transformer(guidance: bool = True) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )


def make_t5(vocabulary_size: int, width: int = 2 * WIDTH) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary_size,
            d_model=width,
            d_kv=width // 4,
            d_ff=2 * width,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
        )
    )


def save_t5_tokenizer(folder: Path) -> int:
    """Write a T5 tokenizer that reads letter by letter; returns the size of its vocabulary."""
    letters = "\u2581abcdefghijklmnopqrstuvwxyz0123456789,.-"
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((letter, -1.0) for letter in letters)]
    T5TokenizerFast(vocab=words, extra_ids=0).save_pretrained(folder)
    return len(words)


def make_sdxl_unet() -> UNet2DConditionModel:
    return make_unet(
        3 * WIDTH,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 2 * WIDTH,
    )


def _save_stable_diffusion(folder: Path, scheduler: dict[str, Any], **unet: Any) -> Path:
    vocabulary_size = save_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {"unet": make_unet(**unet), "vae": make_vae(), "text_encoder": make_text_encoder(vocabulary_size)}
    optional = {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    return _save_parts(folder, "StableDiffusionPipeline", parts, scheduler, PARTS | optional)


def _save_parts(
    folder: Path, pipeline: str, parts: dict[str, Any], scheduler: dict[str, Any], kinds: dict[str, Any]
) -> Path:
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    index = {"_class_name": pipeline, "_diffusers_version": "0.39.0"} | kinds
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
