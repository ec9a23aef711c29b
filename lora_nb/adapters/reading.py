"""What is in these tensors? Sorting a LoRA file's tensors into modules, and saying what else a file may be."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_nb.adapters.modules import (
    ALPHA,
    DORA_SCALE,
    DoraModule,
    FileModule,
    LohaModule,
    LokrModule,
    LoraModule,
    field_names,
    map_tensors,
    name_in_file,
)
from lora_nb.errors import LoraFileError, quote

LONGEST_NAME = 100  # characters of a layer's name in a message

# By the kind: the names of its tensors behind the layer's name.
_NAMES: dict[type, dict[str, str]] = {
    kind: {name_in_file(kind, field): field for field in field_names(kind)}
    for kind in (LoraModule, DoraModule, LohaModule, LokrModule)
}
_KNOWN = {name for names in _NAMES.values() for name in names}

# What a file with such keys is. The first that fits is told to the user.
_FAMILIES = (
    (r"^lora_te2_|^lora_unet_(input|middle|output)_block", "Stable Diffusion XL"),
    (r"^lora_unet_(double|single)_blocks|^(lora_)?transformer[._](single_)?transformer_blocks", "Flux"),
    (r"^lora_te3_", "Stable Diffusion 3 or Flux"),
    (r"^lora_te1_", "Stable Diffusion XL or Flux"),
    (r"^lora_te_text_model_|^lora_unet_(down|mid|up)_block", "Stable Diffusion 1.x or 2.x"),
)
_FORMATS = (
    (r"lora_mid\.weight|\.hada_t\d|\.lokr_t2", "a LyCORIS file with Tucker decomposition, which is not applied here"),
    (
        r"\.(oft_|glora_|boft_|a1\.|b1\.|diff(_b)?$|w_norm|on_input)",
        "a LyCORIS file of a kind that is not applied here",
    ),
    (r"lora_magnitude_vector", "a DoRA in peft's own format"),
    (r"\.(lora_[AB]|lora_linear_layer|lora\.(up|down)|processor\.)", "a LoRA in diffusers' or peft's own format"),
    (r"^(model\.diffusion_model|cond_stage_model|first_stage_model|conditioner)\.", "a whole model, not a LoRA"),
    (r"^(down|mid|up)_blocks?\.|^text_model\.|^conv_in\.", "a part of a whole model, not a LoRA"),
    (r"^emb_params$|^string_to_param", "a textual inversion embedding, not a LoRA"),
)


def parse_modules(path: Path, tensors: dict[str, Tensor]) -> dict[str, FileModule]:
    """Sort the tensors of a file into modules by layer; kinds may be mixed. Raises LoraFileError."""
    parts: dict[str, dict[str, Tensor]] = {}
    foreign = []
    for key, tensor in tensors.items():
        name, _, suffix = key.partition(".")
        if suffix in _KNOWN:
            parts.setdefault(name, {})[suffix] = tensor
        else:
            foreign.append(key)
    if foreign or not tensors:
        raise LoraFileError(
            f"{path} is not a LoRA in kohya's layout: {name_some(foreign)}. It seems to be {guess_format(tensors)}. "
            "Use the LoRA in the format for A1111, Forge or ComfyUI."
        )
    kinds = {name: _kind_of(part) for name, part in parts.items()}
    incomplete = [name for name, part in parts.items() if not _is_complete(kinds[name], part)]
    if incomplete:
        raise LoraFileError(f"{path} lacks one of the matrices of {name_some(incomplete)}. Download it again.")
    return {name: _make_module(path, name, kinds[name], part) for name, part in parts.items()}


def _kind_of(part: dict[str, Tensor]) -> Any:
    """The kind that most of a layer's tensors belong to."""
    if DORA_SCALE in part:
        return DoraModule
    return max(_NAMES, key=lambda kind: len(part.keys() & _NAMES[kind].keys() - {ALPHA}))


def _is_complete(kind: type, part: dict[str, Tensor]) -> bool:
    if kind is LokrModule:
        halves = ((f"lokr_w{number}", f"lokr_w{number}_a", f"lokr_w{number}_b") for number in (1, 2))
        return all(whole in part or (a in part and b in part) for whole, a, b in halves)
    return not _NAMES[kind].keys() - part.keys() - {ALPHA}


def _make_module(path: Path, name: str, kind: Any, part: dict[str, Tensor]) -> FileModule:
    values: dict[str, Any] = {field: part[suffix] for suffix, field in _NAMES[kind].items() if suffix in part}
    alpha, where = values.pop("alpha", None), quote(name, LONGEST_NAME)
    more = sorted(part.keys() - _NAMES[kind].keys())
    if odd := [tensor.dtype for tensor in values.values() if not tensor.is_floating_point()]:
        raise LoraFileError(f"{path}: the matrices of {where} hold {odd[0]}, no real numbers. Download it again.")
    try:
        fits = not more and (alpha is None or alpha.numel() == 1) and _fits(kind(alpha=1.0, **values))
        fits = fits and _multiplies(kind(alpha=1.0, **values))
        number = 1.0 if alpha is None else math.nan if alpha.is_complex() else float(alpha.detach())
    except (RuntimeError, IndexError, ValueError):
        fits = False
    if not fits:
        shapes = ", ".join(f"{suffix} {tuple(tensor.shape)}" for suffix, tensor in sorted(part.items()))
        raise LoraFileError(f"{path}: the matrices of {where} do not fit each other ({shapes}). Download it again.")
    if not math.isfinite(number):
        raise LoraFileError(f"{path}: the alpha of {where} is {number}, so it has no strength. Download it again.")
    module: FileModule = kind(alpha=number, **values)
    if alpha is None:
        module = kind(alpha=float(module.rank), **values)
    return module


def _fits(module: FileModule) -> bool:
    """Whether a module's matrices belong together."""
    if isinstance(module, DoraModule) and module.dora_scale.shape[0] != module.up.shape[0]:
        return False  # lengths of columns, as early LyCORIS had them
    if isinstance(module, LoraModule | DoraModule):
        dims = (2, 4)
        return module.down.dim() in dims and module.up.dim() in dims and 0 < module.down.shape[0] == module.up.shape[1]
    pairs = [
        (getattr(module, f"{name}_a"), getattr(module, f"{name}_b"))
        for name in ("w1", "w2")
        if getattr(module, f"{name}_b") is not None
    ]
    if isinstance(module, LohaModule) and (pairs[0][0].shape, pairs[0][1].shape) != (
        pairs[1][0].shape,
        pairs[1][1].shape,
    ):
        return False
    return all(a.dim() == b.dim() == 2 and 0 < a.shape[1] == b.shape[0] for a, b in pairs) and min(module.size) > 0


def _multiplies(module: FileModule) -> bool:
    """Whether what the matrices make has the layer's size: tried without a single number."""
    if isinstance(module, DoraModule) and module.dora_scale.numel() != module.up.shape[0]:
        return False
    weight = torch.empty(module.size, device="meta")
    return min(module.size) > 0 and map_tensors(module, lambda it: it.to("meta")).delta(weight).shape == weight.shape


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
    return (", ".join(quote(name, LONGEST_NAME) for name in names[:most]) or "nothing in it") + rest
