"""Captions for the base model's training: tags in any order, some missing, strange words in between.

Words that mean nothing must do nothing, or an untrained trigger word would spoil a picture. So the model often reads
such words, also in the first place, where trigger words stand.
"""

from __future__ import annotations

import random

LETTERS = "abcdefghijklmnopqrstuvwxyz"
EMPTY_SHARE = 0.1  # empty captions teach the unconditional prediction that guidance needs


def random_caption(tags: list[str], rng: random.Random) -> str:
    """Write a caption for a picture with these tags."""
    if rng.random() < EMPTY_SHARE:
        return ""
    keep = rng.choice((1.0, 0.9, 0.7))
    chosen = [tag for tag in tags if rng.random() < keep]
    rng.shuffle(chosen)
    if rng.random() < 0.3:
        chosen.insert(0, random_word(rng))
    if rng.random() < 0.15:
        chosen.insert(rng.randrange(len(chosen) + 1), random_word(rng))
    return ", ".join(chosen)


def random_word(rng: random.Random) -> str:
    """A word without meaning."""
    return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(2, 9)))
