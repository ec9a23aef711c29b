"""The pictures that the base model learns from, as latents with their tags, in the shapes it should know."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_nb.workshop.autoencoder import encode_pictures
from lora_nb.workshop.denoiser import Examples
from lora_nb.workshop.world import draw, random_creature, tags

COUNTS = {(64, 64): 12000, (48, 80): 2000, (80, 48): 2000}  # (width, height): mostly square, as the demo's pictures


def draw_examples(cache: Path) -> None:
    """Draw the base world's pictures, never one with a held-out feature."""
    for number, ((width, height), count) in enumerate(COUNTS.items()):
        rng = random.Random(1000 + number)
        pictures = [np.asarray(draw(random_creature(rng), width, height)) for _ in range(count)]
        np.save(cache / f"base_{width}x{height}.npy", np.stack(pictures))


def load_examples(cache: Path, autoencoder: Any) -> tuple[Examples, float]:
    """Encode the drawn pictures. Returns them with the factor that gives their latents unit variance."""
    latents, names = [], []
    for number, ((width, height), count) in enumerate(COUNTS.items()):
        rng = random.Random(1000 + number)  # the same creatures as were drawn
        names.append([tags(random_creature(rng)) for _ in range(count)])
        latents.append(encode_pictures(autoencoder, np.load(cache / f"base_{width}x{height}.npy")))
    factor = 1 / torch.cat([group.flatten() for group in latents]).std().item()
    return Examples([group * factor for group in latents], names), factor
