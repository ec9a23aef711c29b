"""What decides one picture of a grid, and the pictures that were drawn already: cells stored by their content.

A cell's name is a hash of everything that decides its picture. So a grid can be interrupted, drawn again or widened,
and only the pictures that were never drawn cost time.
"""

import hashlib
import importlib.metadata
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin

from lora_nb.config import GenerationConfig
from lora_nb.errors import LoraFileError
from lora_nb.files import write_whole

if TYPE_CHECKING:
    import torch

    from lora_nb.models.base import DiffusionModel

CELL_VERSION = 1  # raise it when sampling.py draws other pictures from the same settings: old cells are then left alone
SAMPLER_NAMES = {  # as A1111 writes them, so that its "PNG info" page understands our pictures
    "euler": "Euler",
    "euler_a": "Euler a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_karras": "DPM++ 2M Karras",
    "ddim": "DDIM",
}
_VALUES_PER_TENSOR = 64  # any finetune moves nearly all values, so a few of each tensor tell two models apart


@dataclass(frozen=True)
class Recipe:
    """Everything that decides one picture, with files replaced by what they hold."""

    settings: GenerationConfig
    lora_hash: str  # sha256 of the LoRA file's bytes; empty without one
    base: str  # what the user called the base model
    fingerprint: str  # of the base model's weights

    @property
    def key(self) -> str:
        """The cell's name: sha256, 64 hexadecimal digits."""
        parts = {
            "version": CELL_VERSION,
            "diffusers": importlib.metadata.version("diffusers"),
            "base": self.base,
            "fingerprint": self.fingerprint,
            "lora": self.lora_hash,  # not its path: a LoRA that was moved or renamed draws the same picture
            "settings": self.settings.model_dump(mode="json", exclude={"lora"}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, str]:
        """The picture's origin as PNG text: A1111's `parameters`, and all settings as JSON."""
        facts = {
            **self.settings.model_dump(mode="json"),
            "lora": self.settings.lora.name if self.settings.lora else None,  # folders are nobody else's business
            "lora_sha256": self.lora_hash,
            "base": self.base,
            "base_fingerprint": self.fingerprint,
        }
        return {"parameters": write_parameters(self), "lora_nb": json.dumps(facts, ensure_ascii=False)}


def write_prompt(settings: GenerationConfig) -> str:
    """The prompt with its LoRA, as A1111 takes it: 'mochi, smile <lora:mochi-000004:0.8>'."""
    if settings.lora is None:
        return settings.prompt
    return f"{settings.prompt} <lora:{settings.lora.stem}:{settings.lora_weight:g}>".strip()


def list_parameters(recipe: Recipe) -> dict[str, str]:
    """All settings but the prompts, under the names that A1111 gives them."""
    settings = recipe.settings
    facts = {
        "Steps": f"{settings.steps}",
        "Sampler": SAMPLER_NAMES[settings.sampler],
        "CFG scale": f"{settings.guidance_scale:g}",
        "Seed": f"{settings.seed}",
        "Size": f"{settings.width}x{settings.height}",
        "Model": recipe.base,
        "Clip skip": f"{settings.clip_skip}",
    }
    if settings.lora is not None:
        facts["Lora hashes"] = f'"{settings.lora.stem}: {recipe.lora_hash[:12]}"'
    return facts


def write_parameters(recipe: Recipe) -> str:
    """The settings in the words of A1111's web UI, where the picture can be dropped on the page 'PNG info'."""
    lines = [write_prompt(recipe.settings)]
    if recipe.settings.negative_prompt:
        lines.append(f"Negative prompt: {recipe.settings.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in list_parameters(recipe).items()))
    return "\n".join(lines)


def load_cell(folder: Path, key: str) -> Image.Image | None:
    """The stored picture of a cell, or None if it was never drawn or its file is damaged."""
    try:
        content = (folder / f"{key}.png").read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.verify()  # the checksums, which load() does not look at
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # SyntaxError is how Pillow reports a broken PNG chunk
        return None


def save_cell(folder: Path, recipe: Recipe, picture: Image.Image) -> None:
    """Store a cell's picture with its parameters inside: the whole file or nothing."""
    text = PngImagePlugin.PngInfo()
    for name, value in recipe.describe().items():
        text.add_text(name, value)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=text)
    write_whole(folder / f"{recipe.key}.png", buffer.getvalue())


def hash_file(path: Path) -> str:
    """sha256 of a LoRA file's bytes, as hexadecimal digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LoraFileError(f"{path} cannot be read: {error.strerror}. Choose another LoRA file.") from error


def model_fingerprint(model: "DiffusionModel") -> str:
    """Tell two base models apart by their weights, whatever they are called: 16 hexadecimal digits.

    Looks at names, shapes, types and some values of every tensor, which takes well under a second where hashing all
    bytes of a large model would take many. An attached LoRA file is left out, so it is the same before and after;
    an adapter that is being trained counts, since it acts in every picture.
    """
    from lora_nb.adapters.layers import ATTACHED  # here, so that a plan can be made without torch

    parts = {"denoiser": model.denoiser, **model.text_encoders, **model.frozen_text_encoders, "vae": model.vae}
    digest = hashlib.sha256(json.dumps(model.scheduler_config, sort_keys=True, default=str).encode())
    digest.update(model.reading.encode())
    for part, module in parts.items():
        for name, tensor in module.state_dict().items():
            if f".{ATTACHED}." not in f"{name}.":
                own_name = name.replace(".base_layer.", ".")  # where peft moves the weights of a layer with an adapter
                digest.update(f"{part}.{own_name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
                digest.update(_some_values(tensor))
    return digest.hexdigest()[:16]


def _some_values(tensor: "torch.Tensor") -> bytes:
    """Evenly spread values of a tensor, as bytes."""
    import torch

    values = tensor.detach().flatten()
    values = values[:: max(1, values.numel() // _VALUES_PER_TENSOR)].contiguous().cpu()
    return values.view(torch.uint8).numpy().tobytes()
