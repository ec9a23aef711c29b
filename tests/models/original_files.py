"""Models saved as the original programs keep them: the way back of lora_nb/models/layouts.py."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lora_nb.models.layouts import Layout


def to_original(weights: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The weights of one part under the names, and in the shapes, of a checkpoint."""
    found: dict[str, dict[int, tuple[int, Tensor]]] = {}
    for name, value in weights.items():
        place = layout(name)
        if place.transposed:
            value = value.T
        if place.halves_swapped:
            value = torch.cat([value[len(value) // 2 :], value[: len(value) // 2]])
        if ".mid.attn_1." in place.key and value.dim() == 2:
            value = value[:, :, None, None]  # the VAE's attention is made of 1x1 convolutions there
        found.setdefault(place.key, {})[place.share[0]] = (place.share[2], value)
    result = {}
    for key, shares in found.items():
        rows = [value for _, (_, value) in sorted(shares.items())]
        result[key] = torch.cat(rows).contiguous().clone()
    return result


def save_original(path: Path, parts: dict[str, tuple[dict[str, Tensor], Layout]], **extra: Tensor) -> Path:
    """Write a whole checkpoint: for every part its weights and their layout."""
    tensors: dict[str, Tensor] = dict(extra)
    for weights, layout in parts.values():
        tensors |= to_original(weights, layout)
    save_file(tensors, path)
    return path
