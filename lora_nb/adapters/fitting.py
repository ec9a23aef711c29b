"""Does a LoRA file fit a model? Every layer that it names must be there, and be of its size."""

import torch
from torch import nn

from lora_nb.adapters.files import LoraFile
from lora_nb.adapters.layers import all_targets, size_of
from lora_nb.adapters.modules import FileModule, tensors_of
from lora_nb.adapters.reading import guess_family, name_some
from lora_nb.errors import LoraFileError
from lora_nb.models.base import DiffusionModel


def check_fit(model: DiffusionModel, file: LoraFile) -> None:
    """Raise LoraFileError for layers that the model does not have, or that have another size there."""
    layers: dict[str, nn.Module] = {}
    for prefix, part in model.trained_modules().items():
        layers |= {model.key_name(prefix, name): part.get_submodule(name) for name in all_targets(model, prefix)}
    unknown = [name for name in file.modules if name not in layers]
    if unknown:
        raise LoraFileError(
            f"{file.path} does not fit {model.base}, which has no layer for {name_some(unknown)}. {_advice(unknown)}"
        )
    wrong = [name for name, module in file.modules.items() if module.size != size_of(layers[name])]
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
    family = guess_family(unknown).replace("unknown", "another kind of model")
    return f"It seems to be made for {family}. Use it with the base model that it was trained on."


def _is_finite(module: FileModule) -> bool:
    return all(bool(torch.isfinite(values).all()) for values in tensors_of(module).values())
