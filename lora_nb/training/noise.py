"""What noise is mixed into the latents? Plain Gaussian noise, and what the settings add to it.

Each example draws from its own generator, and every addition from a fork of it: so an example's noise depends on no
other, and switching one addition on leaves all other draws as they were.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lora_nb.config import NoiseConfig
from lora_nb.training.randomness import fork_generators


def draw_normal(shape: tuple[int, ...], generators: list[torch.Generator]) -> Tensor:
    """Draw Gaussian noise, each example of the batch from its own generator. (C, H, W) => (B, C, H, W)"""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def draw_uniform(generators: list[torch.Generator]) -> Tensor:
    """A number in 0..1 for each example, to multiply latents with. (B, 1, 1, 1)"""
    return torch.stack([torch.rand(1, 1, 1, generator=generator) for generator in generators])


def draw_noise(latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
    """Draw the noise that the model will be asked for, for latents (B, C, H, W)."""
    noise = draw_normal(tuple(latents.shape[1:]), generators)
    # always drawn, so that switching the offset on changes nothing else that comes from these generators
    channel_noise = draw_normal((latents.shape[1], 1, 1), generators)
    noise = add_noise_offset(noise.to(latents), channel_noise.to(latents), latents, config, generators)
    if config.multires_iterations:
        noise = add_coarse_noise(noise, config, fork_generators(generators, "multires"))
    return noise


def add_noise_offset(
    noise: Tensor, channel_noise: Tensor, latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]
) -> Tensor:
    """Shift each channel's noise by one shared amount, so that overall brightness is part of what is learned.

    Plain noise leaves a picture's mean almost untouched even at the last timestep, so a model never learns to
    choose it (Guttenberg 2023, "Diffusion with offset noise"). The adaptive part follows kohya's: the offset grows
    with how far the latents' own channel mean (B, C, 1, 1) is from zero, and is never negative. Unlike there, it
    also works when the fixed offset is 0, and the random strength is one for each example, not for the batch.
    """
    offset: float | Tensor = config.offset
    if config.offset_random:
        offset = config.offset * draw_uniform(fork_generators(generators, "offset strength")).to(latents)
    strength = (offset + config.adaptive * latents.mean(dim=(2, 3), keepdim=True).abs()).clamp(min=0)
    return noise + strength * channel_noise


def add_coarse_noise(noise: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
    """Add noise of coarser and coarser sizes, each weaker than the one before. (B, C, H, W), again of variance 1.

    Pyramid noise (Whitaker 2023, "Multi-resolution noise for diffusion model training"), in kohya's form: the sizes
    shrink by powers of a random factor between 2 and 4. Its standard deviation is taken of each example by itself,
    not of the whole batch as kohya does, so that pictures do not influence one another.
    """
    coarse = [_draw_pyramid(each, config, generator) for each, generator in zip(noise, generators, strict=True)]
    noise = noise + torch.stack(coarse)
    return noise / noise.std(dim=(1, 2, 3), keepdim=True)


def _draw_pyramid(noise: Tensor, config: NoiseConfig, generator: torch.Generator) -> Tensor:
    """The sum of all coarser sizes for one example. (C, H, W)"""
    channels, height, width = noise.shape
    total = torch.zeros_like(noise)
    for level in range(config.multires_iterations):
        shrink = (2 + 2 * torch.rand((), generator=generator).item()) ** level
        size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        draw = torch.randn(1, channels, *size, generator=generator).to(noise)
        total += interpolate(draw, (height, width), mode="bilinear")[0] * config.multires_discount**level
        if min(size) == 1:
            break
    return total


def perturb_input(noise: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
    """The noise that is mixed in: somewhat more than the model is asked for (Ning et al. 2023, arXiv:2301.11706).

    Only what the model sees is changed, never its target. Returns the noise itself when this is off.
    """
    if not config.input_perturbation:
        return noise
    strength: float | Tensor = config.input_perturbation
    if config.input_perturbation_random:
        strength = strength * draw_uniform(fork_generators(generators, "perturbation strength")).to(noise)
    extra = draw_normal(tuple(noise.shape[1:]), fork_generators(generators, "perturbation"))
    return noise + strength * extra.to(noise)
