"""Which layers get an adapter, and of which rank, strength and speed? Chosen by kind of layer and by block."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from lora_nb.adapters.layers import all_targets, unwrapped
from lora_nb.config import AdapterConfig
from lora_nb.errors import ConfigError, Problem
from lora_nb.models.base import DiffusionModel

# By the layers' names in LoRA files, which are the same whatever library the model comes from.
_ATTENTION = re.compile(r"_(attn\d?|self_attn|attention|SelfAttention|EncDecAttention)_|_linear[12]$")
_MLP = re.compile(r"_(ff|mlp|DenseReluDense)_")
_LAYERS = {  # the names of AdapterConfig.layers
    "all": lambda key: True,
    "attention": lambda key: bool(_ATTENTION.search(key)),
    "attention_mlp": lambda key: bool(_ATTENTION.search(key) or _MLP.search(key)),
}
_UPDOWN = re.compile(r"_(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_")
_SGM = re.compile(r"_(input|output)_blocks_(\d+)_")

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """One layer that gets an adapter."""

    key: str  # its name in LoRA files
    prefix: str  # the part of the model it is in
    target: str  # its name there
    layer: nn.Module
    rank: int
    alpha: float  # as it is written into the file: every program computes alpha / rank
    rate: float  # how many times its part's learning rate


def choose_places(model: DiffusionModel, config: AdapterConfig) -> dict[str, Place]:
    """The layers that the settings give an adapter to, by their name in LoRA files.

    Raises ConfigError for blocks that the model does not have, and when nothing is left to train.
    """
    named = {key: (prefix, target) for prefix, target, key in _candidates(model, config)}
    ranks = _by_block(model, named, config.block_ranks, "adapter.block_ranks")
    rates = _by_block(model, named, config.block_learning_rates, "adapter.block_learning_rates")
    places: dict[str, Place] = {}
    for key, (prefix, target) in named.items():
        layer = unwrapped(model.trained_modules()[prefix].get_submodule(target))
        rank, alpha = ranks.get(key, config.rank), config.alpha
        if rank and config.conv_rank and isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            rank, alpha = config.conv_rank, config.conv_alpha
        rate = rates.get(key, 1.0)
        if rank and rate:
            strength = math.sqrt(rank) if config.rank_stabilized else 1.0  # alpha * sqrt(rank) / rank = alpha / sqrt
            places[key] = Place(key, prefix, target, layer, rank, alpha * strength, rate)
    if not places:
        fix = "Choose more layers or parts, or other blocks."
        raise ConfigError("There is nothing to train.", [Problem("adapter", "No layer gets a matrix.", fix)])
    return places


def kohya_block(key: str) -> str:
    """The name that block-weight tools give to a U-Net's block: IN04, MID, OUT07; empty outside of a U-Net.

    Counted as in kohya's networks/lora.py: three places to a level, the third (or the sampler) at its end.
    """
    if match := _SGM.search(key):
        return f"{'IN' if match[1] == 'input' else 'OUT'}{int(match[2]):02d}"
    if "_mid_block_" in key or "_middle_block_" in key:
        return "MID"
    match = _UPDOWN.search(key)
    if not match:
        return ""
    number = 3 * int(match[2]) + (2 if match[3].endswith("samplers") else int(match[4]))
    return f"IN{number + 1:02d}" if match[1] == "down" else f"OUT{number:02d}"


def _candidates(model: DiffusionModel, config: AdapterConfig) -> Iterable[tuple[str, str, str]]:
    """Part, layer and name in files of all that the settings without blocks choose."""
    for prefix in model.trained_modules():
        if not (config.train_text_encoder if prefix in model.text_encoders else config.train_denoiser):
            continue
        takes_convolutions = config.conv_rank or config.kind == "locon"
        targets = all_targets(model, prefix) if takes_convolutions else model.target_modules(prefix)
        for target in targets:
            key = model.key_name(prefix, target)
            if _LAYERS[config.layers](key) and (config.flux_blocks == "all" or _is_in(config.flux_blocks, key)):
                yield prefix, target, key


def _is_in(kind: str, key: str) -> bool:
    """flux_blocks: of the transformer only these; text encoders have no such blocks."""
    return f"_{kind}_blocks_" in key or key.startswith("lora_te")


def _by_block(
    model: DiffusionModel, named: dict[str, tuple[str, str]], values: dict[str, T], where: str
) -> dict[str, T]:
    """The value that a mapping of blocks has for each layer. The longest name that fits counts."""
    found: dict[str, tuple[int, T]] = {}
    unused = dict.fromkeys(values)
    for key, (prefix, target) in named.items() if values else ():
        names = _names_of(model, prefix, target, key)
        for block, value in values.items():
            plain = block.replace(".", "_") + "_"
            if any(name.startswith(plain) for name in names):
                unused.pop(block, None)
                if len(plain) > found.get(key, (0, value))[0]:
                    found[key] = len(plain), value
    if unused:
        known = ", ".join(sorted({_block_of(model, *place) for place in named.values()}))
        problems = [Problem(where, f"No layer to be trained is in {name!r}.", f"Blocks: {known}.") for name in unused]
        raise ConfigError("Some blocks are not there.", problems)
    return {key: value for key, (_, value) in found.items()}


def _names_of(model: DiffusionModel, prefix: str, target: str, key: str) -> list[str]:
    """All that a layer can be called in settings, with _ for the dots and at the end."""
    path = target.replace(".", "_")
    names = [key, f"{prefix}_{path}"]
    if prefix not in model.text_encoders:
        names += [path, key.removeprefix(f"{prefix}_"), kohya_block(key)]
    return [f"{name}_" for name in names]


def _block_of(model: DiffusionModel, prefix: str, target: str) -> str:
    """down_blocks.1.attentions.0.proj_in => down_blocks.1; of a text encoder its prefix"""
    if prefix in model.text_encoders:
        return prefix
    first, second, *_ = target.split(".")
    return f"{first}.{second}" if second.isdigit() else first
