"""The small autoencoder: turns a 64 px picture into 16 x 16 x 4 numbers (latents) and back.

Colours come first: a term on pictures reduced 8 times makes every region's mean right, then small crops sharpen
the edges, then whole pictures finish. Last, the decoder alone learns to draw sharply from latents that are not quite
right, as a denoiser's never are. It learns from `wide_world` and from creatures in any colours.
"""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from lora_nb.workshop.muon import Muon
from lora_nb.workshop.wide_world import recolour

EMA_DECAY = 0.998


@dataclass(frozen=True)
class Phase:
    """A stretch of training on crops of one size."""

    steps: int
    crop: int
    batch: int
    creatures: float  # share of crops that come from creatures; the others come from abstract pictures
    kl: float = 0.0  # weight of the term that keeps latents near a unit Gaussian
    wear: float = 0.0  # above 0, only the decoder learns, from latents with up to this much noise in their own spread


def new_autoencoder() -> Any:  # AutoencoderKL; diffusers' classes are hardly typed
    """Make an untrained autoencoder with Stable Diffusion's layout, narrower."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )


def train_phase(
    model: Any, ema: Any, phase: Phase, learning_rates: tuple[float, float], pools: list[np.ndarray]
) -> None:
    """Train on random crops; the learning rate goes along a cosine from the first rate to the second.

    pools: abstract pictures and creatures, each (N, H, W, 3) uint8.
    """
    rng = random.Random(phase.steps * 1000 + phase.crop)
    torch.manual_seed(phase.steps)
    if phase.wear:
        model.load_state_dict(ema.state_dict())  # the encoder that ships is the one whose latents are decoded
    optimizer, start = Muon(model, learning_rates[0]), time.time()
    for step in range(phase.steps):
        set_learning_rate(optimizer, step, phase.steps, learning_rates)
        pixels = random_crops(rng, phase, pools)
        with torch.autocast("cpu", torch.bfloat16):
            latents, penalty = worn_latents(model, pixels, phase) if phase.wear else fresh_latents(model, pixels, phase)
            result = model.decode(latents).sample
        loss = reconstruction_loss(result.float(), pixels)
        total = loss + penalty
        model.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_ema(ema, model, min(EMA_DECAY, (step + 1) / (step + 10)))
        if step % 100 == 0:
            mse = F.mse_loss(result.float(), pixels).item() / 4  # on the 0..1 scale
            print(f"  step {step} loss {loss.item():.4f} mse {mse:.5f} {time.time() - start:.0f} s", flush=True)


def fresh_latents(model: Any, pixels: torch.Tensor, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, 4, h, w) through which the encoder learns too, and the term that keeps them small."""
    posterior = model.encode(pixels).latent_dist
    if phase.kl:
        return posterior.sample(), phase.kl * posterior.kl().mean()
    return posterior.mean, 1e-5 * posterior.mean.square().mean()


@torch.no_grad()
def worn_latents(model: Any, pixels: torch.Tensor, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, 4, h, w) with a little noise, each picture with its own amount; nothing reaches the encoder."""
    latents = model.encode(pixels).latent_dist.mean.float()
    strength = phase.wear * latents.std() * torch.rand(len(latents), 1, 1, 1)
    return latents + strength * torch.randn_like(latents), torch.zeros(())


def reconstruction_loss(result: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Absolute error of pixels, edges and mean colours. (B, 3, H, W) in -1..1."""
    loss = F.l1_loss(result, pixels) + F.mse_loss(result, pixels)
    for axis in (2, 3):
        loss = loss + F.l1_loss(result.diff(dim=axis), pixels.diff(dim=axis))
    for factor in (2, 8):
        loss = loss + F.l1_loss(F.avg_pool2d(result, factor), F.avg_pool2d(pixels, factor))
    return loss


def random_crops(rng: random.Random, phase: Phase, pools: list[np.ndarray]) -> torch.Tensor:
    """Cut a batch of crops, mirrored and recoloured at random. => (B, 3, crop, crop) in -1..1."""
    crops = []
    for _ in range(phase.batch):
        pool = pools[-1] if rng.random() < phase.creatures else pools[0]
        picture = pool[rng.randrange(len(pool))]
        top, left = (rng.randrange(side - phase.crop + 1) for side in picture.shape[:2])
        crop = picture[top : top + phase.crop, left : left + phase.crop]
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        crops.append(recolour(crop, rng) if rng.random() < 0.5 else crop)
    return to_pixels(np.stack(crops))


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 => (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, rates: tuple[float, float]) -> None:
    """Warm up over 50 steps, then follow half a cosine from the first rate to the second."""
    high, low = rates
    rate = low + (high - low) * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1, (step + 1) / 50)


@torch.no_grad()
def update_ema(ema: Any, model: Any, decay: float) -> None:
    """Move the averaged weights a little towards the trained ones: the average draws cleaner pictures."""
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


def copy_for_ema(model: Any) -> Any:
    """Copy a model to hold the running average of its weights."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def encode_pictures(model: Any, pictures: np.ndarray, batch: int = 32) -> torch.Tensor:
    """(N, H, W, 3) uint8 => latents (N, 4, H/4, W/4), not yet scaled."""
    means = []
    for start in range(0, len(pictures), batch):
        with torch.autocast("cpu", torch.bfloat16):
            means.append(model.encode(to_pixels(pictures[start : start + batch])).latent_dist.mean.float())
    return torch.cat(means)


@torch.no_grad()
def decode_latents(model: Any, latents: torch.Tensor) -> np.ndarray:
    """Latents (N, 4, h, w) => (N, 4h, 4w, 3) uint8."""
    pixels = model.decode(latents).sample.clamp(-1, 1)
    return pixels.add(1).mul(127.5).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()


def save_checkpoint(folder: Path, name: str, model: Any, ema: Any) -> None:
    """Keep a phase's result so that the build can be cut and continued."""
    torch.save({"model": model.state_dict(), "ema": ema.state_dict()}, folder / f"{name}.pt")
