"""A base model in 8 or 4 bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314).

Its frozen linear layers shrink to a half or a quarter of 16 bits; the LoRA beside them stays fine.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from lora_nb.errors import MissingPackageError
from lora_nb.models.base import DiffusionModel

OUTLIERS_ABOVE = 6.0  # inputs larger than this are multiplied in 16 bits, as in LLM.int8() (arXiv:2208.07339)

MakeLayer = Callable[[nn.Linear, torch.device, torch.dtype], nn.Module]


def quantize(model: DiffusionModel, kind: str, device: torch.device | str) -> None:
    """Have the linear layers of the denoiser and of a T5 text encoder in fewer bits, from when each is read.

    They shrink on the device, one at a time. Only what lies inside stacked blocks does, which is nearly all of a
    transformer's weights, but only about half of a U-Net's: convolutions stay as they are. Layers that the checkpoint
    holds in fewer bits already are left alone, and so are those that are kept finer than the others, as some of T5's in
    fp16, where they would overflow. kind: "none", "int8" or "nf4".
    """
    make_layer = QUANTIZERS[kind]
    if make_layer is None:
        return
    for name in large_parts(model):
        model.networks.rework(name, partial(_shrink_layers, make_layer, torch.device(device), model.dtype))
    # by these peft knows that there are such layers
    denoiser: Any = model.networks.shape("denoiser")
    denoiser.is_loaded_in_8bit, denoiser.is_loaded_in_4bit = kind == "int8", kind == "nf4"


def make_int8(layer: nn.Linear, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """8 bits a weight, with one scale for each row. Weights move by less than half a percent."""
    nn_bits = _import_layers()
    small = nn_bits.Linear8bitLt(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        has_fp16_weights=False,
        threshold=OUTLIERS_ABOVE,
        device="meta",
    )
    small.weight = nn_bits.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False).to(device)
    small.register_forward_pre_hook(_find_scales)
    return _finish(small, layer, device, dtype)


def make_nf4(layer: nn.Linear, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """4 bits a weight: the 16 values that suit normally distributed numbers, with a scale for each 64 weights."""
    nn_bits = _import_layers()
    small = nn_bits.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    small.weight = nn_bits.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=small).to(device)
    return _finish(small, layer, device, dtype)


# to add one: write the function, name it here and in config.RunConfig
QUANTIZERS: dict[str, MakeLayer | None] = {"none": None, "int8": make_int8, "nf4": make_nf4}


def weight_bytes(module: nn.Module) -> int:
    """How much memory a module's weights take, with the scales that belong to weights in fewer bits."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
    for layer in module.modules():
        total += sum(tensor.numel() * tensor.element_size() for tensor in _scales(layer))
    return total


def _scales(layer: Any) -> Iterator[torch.Tensor]:
    weight = getattr(layer, "weight", None)
    state = getattr(weight, "quant_state", None)  # of 4 bits
    if state is not None:
        nested = state.state2
        yield from (state.absmax, nested.absmax, nested.code) if nested is not None else (state.absmax,)
    scale = getattr(weight, "SCB", None)  # of 8 bits: until the first pass here, then in the layer's state
    scale = scale if scale is not None else getattr(getattr(layer, "state", None), "SCB", None)
    if isinstance(scale, torch.Tensor):
        yield scale


def large_parts(model: DiffusionModel) -> list[str]:
    """The networks that are worth it, by role. Whether a T5 can learn or not does not matter: nobody trains it."""
    encoders = (*model.text_encoders, *model.frozen_text_encoders)
    return ["denoiser", *(name for name in encoders if type(model.networks.shape(name)).__name__ == "T5EncoderModel")]


def _shrink_layers(make_layer: MakeLayer, device: torch.device, dtype: torch.dtype, part: nn.Module) -> None:
    usual = next(part.parameters()).dtype
    for parent, name, layer in layers_to_shrink(part):
        if layer.weight.dtype.itemsize <= usual.itemsize:
            # T5 turns the inputs of its "wo" layers into the type of their weights, which only int8 escapes
            make = make_int8 if name == "wo" else make_layer
            setattr(parent, name, make(layer, device, dtype))


def layers_to_shrink(part: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """The plain linear layers inside the blocks of a part: (what holds it, its name there, the layer)."""
    found = []
    for path, layer in part.named_modules():
        parent, _, name = path.rpartition(".")
        inside = any(step.isdigit() for step in parent.split(".")) or parent.startswith("mid_block")
        if inside and type(layer) is nn.Linear:
            found.append((part.get_submodule(parent), name, layer))
    return found


def _find_scales(layer: Any, inputs: Any) -> None:
    """Give weights that were copied their scales back: peft copies a DoRA's on a CPU, and bitsandbytes loses them."""
    if layer.weight.SCB is None and layer.state.SCB is not None:  # after the first pass they are there
        layer.weight.SCB = layer.state.SCB.to(layer.weight.device)


def _finish(small: Any, layer: nn.Linear, device: torch.device, dtype: torch.dtype) -> nn.Module:
    if layer.bias is not None:
        small.bias = nn.Parameter(layer.bias.data.to(device, dtype), requires_grad=False)
    # else bitsandbytes repacks the weights of some processors in evaluation mode, and no gradient flows any more
    small.support_avx512bf16_for_cpu = False
    finished: nn.Module = small
    return finished


def _import_layers() -> Any:
    try:
        import bitsandbytes.nn as nn_bits
    except ImportError as error:
        raise MissingPackageError("A base model in 8 or 4 bits (run.quantization)", "bitsandbytes") from error
    return nn_bits
