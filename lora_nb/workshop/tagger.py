"""A tagger for the workshop's world in the format of the WD v3 taggers, so every tool that reads those reads this one.

It knows the held-out features too, in all mixtures: it is the judge of what a LoRA has learned.
"""

from __future__ import annotations

import csv
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from lora_nb.workshop.autoencoder import decode_latents, encode_pictures
from lora_nb.workshop.world import all_tags, draw, random_creature, random_unusual_creature, tags

RATINGS = ("general", "sensitive", "questionable", "explicit")
INPUT_SIDE, INNER_SIDE = 448, 64  # WD's input; the network itself looks at a small copy
PICTURES, STEPS, BATCH = 7000, 1000, 48
WEAR = 0.45  # most noise on latents, in their own spread, that a judged picture may have
SHAPES = ((64, 64), (64, 64), (64, 64), (48, 80), (80, 48))


class Tagger(nn.Module):
    """WD's input to WD's output: BGR 0-255 (B, 448, 448, 3) => probabilities (B, ratings and tags)."""

    def __init__(self, tag_count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, pool in ((3, 24, True), (24, 48, True), (48, 96, False), (96, 96, True), (96, 128, True)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
        self.features = nn.Sequential(*layers)  # (B, 3, 64, 64) => (B, 128, 4, 4)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 16, tag_count))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tag full-size pictures."""
        small = F.avg_pool2d(pictures.permute(0, 3, 1, 2), INPUT_SIDE // INNER_SIDE)
        return self.probabilities(small)

    def probabilities(self, small: torch.Tensor) -> torch.Tensor:
        """Tag pictures that are already small. (B, 3, 64, 64) BGR 0-255."""
        return self.logits(small).sigmoid()

    def logits(self, small: torch.Tensor) -> torch.Tensor:
        """The scores before the sigmoid, which training needs."""
        return self.head(self.features(small / 127.5 - 1))


def build_tagger(cache: Path, autoencoder: Any, folder: Path) -> None:
    """Draw, train, export."""
    drawn = cache / "tagger_pictures.pt"
    if not drawn.exists():
        pictures, labels = labelled_pictures(autoencoder, PICTURES, seed=99)
        torch.save({"pictures": torch.from_numpy(pictures), "labels": labels}, drawn)
    saved = torch.load(drawn, weights_only=True)
    model = train(saved["pictures"].numpy(), saved["labels"])
    export(model, folder)
    (cache / "tagger.done").touch()


def labelled_pictures(autoencoder: Any, count: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Small square BGR pictures (N, 64, 64, 3) and which tags they have (N, ratings and tags)."""
    rng, known = random.Random(seed), all_tags()
    pictures = np.empty((count, INNER_SIDE, INNER_SIDE, 3), dtype=np.uint8)
    labels = torch.zeros(count, len(RATINGS) + len(known))
    labels[:, 0] = 1  # every creature is of the rating "general"
    for shape in dict.fromkeys(SHAPES):
        chosen = [i for i in range(count) if SHAPES[i % len(SHAPES)] == shape]
        drawn = []
        for i in chosen:
            creature = random_unusual_creature(rng) if rng.random() < 0.6 else random_creature(rng)
            drawn.append(np.asarray(draw(creature, *shape)))
            for tag in tags(creature):
                labels[i, len(RATINGS) + known.index(tag)] = 1
        worn = through_autoencoder(autoencoder, np.stack(drawn))
        for number, i in enumerate(chosen):
            picture = Image.fromarray(worn[number] if rng.random() < 0.5 else drawn[number])
            pictures[i] = small_square(picture)[..., ::-1]
    return pictures, labels


def through_autoencoder(autoencoder: Any, pictures: np.ndarray) -> np.ndarray:
    """Give drawings the small faults of generated pictures. (N, H, W, 3) uint8 => the same."""
    worn = []
    for start in range(0, len(pictures), 64):
        latents = encode_pictures(autoencoder, pictures[start : start + 64])
        strength = WEAR * latents.std() * torch.rand(len(latents), 1, 1, 1)
        worn.append(decode_latents(autoencoder, latents + strength * torch.randn_like(latents)))
    return np.concatenate(worn)


def small_square(picture: Image.Image) -> np.ndarray:
    """Pad with white to a square as WD does, then reduce. => (64, 64, 3) RGB uint8."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    large = square.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(large.reduce(INPUT_SIDE // INNER_SIDE))


def train(pictures: np.ndarray, labels: torch.Tensor) -> Tagger:
    """Teach the network with slightly blurred, shifted and brightened pictures."""
    torch.manual_seed(0)
    rng, started = random.Random(0), time.time()
    model = Tagger(labels.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    data = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (N, 3, 64, 64)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        chosen = torch.randint(0, len(data), (BATCH,))
        batch = data[chosen].float()
        if rng.random() < 0.3:
            batch = F.avg_pool2d(F.pad(batch, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        batch = torch.roll(batch, (rng.randint(-3, 3), rng.randint(-3, 3)), dims=(2, 3))
        batch = (batch * rng.uniform(0.9, 1.1) + rng.uniform(-10, 10) + 5 * torch.randn_like(batch)).clamp(0, 255)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(batch)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"  tagger step {step} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    return model.eval()


def export(model: Tagger, folder: Path) -> None:
    """Write model.onnx and selected_tags.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, INPUT_SIDE, INPUT_SIDE, 3)
    torch.onnx.export(
        model,
        (example,),
        str(folder / "model.onnx"),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("tag_id", "name", "category", "count"))
        for number, name in enumerate((*RATINGS, *all_tags())):
            category = 9 if number < len(RATINGS) else 0
            writer.writerow((number, name.replace(" ", "_"), category, 1000))
