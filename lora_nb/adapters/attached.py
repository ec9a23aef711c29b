"""A LoRA file on a model: put on, turned up and down, and taken off without loading the model again."""

from dataclasses import dataclass

from lora_nb.adapters.files import LoraFile
from lora_nb.adapters.fitting import check_fit
from lora_nb.adapters.layers import ATTACHED, layers_of, modules_of, put_modules, set_module, switch_on, take_off
from lora_nb.adapters.modules import FileModule, tensors_of
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
    check_fit(model, file)
    present = {name: _shape(module) for name, module in modules_of(model, ATTACHED).items()}
    if present == {name: _shape(module) for name, module in file.modules.items()}:  # only values differ
        for name, layer in layers_of(model, ATTACHED).items():
            set_module(layer, ATTACHED, file.modules[name], model.dtype)
    else:
        detach_lora(model)
        put_modules(model, file.modules, ATTACHED)
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


def _shape(module: FileModule) -> tuple[type, tuple[tuple[str, int], ...]]:
    """What two modules have in common that differ in values only: their kind, and the size of each matrix."""
    return type(module), tuple((name, values.numel()) for name, values in tensors_of(module).items())
