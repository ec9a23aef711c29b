"""How do small matrices get onto a model's layers, and off again? Everything that touches peft."""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lora_nb.errors import LoraNbError
from lora_nb.models.base import DiffusionModel

Layer = Any  # a LoraLayer, whose attributes are hardly typed: lora_A, lora_B, scaling, ... by adapter name

TRAINED = "trained"  # the adapter that training works on
ATTACHED = "attached"  # the LoRA file that is applied while drawing


def put_layers(module: nn.Module, config: LoraConfig, name: str) -> None:
    """Wrap the layers that `config` names, in place, without drawing random numbers. Their values are not set yet."""
    if not config.target_modules:
        return
    try:
        inject_adapter_in_model(config, module, adapter_name=name, low_cpu_mem_usage=True)
        vars(module).pop("peft_config", None)  # a note of peft's, which would make it warn of the next adapter
    except ImportError as error:
        if "torchao" not in str(error):
            raise
        raise LoraNbError(
            "The installed torchao is too old for peft, which puts the LoRA on the model. It is not needed here: "
            "remove it with `pip uninstall -y torchao`, then restart the kernel."
        ) from error


def set_values(layer: Layer, name: str, down: Tensor, up: Tensor, alpha: float) -> None:
    """Fill one wrapped layer: it adds alpha / rank * up(down(x)) to what the layer itself says."""
    for matrices, values in ((layer.lora_A, down), (layer.lora_B, up)):
        shape = matrices[name].weight.shape  # a 1x1 convolution's matrices have two more axes of size 1
        matrices[name].weight = nn.Parameter(values.reshape(shape), requires_grad=False)
    layer.lora_alpha[name] = alpha
    layer.scaling[name] = alpha / layer.r[name]


def layers_of(model: DiffusionModel, name: str) -> dict[str, Layer]:
    """The wrapped layers that hold the adapter `name`, by their name in LoRA files, in the model's order."""
    found: dict[str, Layer] = {}
    for prefix, module in model.trained_modules().items():
        for target in model.target_modules(prefix):
            layer = module.get_submodule(target)
            if isinstance(layer, LoraLayer) and name in layer.lora_A:
                found[model.key_name(prefix, target)] = layer
    return found


def matrices_of(layer: Layer, name: str) -> tuple[Tensor, Tensor]:
    """Down (rank, in) and up (out, rank) of one adapter; with two axes of size 1 more for a 1x1 convolution."""
    return layer.lora_A[name].weight, layer.lora_B[name].weight


def take_off(model: DiffusionModel, name: str) -> None:
    """Remove an adapter; a layer that holds no other is unwrapped, so that the model is as it was."""
    for module in model.trained_modules().values():
        wrapped: dict[str, Layer] = {
            path: layer for path, layer in module.named_modules() if isinstance(layer, LoraLayer)
        }
        for path, layer in wrapped.items():
            layer.set_adapter([])  # peft warns when it has to choose the next active one itself
            layer.delete_adapter(name)
            if not layer.lora_A:
                parent, _, child = path.rpartition(".")
                setattr(module.get_submodule(parent), child, layer.base_layer)


def switch_on(model: DiffusionModel) -> None:
    """Let the adapters act: the trained one in full, the attached one at its weight.

    At weight 0 the attached one is left out of the sum, so that the model is the base model to the last bit.
    """
    weights = {TRAINED: 1.0, ATTACHED: model.attached.weight if model.attached else 0.0}
    modules = [module for part in model.trained_modules().values() for module in part.modules()]
    layers: list[Layer] = [module for module in modules if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.set_adapter([name for name, weight in weights.items() if name in layer.lora_A and weight != 0])
        for name in weights.keys() & layer.lora_A.keys():
            layer.scaling[name] = weights[name] * layer.lora_alpha[name] / layer.r[name]
            for matrix in matrices_of(layer, name):
                matrix.requires_grad_(name == TRAINED)


def home_of(layer: Layer) -> tuple[torch.device, torch.dtype]:
    """Where the wrapped layer's own weight lives, and in which precision."""
    weight = layer.get_base_layer().weight
    return weight.device, weight.dtype
