"""Chance that does not depend on history: every draw is a function of (seed, what for, when, which).

So a continued run, a run with previews and a run with another batch of workers draw the same numbers; and what will be
drawn can be shown before anything runs.
"""

import hashlib
import random


def mix_seed(seed: int, purpose: str, *place: int | str) -> int:
    """Mix the parts into 63 bits that have nothing to do with one another."""
    text = "/".join([str(seed), purpose, *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_random(seed: int, purpose: str, *place: int | str) -> random.Random:
    """A source of random choices for lists and captions."""
    return random.Random(mix_seed(seed, purpose, *place))
