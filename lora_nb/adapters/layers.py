"""How do small matrices get onto a model's layers, and off again? Everything that touches peft."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from peft.tuners.loha import LoHaLayer
from peft.tuners.lokr import LoKrLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from lora_nb.adapters.adding import AddNarrow
from lora_nb.adapters.modules import (
    DoraModule,
    FileModule,
    LohaModule,
    LokrModule,
    LoraModule,
    field_names,
    map_tensors,
)
from lora_nb.environment import hide_old_torchao
from lora_nb.models.base import DiffusionModel

Layer = Any  # peft's wrapper of a layer, whose attributes are hardly typed: lora_A, hada_w1_a, scaling, ... by adapter

TRAINED = "trained"  # the adapter that training works on
ATTACHED = "attached"  # the LoRA file that is applied while drawing

# What kohya's LoCon adapts besides a LoRA's layers: all linear layers and convolutions inside these classes.
CONVOLUTION_BLOCKS = {"ResnetBlock2D", "Downsample2D", "Upsample2D"}


def all_targets(model: DiffusionModel, prefix: str) -> list[str]:
    """Names of all layers of a part that an adapter can sit on: a LoRA's, then those of the convolution blocks."""
    return [*model.target_modules(prefix), *convolution_targets(model, prefix)]


def convolution_targets(model: DiffusionModel, prefix: str) -> list[str]:
    """Names of the layers that only adapters with a convolution rank sit on. Text encoders and transformers have none.

    The same whether they are wrapped or not.
    """
    if prefix in model.text_encoders:
        return []
    blocks = (item for item in model.trained_modules()[prefix].named_modules() if _is_convolution_block(item[1]))
    layers = [(f"{name}.{child}", layer) for name, block in blocks for child, layer in block.named_children()]
    return [name for name, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d) or _is_wrapper(layer)]


def put_modules(model: DiffusionModel, modules: dict[str, FileModule], name: str) -> None:
    """Wrap the layers that the modules are named after, in place, and give them these matrices.

    The trained adapter's are kept in float32, an attached one's in the model's precision. Draws no random numbers.
    """
    wake_text_encoders(model, modules)
    for prefix, part in model.trained_modules().items():
        alike: dict[tuple[type, int], list[str]] = {}
        for target in all_targets(model, prefix):
            module = modules.get(model.key_name(prefix, target))
            if module is not None:
                alike.setdefault((type(module), module.rank), []).append(target)
        for (kind, rank), targets in alike.items():
            lifted = _lift_off(part, targets) if kind in (LoraModule, DoraModule) else {}
            _wrap(part, _CONFIGS[kind](rank, targets), name)
            _put_back(part, lifted)
    for key, layer in layers_of(model, name).items():
        set_module(layer, name, modules[key], torch.float32 if name == TRAINED else model.dtype)


def wake_text_encoders(model: DiffusionModel, keys: Iterable[str]) -> None:
    """Read the text encoders that these layers are in, if they sleep: what lies on a layer needs its weights."""
    for prefix in model.text_encoders:
        if any(key.startswith(f"{prefix}_") for key in keys):
            model.text_encoders[prefix]


def set_module(layer: Layer, name: str, module: FileModule, dtype: torch.dtype) -> None:
    """Fill one wrapped layer, which must be of the module's kind, with its matrices."""
    base = layer.get_base_layer()
    device = getattr(base, "work_device", base.weight.device)  # a weight may wait in main memory
    _FILL[type(module)](layer, name, map_tensors(module, lambda tensor: tensor.detach().to(device, dtype)))
    layer.r[name] = module.rank
    _alphas(layer)[name] = module.alpha
    layer.scaling[name] = module.scale


def read_module(layer: Layer, name: str) -> FileModule:
    """The matrices of one adapter on a wrapped layer, as they are now; they are the trained ones, not copies."""
    if is_lora(layer):
        (down, up), alpha = matrices_of(layer, name), layer.lora_alpha[name]
        if name not in layer.lora_magnitude_vector:
            return LoraModule(down, up, alpha)
        lengths = layer.lora_magnitude_vector[name].weight
        return DoraModule(down, up, lengths.reshape(-1, *[1] * (down.dim() - 1)), alpha)
    kind, start = (LohaModule, "hada_") if isinstance(layer, LoHaLayer) else (LokrModule, "lokr_")
    holders = {field: getattr(layer, start + field) for field in field_names(kind) if field != "alpha"}
    values = {field: holder[name] for field, holder in holders.items() if name in holder}
    module: FileModule = kind(alpha=layer.alpha[name], **values)
    return module


def layers_of(model: DiffusionModel, name: str) -> dict[str, Layer]:
    """The wrapped layers that hold the adapter `name`, by their name in LoRA files, in the model's order."""
    found: dict[str, Layer] = {}
    for prefix, part in model.trained_modules().items():
        for target in all_targets(model, prefix):
            for layer in _wrappers(part, target):
                if name in layer.scaling:
                    found[model.key_name(prefix, target)] = layer
    return found


def matrices_of(layer: Layer, name: str) -> tuple[Tensor, Tensor]:
    """Down (rank, in) and up (out, rank) of a LoRA or DoRA; with two axes more for a convolution."""
    return layer.lora_A[name].weight, layer.lora_B[name].weight


def modules_of(model: DiffusionModel, name: str) -> dict[str, FileModule]:
    """The matrices of an adapter by the layers' names in LoRA files."""
    return {key: read_module(layer, name) for key, layer in layers_of(model, name).items()}


def parameters_of(layer: Layer, name: str) -> list[nn.Parameter]:
    """What can be trained of one adapter on one layer."""
    found: list[nn.Parameter] = []
    for holder in dict.fromkeys(layer.adapter_layer_names):  # peft names DoRA's lengths twice
        entry = getattr(layer, holder, {})
        if name in entry:
            found += [entry[name]] if isinstance(entry[name], nn.Parameter) else list(entry[name].parameters())
    return found


def take_off(model: DiffusionModel, name: str) -> None:
    """Remove an adapter; a layer that holds no other is unwrapped, so that the model is as it was."""
    for part in model.trained_modules().values():
        wrapped: list[tuple[str, Layer]] = [(path, m) for path, m in part.named_modules() if _is_wrapper(m)]
        for path, layer in reversed(wrapped):  # a wrapper inside another one goes first
            layer.set_adapter([])  # peft warns when it has to choose the next active one itself
            layer.delete_adapter(name)
            if not layer.scaling:
                _replace(part, path, layer.base_layer)


def switch_on(model: DiffusionModel) -> None:
    """Let the adapters act: the trained one in full, the attached one at its weight.

    At weight 0 the attached one is left out of the sum, so that the model is the base model to the last bit.
    """
    weights = {TRAINED: 1.0, ATTACHED: model.attached.weight if model.attached else 0.0}
    for part in model.trained_modules().values():
        layers: list[Layer] = [module for module in part.modules() if _is_wrapper(module)]
        for layer in layers:
            held = [name for name in weights if name in layer.scaling]
            layer.set_adapter([name for name in held if weights[name] != 0])
            for name in held:
                _set_strength(layer, name, weights[name])
                for parameter in parameters_of(layer, name):
                    parameter.requires_grad_(name == TRAINED)


def unwrapped(layer: nn.Module) -> Any:
    """The model's own layer, without peft's wrappers."""
    return layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer


def weight_of(layer: nn.Module) -> Tensor:
    """A layer's own weight, in float32, whatever it is wrapped in and however it is quantized."""
    weight: Tensor = dequantize_module_weight(unwrapped(layer))
    return weight.detach().float()


def size_of(layer: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a layer; those of a convolution count every place of its kernel."""
    own = unwrapped(layer)
    if isinstance(own, nn.Conv2d):
        return own.out_channels, own.in_channels // own.groups * own.kernel_size[0] * own.kernel_size[1]
    return own.out_features, own.in_features


def is_lora(layer: Layer) -> bool:
    """Whether a wrapped layer holds down and up matrices (LoRA, LoCon, DoRA)."""
    return isinstance(layer, LoraLayer)


def _wrap(part: nn.Module, config: PeftConfig, name: str) -> None:
    """Have peft wrap the layers that `config` names. Their matrices have no values yet."""
    layers: Iterator[Layer] = part.modules()
    eight_bits = {layer: layer.weight for layer in layers if type(layer).__name__ == "Linear8bitLt"}
    hide_old_torchao()
    inject_adapter_in_model(config, part, adapter_name=name, low_cpu_mem_usage=True)
    vars(part).pop("peft_config", None)  # a note of peft's, which would make it warn of the next adapter
    for layer, weight in eight_bits.items():
        layer.weight = weight  # on a CPU, peft leaves an empty one where it has measured the lengths for a DoRA


_CONFIGS: dict[type, Callable[[int, list[str]], PeftConfig]] = {
    LoraModule: lambda rank, targets: LoraConfig(r=rank, lora_alpha=rank, target_modules=targets),
    DoraModule: lambda rank, targets: LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, use_dora=True),
    LohaModule: lambda rank, targets: LoHaConfig(r=rank, alpha=rank, target_modules=targets),
    LokrModule: lambda rank, targets: LoKrConfig(r=rank, alpha=rank, target_modules=targets),
}


def _fill_lora(layer: Layer, name: str, module: LoraModule | DoraModule) -> None:
    places = [(layer.lora_A[name], module.down), (layer.lora_B[name], module.up)]
    if isinstance(module, DoraModule):
        lengths = layer.lora_magnitude_vector[name]
        places.append((lengths, module.dora_scale))
        if not hasattr(lengths, "strength"):
            lengths.register_forward_hook(_weaken)
        lengths.strength = 1.0
    else:
        layer.lora_variant[name] = AddNarrow()
    layer.cast_input_dtype_enabled = bool(layer.lora_magnitude_vector)  # DoRA needs it; ours casts what is narrow
    for holder, values in places:
        shape = holder.weight.shape  # a 1x1 convolution's matrices have two more axes of size 1
        holder.weight = nn.Parameter(values.reshape(shape), requires_grad=False)


def _fill_others(start: str) -> Callable[[Layer, str, FileModule], None]:
    """For LoHa and LoKr: replace what peft put there, whose shapes may differ from a file's."""

    def fill(layer: Layer, name: str, module: FileModule) -> None:
        for holder in layer.adapter_layer_names:
            entries, values = getattr(layer, holder), getattr(module, holder.removeprefix(start), None)
            if name in entries:
                del entries[name]
            if values is not None:
                entries[name] = nn.Parameter(values, requires_grad=False)

    return fill


_FILL: dict[type, Callable[..., None]] = {
    LoraModule: _fill_lora,
    DoraModule: _fill_lora,
    LohaModule: _fill_others("hada_"),
    LokrModule: _fill_others("lokr_"),
}


def _set_strength(layer: Layer, name: str, weight: float) -> None:
    """A DoRA at half its weight is half way from the base model to itself, as the web UIs draw it."""
    is_dora = is_lora(layer) and name in layer.lora_magnitude_vector
    if is_dora:
        layer.lora_magnitude_vector[name].strength = weight
    layer.scaling[name] = read_module(layer, name).scale * (1.0 if is_dora else weight)


def _weaken(magnitude: Any, inputs: Any, output: Tensor) -> Tensor:
    """Applied by peft's DoRA layers to what they add to the base model's output."""
    return output if magnitude.strength == 1 else output * magnitude.strength


def _alphas(layer: Layer) -> dict[str, float]:
    found: dict[str, float] = layer.lora_alpha if is_lora(layer) else layer.alpha
    return found


def _lift_off(part: nn.Module, targets: list[str]) -> dict[str, list[Layer]]:
    """Take other wrappers off for a while: peft can only put down and up matrices next to the layer itself."""
    lifted = {name: list(itertools.takewhile(lambda x: not is_lora(x), _wrappers(part, name))) for name in targets}
    lifted = {name: wrappers for name, wrappers in lifted.items() if wrappers}
    for name, wrappers in lifted.items():
        _replace(part, name, wrappers[-1].base_layer)
    return lifted


def _put_back(part: nn.Module, lifted: dict[str, list[Layer]]) -> None:
    for name, wrappers in lifted.items():
        wrappers[-1].base_layer = part.get_submodule(name)
        _replace(part, name, wrappers[0])


def _replace(part: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(part.get_submodule(parent), child, layer)


def _is_convolution_block(module: nn.Module) -> bool:
    return type(module).__name__ in CONVOLUTION_BLOCKS


def _is_wrapper(module: nn.Module) -> bool:
    return isinstance(module, LoraLayer | LoHaLayer | LoKrLayer)


def _wrappers(part: nn.Module, target: str) -> Iterator[Layer]:
    """peft's wrappers around a layer, from the outside: several, where adapters of different kinds meet."""
    layer: Layer = part.get_submodule(target)
    while _is_wrapper(layer):
        yield layer
        layer = layer.base_layer
