"""What noise is added to the latents? Plain Gaussian noise, and the offset that lets brightness be learned."""

import torch
from torch import Tensor

from lora_nb.config import NoiseConfig


def draw_normal(shape: tuple[int, ...], generators: list[torch.Generator]) -> Tensor:
    """Draw Gaussian noise, each example of the batch from its own generator. (C, H, W) => (B, C, H, W)"""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def draw_noise(latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
    """Draw the noise for a batch of latents (B, C, H, W), with the offset that the settings ask for."""
    noise = draw_normal(tuple(latents.shape[1:]), generators)
    # always drawn, so that switching the offset on changes nothing else that comes from these generators
    channel_noise = draw_normal((latents.shape[1], 1, 1), generators)
    return add_noise_offset(noise.to(latents), channel_noise.to(latents), latents, config)


def add_noise_offset(noise: Tensor, channel_noise: Tensor, latents: Tensor, config: NoiseConfig) -> Tensor:
    """Shift each channel's noise by one shared amount, so that overall brightness is part of what is learned.

    Plain noise leaves a picture's mean almost untouched even at the last timestep, so a model never learns to
    choose it (Guttenberg 2023, "Diffusion with offset noise"). The adaptive part follows kohya's: the offset grows
    with how far the latents' own channel mean (B, C, 1, 1) is from zero, and is never negative. Unlike there, it
    also works when the fixed offset is 0.
    """
    strength = (config.offset + config.adaptive * latents.mean(dim=(2, 3), keepdim=True).abs()).clamp(min=0)
    return noise + strength * channel_noise
