"""Chance that does not depend on history: every draw is a function of (seed, what for, when, which).

So a continued run, a run with previews and a run with another batch of workers draw the same numbers.
"""

import hashlib
import random

import torch


def _number(seed: int, purpose: str, *place: int) -> int:
    """Mix the parts into 63 bits that have nothing to do with one another."""
    text = "/".join([str(seed), purpose, *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, purpose: str, *place: int) -> torch.Generator:
    """A source of random tensors, on the CPU so that every device gets the same numbers."""
    return torch.Generator("cpu").manual_seed(_number(seed, purpose, *place))


def make_random(seed: int, purpose: str, *place: int) -> random.Random:
    """A source of random choices for lists and captions."""
    return random.Random(_number(seed, purpose, *place))
