"""A LoRA file on a model: put on, turned up and down, and taken off without loading the model again."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from torch import nn

from lora_nb.adapters.files import LoraFile, LoraModule, guess_family, name_some
from lora_nb.adapters.layers import ATTACHED, home_of, layers_of, put_layers, set_values, switch_on, take_off
from lora_nb.errors import LoraFileError
from lora_nb.models.base import DiffusionModel


@dataclass
class Attached:
    """What `model.attached` remembers: which file is on the model, and how strongly it acts."""

    file: LoraFile
    weight: float = 1.0


def attach_lora(model: DiffusionModel, file: LoraFile) -> None:
    """Put a LoRA file on a model, at weight 1, in place of the one that was there.

    An adapter that is being trained stays, and acts too. Raises LoraFileError, and changes nothing, if the file does
    not fit the model.
    """
    _check_fit(model, file)
    present = {name: layer.r[ATTACHED] for name, layer in layers_of(model, ATTACHED).items()}
    if present != {name: module.rank for name, module in file.modules.items()}:  # else only values differ
        detach_lora(model)
        for prefix, part in model.trained_modules().items():
            names = {model.key_name(prefix, target): target for target in model.target_modules(prefix)}
            ranks = {target: file.modules[name].rank for name, target in names.items() if name in file.modules}
            put_layers(part, _make_config(ranks), ATTACHED)
    for name, layer in layers_of(model, ATTACHED).items():
        module = file.modules[name]
        device, dtype = home_of(layer)
        set_values(layer, ATTACHED, module.down.to(device, dtype), module.up.to(device, dtype), module.alpha)
    model.attached = Attached(file)
    switch_on(model)


def set_lora_weight(model: DiffusionModel, weight: float) -> None:
    """How strongly the attached LoRA acts: 1 as trained, 0 not at all (exactly the base model), any number goes."""
    if model.attached is None:
        raise LoraFileError("There is no LoRA on the model whose weight could be set. Call attach_lora first.")
    model.attached.weight = weight
    switch_on(model)


def detach_lora(model: DiffusionModel) -> None:
    """Take the attached LoRA off; the model is as it was. Does nothing if there is none."""
    if layers_of(model, ATTACHED):
        take_off(model, ATTACHED)
    model.attached = None
    switch_on(model)


def _make_config(ranks: dict[str, int]) -> LoraConfig:
    """peft's settings for layers of these ranks; most files have one rank throughout."""
    usual = Counter(ranks.values()).most_common(1)[0][0] if ranks else 1
    others = {target: rank for target, rank in ranks.items() if rank != usual}
    return LoraConfig(r=usual, lora_alpha=usual, target_modules=list(ranks), rank_pattern=others)


def _check_fit(model: DiffusionModel, file: LoraFile) -> None:
    """Raise LoraFileError for layers that the model does not have, or that have another size there."""
    layers: dict[str, Any] = {}
    for prefix, part in model.trained_modules().items():
        layers |= {
            model.key_name(prefix, target): part.get_submodule(target) for target in model.target_modules(prefix)
        }
    unknown = [name for name in file.modules if name not in layers]
    if unknown:
        raise LoraFileError(
            f"{file.path} does not fit {model.base}, which has no layer for {name_some(unknown)}. {_advice(unknown)}"
        )
    wrong = [name for name, module in file.modules.items() if not _fits(layers[name], module)]
    if wrong:
        raise LoraFileError(
            f"{file.path} was made for a model whose layers have other sizes than those of {model.base}: "
            f"{name_some(wrong)}. Use it with the model that it was trained on."
        )
    broken = [name for name, module in file.modules.items() if not _is_finite(module)]
    if broken:
        raise LoraFileError(
            f"{file.path} holds values that are not numbers, in {name_some(broken)}: its training failed. Use the file "
            "of an earlier epoch, and train again with a lower learning rate."
        )


def _advice(unknown: list[str]) -> str:
    if any(part in name for name in unknown for part in ("_resnets_", "samplers_", "_conv_in", "_time_emb")):
        return "It also changes convolutions (LoCon), which this version does not apply."
    family = guess_family(unknown).replace("unknown", "another kind of model")
    return f"It seems to be made for {family}. Use it with the base model that it was trained on."


def _fits(layer: nn.Module, module: LoraModule) -> bool:
    """Whether the file's matrices lead from the layer's inputs to its outputs. A 1x1 convolution counts as linear."""
    weight: Any = getattr(layer, "base_layer", layer).weight  # (out, in), or (out, in, 1, 1)
    rank = module.rank
    return module.down.numel() == rank * weight.shape[1] and module.up.numel() == rank * weight.shape[0]


def _is_finite(module: LoraModule) -> bool:
    return bool(torch.isfinite(module.down).all() and torch.isfinite(module.up).all())
