"""How fast does each small matrix learn? Parameter groups for the optimizer."""

from typing import Any

from lora_nb.adapters.blocks import choose_places
from lora_nb.adapters.layers import TRAINED, is_lora, layers_of, parameters_of
from lora_nb.config import AdapterConfig, OptimizerConfig
from lora_nb.models.base import DiffusionModel

Groups = list[dict[str, Any]]  # torch's parameter groups: "params", "lr" and "name"


def parameter_groups(model: DiffusionModel, adapter: AdapterConfig, optimizer: OptimizerConfig) -> Groups:
    """What is trained, grouped by its learning rate: that of its part, times its block's factor, times LoRA+.

    A group's name says whose it is: "lora_unet", "lora_unet x0.5", "lora_te up".
    """
    rates = {key: (place.prefix, place.rate) for key, place in choose_places(model, adapter).items()}
    groups: dict[tuple[str, float, bool], dict[str, Any]] = {}
    for key, layer in layers_of(model, TRAINED).items():
        prefix, factor = rates[key]
        base = optimizer.text_encoder_learning_rate if prefix in model.text_encoders else optimizer.learning_rate
        ups = {id(layer.lora_B[TRAINED].weight)} if is_lora(layer) and optimizer.loraplus_ratio != 1 else set()
        for parameter in parameters_of(layer, TRAINED):
            is_up = id(parameter) in ups
            name = prefix + (f" x{factor:g}" if factor != 1 else "") + (" up" if is_up else "")
            rate = base * factor * (optimizer.loraplus_ratio if is_up else 1.0)
            group = groups.setdefault((prefix, factor, is_up), {"params": [], "lr": rate, "name": name})
            group["params"].append(parameter)
    return list(groups.values())
