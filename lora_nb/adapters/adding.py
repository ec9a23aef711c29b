"""How is a LoRA's product added to what its layer says? With as few passes over the wide output as possible."""

from typing import Any

import torch
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.func import functional_call


class AddNarrow(LoraVariant):
    """output + up (scale x down(input)), where peft says output + scale x up(down(input)).

    The scale goes onto the narrow tensor, of `rank` channels, and a linear layer's sum is made by the multiplication
    itself (BLAS's gemm adds to what is there). peft instead makes two more tensors as wide as the output, and under
    autocast a float32 copy of the input. Hooks on `down` and `up` (dropout) act as they do in peft.
    """

    @staticmethod
    def init(module: Any, adapter_name: str, **_: Any) -> None:
        """Nothing to prepare."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """x: (..., in) or (B, in, h, w). result: the layer's own output, which is no longer needed without the sum."""
        down, up = module.lora_A[active_adapter], module.lora_B[active_adapter]
        if down.weight.dtype != x.dtype:  # cast the small matrix and not, as peft does, the wide input
            narrow = functional_call(down, {"weight": down.weight.to(x.dtype)}, (x,))
        else:
            narrow = down(x)
        narrow = narrow * module.scaling[active_adapter]
        own_output = type(module.base_layer) in (nn.Linear, nn.Conv2d)  # others may hand out views, or keep it
        if isinstance(up, nn.Linear) and not up._forward_hooks:
            dtype = result.dtype
            wide, thin, weight = result.flatten(0, -2), narrow.flatten(0, -2).to(dtype), up.weight.t().to(dtype)
            added = wide.addmm_(thin, weight) if own_output else torch.addmm(wide, thin, weight)
            return added.view_as(result)
        product = up(narrow.to(up.weight.dtype)).to(result.dtype)
        return result.add_(product) if own_output else result + product
