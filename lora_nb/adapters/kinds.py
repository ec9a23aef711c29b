"""Which small matrices are trained? ADAPTERS, and how they are added to a model and taken off again."""

import hashlib
import math
from collections.abc import Callable

import torch
from peft import LoraConfig
from torch import Tensor, nn

from lora_nb.adapters.layers import (
    TRAINED,
    home_of,
    layers_of,
    matrices_of,
    put_layers,
    set_values,
    switch_on,
    take_off,
)
from lora_nb.config import AdapterConfig
from lora_nb.models.base import DiffusionModel


def lora(config: AdapterConfig, target_modules: list[str]) -> LoraConfig:
    """LoRA (Hu et al. 2021, arXiv:2106.09685): two thin matrices beside each layer, of which only they are trained."""
    return LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=target_modules)  # type: ignore[arg-type]


ADAPTERS: dict[str, Callable[[AdapterConfig, list[str]], LoraConfig]] = {"lora": lora}


def add_adapter(model: DiffusionModel, config: AdapterConfig, seed: int) -> dict[str, list[nn.Parameter]]:
    """Add the small matrices that are trained, and freeze everything else.

    The first values depend on the seed and the layer's name alone: not on what was drawn before, nor on which other
    parts are trained. A new adapter changes nothing yet, because its up matrices are zero. An adapter that was being
    trained on this model before is replaced.

    Returns what is trained, in float32, by part: {"lora_unet": [...], "lora_te": [...]}.
    """
    remove_adapter(model)
    for module in model.trained_modules().values():
        module.requires_grad_(False)
    for prefix, module in model.trained_modules().items():
        if config.train_text_encoder or prefix not in model.text_encoders:
            put_layers(module, ADAPTERS[config.kind](config, model.target_modules(prefix)), TRAINED)
    for key, layer in layers_of(model, TRAINED).items():
        down, up = (matrix.shape for matrix in matrices_of(layer, TRAINED))
        device, _ = home_of(layer)
        set_values(
            layer, TRAINED, _first_down(down, seed, key).to(device), torch.zeros(up, device=device), config.alpha
        )
    switch_on(model)
    return _parameters(model)


def remove_adapter(model: DiffusionModel) -> None:
    """Take the trained adapter off again; the model is as it was before add_adapter."""
    if layers_of(model, TRAINED):
        take_off(model, TRAINED)
        switch_on(model)


def _parameters(model: DiffusionModel) -> dict[str, list[nn.Parameter]]:
    found: dict[str, list[nn.Parameter]] = {}
    for prefix, module in model.trained_modules().items():
        found[prefix] = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return {prefix: parameters for prefix, parameters in found.items() if parameters}


def _first_down(shape: torch.Size, seed: int, key: str) -> Tensor:
    """Kaiming-uniform values with a = sqrt(5), as kohya and peft start with; drawn on the CPU, so alike everywhere."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8], "little") >> 1
    generator = torch.Generator().manual_seed(number)
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=generator)
