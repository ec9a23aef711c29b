"""The small U-Net and its text encoder: they learn together to remove noise from latents, guided by a caption.

The recipe is Stable Diffusion 1's: 1000 noise levels, the model predicts the noise (epsilon).
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lora_nb.workshop.autoencoder import copy_for_ema, update_ema
from lora_nb.workshop.captions import random_caption
from lora_nb.workshop.muon import Muon
from lora_nb.workshop.tokenizer import LONGEST

TEXT_WIDTH = 128
BATCH = 32
WARM_UP = 100
LEARNING_RATE = 1.5e-3
EMA_DECAY = 0.998
SNR_CAP = 5.0  # min-SNR, Hang et al. 2023, arXiv:2303.09556: nearly clean latents get less weight
SAVE_EVERY = 250


@dataclass
class Examples:
    """Latents and tags, in groups of one shape: a batch must be of one shape."""

    latents: list[torch.Tensor]  # each (N, 4, h, w), scaled to unit variance
    tags: list[list[list[str]]]


def new_unet() -> Any:  # UNet2DConditionModel
    """Make an untrained U-Net: Stable Diffusion's, with three levels and one layer a block."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 160),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # in SD 1's configurations this means the number of heads
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> Any:  # CLIPTextModel
    """Make an untrained CLIP text encoder with two layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LONGEST,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_scheduler() -> Any:  # DDPMScheduler
    """Make Stable Diffusion 1's noise schedule."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def train_denoiser(examples: Examples, tokenizer: CLIPTokenizer, steps: int, checkpoint: Path) -> Any:
    """Train U-Net and text encoder; continues from the checkpoint if there is one. Returns the averaged weights."""
    torch.manual_seed(0)
    model: Any = nn.ModuleDict({"unet": new_unet(), "text": new_text_encoder(tokenizer)})
    model.to(memory_format=torch.channels_last)
    ema = copy_for_ema(model)
    optimizer, first = Muon(model, LEARNING_RATE), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        first = state["step"]
    noise_levels, start, recent = new_scheduler(), time.time(), []
    for step in range(first, steps):
        rng = random.Random(step)  # what a step sees depends on its number only
        torch.manual_seed(step)
        rate = LEARNING_RATE * min(1, (step + 1) / WARM_UP, (step - first + 1) / 20) * _decay(step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(model, examples, tokenizer, noise_levels, rng)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_ema(ema, model, min(EMA_DECAY, (step + 1) / (step + 10)))
        recent.append(loss.item())
        if (step + 1) % 50 == 0:
            print(f"  step {step + 1} loss {sum(recent[-50:]) / 50:.4f} {time.time() - start:.0f} s", flush=True)
        if (step + 1) % SAVE_EVERY == 0:
            torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "step": step + 1}, checkpoint)
    return ema


def _decay(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress)) * 0.99 + 0.01


def _loss(
    model: Any,
    examples: Examples,
    tokenizer: CLIPTokenizer,
    noise_levels: Any,
    rng: random.Random,
) -> torch.Tensor:
    sizes = [len(group) for group in examples.latents]
    group = rng.choices(range(len(sizes)), weights=sizes)[0]
    chosen = [rng.randrange(sizes[group]) for _ in range(BATCH)]
    clean = examples.latents[group][chosen].contiguous(memory_format=torch.channels_last)  # (B, 4, h, w)
    captions = [random_caption(examples.tags[group][i], rng) for i in chosen]
    tokens = encode_tokens(tokenizer, captions)  # (B, 77)
    timesteps = torch.randint(0, 1000, (BATCH,))
    noise = torch.randn_like(clean)
    with torch.autocast("cpu", torch.bfloat16):
        conditioning = model["text"](tokens).last_hidden_state  # (B, 77, 128)
        noisy = noise_levels.add_noise(clean, noise, timesteps)
        predicted = model["unet"](noisy, timesteps, conditioning).sample
    signal = noise_levels.alphas_cumprod[timesteps]
    snr = signal / (1 - signal)
    weight = snr.clamp(max=SNR_CAP) / snr
    error = F.mse_loss(predicted.float(), noise, reduction="none").mean(dim=(1, 2, 3))  # (B,)
    return (weight * error).mean() / weight.mean()


def encode_tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Captions => token numbers (B, 77)."""
    encoded = tokenizer(captions, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt")
    return encoded.input_ids
