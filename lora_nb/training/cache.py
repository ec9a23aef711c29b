"""Run the VAE once over every picture and keep the result: training then never needs it again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lora_nb.config import DataConfig
from lora_nb.dataset.buckets import Fit, fit_image, fit_picture
from lora_nb.dataset.images import Dataset, ImageItem, open_picture
from lora_nb.files import write_whole
from lora_nb.models.base import DiffusionModel

CACHE_VERSION = 1  # raised whenever the same picture would be encoded to something else


@dataclass(frozen=True)
class CachedImage:
    """A picture as the VAE sees it: not one value for each latent but the range it may lie in."""

    item: ImageItem
    fit: Fit
    mean: Tensor  # (C, h, w), scaled as the denoiser expects
    std: Tensor  # (C, h, w)


def cache_dataset(
    model: DiffusionModel,
    dataset: Dataset,
    data: DataConfig,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CachedImage]:
    """Encode every picture, or read what an earlier run encoded.

    An entry is named by all that decides it: the picture's bytes, its bucket and crop, and the VAE. So an edited
    picture or a changed resolution finds no old entry, and a damaged entry is made again.
    """
    vae = fingerprint_module(model.vae)
    images = []
    for done, item in enumerate(dataset.items, start=1):
        fit = fit_picture(item.width, item.height, data)
        path = folder / "latents" / f"{_key(item, fit, vae)}.safetensors"
        tensors = _read_entry(path) or _make_entry(model, item, fit, path)
        images.append(CachedImage(item, fit, tensors["mean"], tensors["std"]))
        on_progress(done, len(dataset.items))
    return images


def fingerprint_module(module: torch.nn.Module) -> str:
    """A hash of a module's weights: two that differ in one number have different ones."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def to_pixels(item: ImageItem, fit: Fit) -> Tensor:
    """Open a picture as the model sees it: upright, resized and cropped to its bucket. => (3, H, W) in -1..1"""
    pixels = torch.from_numpy(np.array(fit_image(open_picture(item.path), fit)))  # (H, W, 3) in 0..255
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def _key(item: ImageItem, fit: Fit, vae: str) -> str:
    picture = hashlib.sha256(item.path.read_bytes()).hexdigest()
    return hashlib.sha256(f"{CACHE_VERSION}/{picture}/{fit}/{vae}".encode()).hexdigest()


def _read_entry(path: Path) -> dict[str, Tensor] | None:
    try:
        tensors = load(path.read_bytes())
        return tensors if tensors.keys() == {"mean", "std"} else None
    except (FileNotFoundError, SafetensorError):
        return None


def _make_entry(model: DiffusionModel, item: ImageItem, fit: Fit, path: Path) -> dict[str, Tensor]:
    with torch.no_grad():
        mean, std = model.encode_pictures(to_pixels(item, fit)[None])
    tensors = {"mean": mean[0].float().cpu().contiguous(), "std": std[0].float().cpu().contiguous()}
    write_whole(path, save(tensors))
    return tensors
