"""A model that needs no weights and a painter that counts: what the tests of grids draw with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

from lora_nb.config import GenerationConfig


class Painter:
    """Stands in for generate_with_lora: one colour for each prompt, LoRA and weight. Remembers what it was asked."""

    def __init__(self, fails_after: int = 1_000_000) -> None:
        self.asked: list[GenerationConfig] = []
        self.fails_after = fails_after

    def __call__(self, model: Any, settings: GenerationConfig) -> Image.Image:
        if len(self.asked) == self.fails_after:
            raise KeyboardInterrupt
        self.asked.append(settings)
        name = settings.lora.name if settings.lora else ""
        color = (hash(settings.prompt) % 256, hash(name) % 256, round(settings.lora_weight * 100) % 256)
        return Image.new("RGB", (settings.width, settings.height), color)


def make_model(seed: int = 0) -> Any:
    """The parts of a DiffusionModel that tell it from another."""
    torch.manual_seed(seed)
    return SimpleNamespace(
        base="toy",
        denoiser=torch.nn.Linear(4, 4),
        text_encoders={"lora_te": torch.nn.Linear(4, 4)},
        frozen_text_encoders={},
        reading="",
        vae=torch.nn.Linear(4, 4),
        scheduler_config={"num_train_timesteps": 1000},
    )


def save_fake_lora(path: Path, value: float = 0.0, **metadata: str) -> Path:
    """A LoRA file that holds nothing of use, with kohya's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.full(4, value, dtype=np.float32)}, path, metadata=metadata or None)
    return path
