"""Random tensors that do not depend on history: every draw is a function of (seed, what for, when, which).

Choices that need no tensors are drawn in dataset/chance.py, in the same way.
"""

import torch

from lora_nb.dataset.chance import make_random, mix_seed

__all__ = ["make_generator", "make_random"]


def make_generator(seed: int, purpose: str, *place: int | str) -> torch.Generator:
    """A source of random tensors, on the CPU so that every device gets the same numbers."""
    return torch.Generator("cpu").manual_seed(mix_seed(seed, purpose, *place))


def fork_generators(generators: list[torch.Generator], purpose: str) -> list[torch.Generator]:
    """For each generator another one, which depends on its seed alone: what either has drawn does not matter."""
    return [make_generator(generator.initial_seed(), purpose) for generator in generators]
