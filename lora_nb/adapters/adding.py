"""How is a LoRA's product added to what its layer says? With as few passes over the wide output as possible."""

from typing import Any

import torch
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class AddNarrow(LoraVariant):
    """output + up (scale x down(input)), where peft says output + scale x up(down(input)).

    The scale goes onto the narrow tensor, of `rank` channels, and the sum is made by the multiplication itself (BLAS's
    gemm adds to what is there). peft instead makes two more tensors as wide as the output, and under autocast a float32
    copy of the input. A convolution of one pixel is multiplied like a linear layer, which on a processor is faster.
    """

    @staticmethod
    def init(module: Any, adapter_name: str, **_: Any) -> None:
        """Nothing to prepare."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """x: (..., in) or (B, in, h, w). result: the layer's own output, which is no longer needed without the sum."""
        down, up, scale = module.lora_A[active_adapter], module.lora_B[active_adapter], module.scaling[active_adapter]
        own_output = type(module.base_layer) in (nn.Linear, nn.Conv2d)  # others may hand out views, or keep it
        if down._forward_hooks or up._forward_hooks:  # dropout
            return add_as_layers(down, up, scale, x, result)
        if isinstance(down, nn.Linear) and x.dim() in (2, 3):
            return add_to_linear(down.weight, up.weight, scale, x, result, in_place=own_output)
        if is_pointwise(down) and is_pointwise(up):
            return add_to_pointwise(down.weight, up.weight, scale, x, result)
        return add_as_layers(down, up, scale, x, result)


def add_to_linear(down: Tensor, up: Tensor, scale: float, x: Tensor, result: Tensor, *, in_place: bool) -> Tensor:
    """x: (B, in) or (B, N, in); result: (B, out) or (B, N, out)."""
    narrow = F.linear(x, down.to(x.dtype)) * scale
    thin, weight = narrow.to(result.dtype), up.t().to(result.dtype)
    if x.dim() == 2:
        return result.addmm_(thin, weight) if in_place else torch.addmm(result, thin, weight)
    weight = weight.expand(len(x), -1, -1)  # by batch: in place on a reshaped tensor, autograd would copy gradients
    return result.baddbmm_(thin, weight) if in_place else torch.baddbmm(result, thin, weight)


def add_to_pointwise(down: Tensor, up: Tensor, scale: float, x: Tensor, result: Tensor) -> Tensor:
    """x: (B, in, h, w); result: (B, out, h, w); down: (rank, in, 1, 1); up: (out, rank, 1, 1)."""
    count, flat = len(x), x.flatten(2)
    narrow = torch.bmm(down.flatten(1).to(x.dtype).expand(count, -1, -1), flat) * scale  # (B, rank, h x w)
    weight = up.flatten(1).to(result.dtype).expand(count, -1, -1)
    return torch.baddbmm(result.flatten(2), weight, narrow.to(result.dtype)).view_as(result)


def add_as_layers(down: nn.Module, up: nn.Module, scale: float, x: Tensor, result: Tensor) -> Tensor:
    """Through the modules themselves, for other shapes and for what hooks do to them."""
    return result + call(up, call(down, x) * scale).to(result.dtype)


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """A small layer's output in the precision of its input: its weight is cast and not, as in peft, the wide input."""
    weight: Any = layer.weight
    if weight.dtype == x.dtype:
        return layer(x)
    return functional_call(layer, {"weight": weight.to(x.dtype)}, (x,))


def is_pointwise(layer: nn.Module) -> bool:
    """Whether it is a convolution that looks at one pixel at a time, and at each."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == layer.stride == (1, 1)
