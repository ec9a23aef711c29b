"""Run the VAE once over every picture and keep the result: training then never needs it again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lora_nb.config import DataConfig
from lora_nb.dataset.buckets import Fit, at_resolution, fit_image, fit_picture, resolutions_of, uncropped
from lora_nb.dataset.held_out import hash_picture
from lora_nb.dataset.images import Dataset, ImageItem, open_picture
from lora_nb.dataset.masks import open_mask
from lora_nb.errors import DatasetError, Problem
from lora_nb.models.base import DiffusionModel
from lora_nb.training.entries import read_entry, write_entry

CACHE_VERSION = 2  # raised whenever the same picture would be encoded to something else


@dataclass(frozen=True)
class CachedImage:
    """A picture as the VAE sees it: not one value for each latent but the range it may lie in."""

    item: ImageItem
    fit: Fit
    mean: Tensor  # (C, h, w), scaled as the denoiser expects
    std: Tensor  # (C, h, w)
    mirrored: tuple[Tensor, Tensor] | None = None  # mean and std of the mirrored picture, if it may be seen so
    stored: Fit | None = None  # what the latents hold, if that is more than the bucket: crops are cut from it
    mask: Tensor | None = None  # (1, h, w) in 0..1: what counts; None if all does
    size_number: int = 0  # at which of the resolutions, counted from 0


def cache_dataset(
    model: DiffusionModel,
    dataset: Dataset,
    data: DataConfig,
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CachedImage]:
    """Encode every picture at every resolution, or read what an earlier run encoded.

    An entry is named by all that decides it: the picture's bytes, its size and crop, whether it is mirrored, and the
    VAE. So an edited picture or a changed resolution finds no old entry, and a damaged entry is made again.
    """
    vae = fingerprint_module(model.vae)
    contents = {item: hash_picture(item) for item in dataset.items}
    images: list[CachedImage] = []
    total = len(dataset.items) * len(resolutions_of(data))
    for number, side in enumerate(resolutions_of(data)):
        for item in dataset.items:
            fit = fit_picture(item.width, item.height, at_resolution(data, side))
            stored = uncropped(fit, model.latent_factor) if data.random_crop else fit

            def encode(mirror: bool, item: ImageItem = item, stored: Fit = stored) -> tuple[Tensor, Tensor]:
                name = f"{CACHE_VERSION}/{contents[item]}/{stored}/{vae}" + ("/mirrored" if mirror else "")
                path = folder / "latents" / f"{hashlib.sha256(name.encode()).hexdigest()}.safetensors"
                tensors = _read_latents(path)
                if tensors is None:
                    tensors = _make_latents(model, item, stored, mirror)
                    refuse_change(item, contents[item])  # else its name would lie about what it holds
                    write_entry(path, tensors)
                return tensors["mean"], tensors["std"]

            mirrored = encode(mirror=True) if data.flip else None
            mask = encode_mask(open_mask(item, data), stored, model.latent_factor)
            images.append(CachedImage(item, fit, *encode(mirror=False), mirrored, stored, mask, number))
            on_progress(len(images), total)
    return images


def refuse_change(item: ImageItem, content: str) -> None:
    """Raise DatasetError if a picture is not what it was when the work on it began."""
    if hash_picture(item) != content:
        problem = Problem(item.name, "It was edited while the run was being prepared.", "Start the run again.")
        raise DatasetError("A picture has changed.", [problem])


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


def encode_mask(mask: Image.Image | None, fit: Fit, factor: int) -> Tensor | None:
    """A mask as the loss needs it: cut like its picture, each latent cell the mean of its pixels.

    Picture of 0..255 => (1, h, w) in 0..1
    """
    if mask is None:
        return None
    levels = torch.from_numpy(np.array(fit_image(mask, fit))).float() / 255  # (H, W)
    return avg_pool2d(levels[None], factor)


def _read_latents(path: Path) -> dict[str, Tensor] | None:
    tensors = read_entry(path)
    return tensors if tensors and tensors.keys() == {"mean", "std"} else None


def _make_latents(model: DiffusionModel, item: ImageItem, fit: Fit, mirror: bool) -> dict[str, Tensor]:
    pixels = to_pixels(item, fit)
    with torch.no_grad():
        mean, std = model.encode_pictures((pixels.flip(-1) if mirror else pixels)[None])
    return {"mean": mean[0].float().cpu().contiguous(), "std": std[0].float().cpu().contiguous()}
