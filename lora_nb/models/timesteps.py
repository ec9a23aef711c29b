"""How noisy does a flow model get each example? Flux's ways of choosing the share of noise, sigma, from 0 to 1.

The shifted ones look more at noisy pictures, where large shapes are decided: the larger the picture, the more noise
it takes to hide them. Source of the numbers: Esser et al. 2024, arXiv:2403.03206, section 5.3.2, and Flux's own code.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lora_nb.config import NoiseConfig

# Flux's schedule by the number of image tokens: mu is on the line through these two points
TOKENS, MU = (256, 4096), (0.5, 1.15)


def shift_by(sigma: Tensor, factor: float) -> Tensor:
    """Move shares of noise towards 1: factor 1 leaves them, 3 makes 0.5 to 0.75."""
    return factor * sigma / (1 + (factor - 1) * sigma)


def factor_for(tokens: int) -> float:
    """By how much Flux shifts a picture of this many tokens (16 x 16 pixels each): 1.88 at 512 px, 3.16 at 1024."""
    slope = (MU[1] - MU[0]) / (TOKENS[1] - TOKENS[0])
    return math.exp(MU[0] + slope * (tokens - TOKENS[0]))


def uniform(generator: torch.Generator, config: NoiseConfig, tokens: int) -> Tensor:
    """Every share of noise alike."""
    return torch.rand((), generator=generator)


def sigmoid(generator: torch.Generator, config: NoiseConfig, tokens: int) -> Tensor:
    """Most often half noise, half picture: logit-normal, of the mean and deviation that the settings give."""
    return torch.sigmoid(config.sigmoid_mean + config.sigmoid_scale * torch.randn((), generator=generator))


def shift(generator: torch.Generator, config: NoiseConfig, tokens: int) -> Tensor:
    """sigmoid, moved towards noise by a fixed factor."""
    return shift_by(sigmoid(generator, config, tokens), config.timestep_shift)


def resolution_shift(generator: torch.Generator, config: NoiseConfig, tokens: int) -> Tensor:
    """sigmoid, moved towards noise by the factor with which Flux draws a picture of this size."""
    return shift_by(sigmoid(generator, config, tokens), factor_for(tokens))


def mode(generator: torch.Generator, config: NoiseConfig, tokens: int) -> Tensor:
    """All shares of noise, but the middle more often than the ends, or less often."""
    drawn = torch.rand((), generator=generator)
    return 1 - drawn - config.mode_scale * (torch.cos(math.pi * drawn / 2).square() - 1 + drawn)


# to add one: write the function, name it here and in config.NoiseConfig
TIMESTEP_SAMPLINGS: dict[str, Callable[[torch.Generator, NoiseConfig, int], Tensor]] = {
    "uniform": uniform,
    "sigmoid": sigmoid,
    "shift": shift,
    "resolution_shift": resolution_shift,
    "mode": mode,
}
