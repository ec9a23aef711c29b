"""The .safetensors file of a LoRA, laid out as kohya does, which every program reads."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lora_nb.adapters.layers import TRAINED, layers_of, matrices_of
from lora_nb.errors import LoraFileError
from lora_nb.files import write_whole
from lora_nb.models.base import PRECISIONS, DiffusionModel

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_KEY = re.compile(rf"(.+)\.({re.escape(DOWN)}|{re.escape(UP)}|{ALPHA})")

# What a file with such keys is. The first that fits is told to the user.
_FAMILIES = (
    (r"^lora_te2_|^lora_unet_(input|middle|output)_block", "Stable Diffusion XL"),
    (r"^lora_unet_(double|single)_blocks|^(lora_)?transformer[._](single_)?transformer_blocks", "Flux"),
    (r"^lora_te3_", "Stable Diffusion 3 or Flux"),
    (r"^lora_te1_", "Stable Diffusion XL or Flux"),
    (r"^lora_te_text_model_|^lora_unet_(down|mid|up)_block", "Stable Diffusion 1.x or 2.x"),
)
_FORMATS = (
    (r"\.(hada_|lokr_|oft_|glora_|boft_)", "a LyCORIS file (LoHa, LoKr or another kind), which is not a plain LoRA"),
    (r"dora_scale|lora_magnitude_vector", "a DoRA, which is not a plain LoRA"),
    (r"lora_mid\.weight", "a LoCon with Tucker decomposition, which is not a plain LoRA"),
    (r"\.(lora_[AB]|lora_linear_layer|lora\.(up|down)|processor\.)", "a LoRA in diffusers' or peft's own format"),
    (r"^(model\.diffusion_model|cond_stage_model|first_stage_model|conditioner)\.", "a whole model, not a LoRA"),
    (r"^(down|mid|up)_blocks?\.|^text_model\.|^conv_in\.", "a part of a whole model, not a LoRA"),
    (r"^emb_params$|^string_to_param", "a textual inversion embedding, not a LoRA"),
)


@dataclass(frozen=True, eq=False)
class LoraModule:
    """What a LoRA file holds for one layer of the model: it adds alpha / rank * up(down(x))."""

    down: Tensor  # (rank, in), for a convolution (rank, in, kernel, kernel)
    up: Tensor  # (out, rank), for a convolution (out, rank, 1, 1)
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self) -> Tensor:
        """What is added to the layer's weight at LoRA weight 1, as (out, in * kernel * kernel) in float32."""
        return self.up.float().flatten(1) @ self.down.float().flatten(1) * (self.alpha / self.rank)


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA file, read into memory."""

    path: Path
    metadata: dict[str, str]
    modules: dict[str, LoraModule]  # by the layer's name in the file, such as lora_unet_mid_block_..._to_q
    stamp: tuple[int, int]  # size and time of writing: tells whether the file has been replaced since


def save_lora(model: DiffusionModel, path: Path, *, precision: str, metadata: dict[str, str]) -> None:
    """Write the adapter that is being trained: the whole file or nothing.

    Every matrix and alpha is stored in `precision` ("fp32", "fp16" or "bf16"). The two hashes by which web UIs and
    Civitai recognise a LoRA are added to the metadata.
    """
    tensors: dict[str, Tensor] = {}
    for key, layer in layers_of(model, TRAINED).items():
        down, up = matrices_of(layer, TRAINED)
        tensors |= {f"{key}.{DOWN}": down, f"{key}.{UP}": up, f"{key}.{ALPHA}": torch.tensor(layer.lora_alpha[TRAINED])}
    if not tensors:
        raise LoraFileError(f"{path} was not written: the model has no adapter. Call add_adapter first.")
    dtype = PRECISIONS[precision]
    tensors = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    write_whole(path, save(tensors, metadata | make_hashes(tensors, metadata)))


def make_hashes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, str]:
    """The hashes that kohya writes: of the tensors alone, and of 64 KiB that start at 1 MiB (often past the end).

    Both are of the file as it would be with its ss_* metadata only, so that titles can be edited later.
    """
    content = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(content[:8], "little")  # after the length of the header, and the header
    return {
        "sshs_model_hash": hashlib.sha256(content[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
    }


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA in kohya's layout, from any program. A missing alpha means alpha = rank, as everywhere.

    Raises LoraFileError, which names what was found, for a file that is damaged or is not such a LoRA.
    """
    stamp = stamp_of(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise LoraFileError(
            f"{path} is damaged, cut off or not in safetensors format ({error}). Copy or download it again; pickled "
            "LoRAs (.pt, .ckpt) are not read, because they can run any program."
        ) from error
    return LoraFile(path, metadata, _parse(path, tensors), stamp)


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of writing of a LoRA file: another one means that it was written anew."""
    try:
        stat = path.stat()
    except OSError as error:
        raise LoraFileError(f"There is no LoRA file {path} ({error.strerror}). Check its name and folder.") from None
    return stat.st_size, stat.st_mtime_ns


def _parse(path: Path, tensors: dict[str, Tensor]) -> dict[str, LoraModule]:
    matches = {key: _KEY.fullmatch(key) for key in tensors}
    foreign = [key for key, match in matches.items() if not match]
    if foreign or not tensors:
        raise LoraFileError(
            f"{path} is not a LoRA in kohya's layout: {name_some(foreign)}. It seems to be {guess_format(tensors)}. "
            "Use the LoRA in the format for A1111, Forge or ComfyUI."
        )
    names = dict.fromkeys(match[1] for match in matches.values() if match)
    incomplete = [name for name in names if {f"{name}.{DOWN}", f"{name}.{UP}"} - tensors.keys()]
    if incomplete:
        raise LoraFileError(f"{path} lacks one of the two matrices of {name_some(incomplete)}. Download it again.")
    return {name: _make_module(path, name, tensors) for name in names}


def _make_module(path: Path, name: str, tensors: dict[str, Tensor]) -> LoraModule:
    down, up, alpha = tensors[f"{name}.{DOWN}"], tensors[f"{name}.{UP}"], tensors.get(f"{name}.{ALPHA}")
    fits = down.dim() in (2, 4) and up.dim() in (2, 4) and 0 < down.shape[0] == up.shape[1]
    if not fits or (alpha is not None and alpha.numel() != 1):
        shapes = f"down {tuple(down.shape)}, up {tuple(up.shape)}"
        raise LoraFileError(f"{path}: the matrices of {name} do not fit each other ({shapes}). Download it again.")
    return LoraModule(down, up, float(down.shape[0] if alpha is None else alpha))


def lora_summary(file: LoraFile) -> dict[str, Any]:
    """What `lora-nb inspect` shows: parts, ranks, strength, precision, and where the file comes from."""
    ranks = Counter(module.rank for module in file.modules.values())
    alphas = Counter(module.alpha for module in file.modules.values())
    precisions = Counter(str(module.down.dtype).removeprefix("torch.") for module in file.modules.values())
    tags = file.metadata.get("modelspec.trigger_phrase", "")
    return {
        "file": file.path.name,
        "size_mb": round(file.stamp[0] / 1e6, 2),
        "family": guess_family(file.modules),
        "trigger_words": [word.strip() for word in tags.split(",") if word.strip()],
        "modules": len(file.modules),
        "modules_by_part": dict(Counter(_part(name) for name in file.modules)),
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "alphas": {f"{alpha:g}": count for alpha, count in sorted(alphas.items())},
        "precision": ", ".join(precisions),
        "metadata": dict(sorted(file.metadata.items())),
    }


def guess_family(keys: Iterable[str]) -> str:
    """Which kind of model a LoRA was made for, by the names of its layers."""
    keys = list(keys)
    for pattern, family in _FAMILIES:
        if any(re.search(pattern, key) for key in keys):
            return family
    return "unknown"


def guess_format(keys: Iterable[str]) -> str:
    """What a file that is not a plain kohya LoRA seems to be, in words."""
    keys = list(keys)
    if not keys:
        return "empty"
    for pattern, kind in _FORMATS:
        if any(re.search(pattern, key) for key in keys):
            return kind
    return "something else"


def name_some(names: list[str], most: int = 3) -> str:
    """A few of many names, for an error message."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing in it") + rest


def _part(name: str) -> str:
    """lora_te_text_model_encoder_layers_0_mlp_fc1 => lora_te"""
    return "_".join(name.split("_")[:2])
