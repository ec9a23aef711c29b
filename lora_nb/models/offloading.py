"""Blocks that wait in main memory, for a denoiser that is larger than the GPU's (block swap).

The weights of a waiting layer stay in main memory; a copy goes to where its input is, for as long as somebody needs it.
That is autograd: it keeps what it will need on the way back. With gradient checkpointing it keeps no more than a
block's input, and makes the rest again, copies included, so only one block's weights are there at a time. Hooks that
move the weights themselves, such as diffusers' group offloading, are made for drawing: they take a block's weights away
after the forward pass, its LoRA included, before the way back has used them.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lora_nb.models.base import DiffusionModel

HOME = torch.device("cpu")


class WaitingLinear(nn.Linear):
    """A frozen linear layer whose weight waits in main memory, whole or in 4 bits. The same comes out, more slowly."""

    place: Tensor  # holds nothing; it goes to the device that the model goes to

    def __init__(self, layer: Any, home: torch.device = HOME) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.register_buffer("place", torch.empty(0, device=layer.weight.device), persistent=False)
        moved: Any = layer.weight.to(home)  # one in 4 bits keeps its class, and takes its scales along
        self.weight = moved if isinstance(moved, nn.Parameter) else nn.Parameter(moved, requires_grad=False)
        self.bias = layer.bias
        self.compute_type: torch.dtype | None = getattr(layer, "compute_dtype", None)

    @property
    def work_device(self) -> torch.device:
        """Where it computes, and where the small matrices beside it must be."""
        return self.place.device

    def forward(self, x: Tensor) -> Tensor:
        weight = bring(self.weight, x.device)
        if self.compute_type is None:
            return functional.linear(x, weight, self.bias)
        small = x.to(self.compute_type)  # as bitsandbytes does it
        return functional.linear(small, weight.to(self.compute_type), self.bias).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "WaitingLinear":
        """Move everything else: this is what `.to("cuda")` calls."""
        weight = self._parameters.pop("weight")
        try:
            super()._apply(fn, recurse)
        finally:
            self._parameters = {"weight": weight, **self._parameters}  # in the order that it had
        return self


def bring(weight: Tensor, device: torch.device) -> Tensor:
    """A copy of a waiting weight on a device. Also on a CPU, so that what happens there is what happens on a GPU."""
    values = weight.data.to(device, copy=True)
    scales: Any = getattr(weight, "quant_state", None)
    return values if scales is None else _to_16_bits(values, scales, device)


def _to_16_bits(values: Tensor, scales: Any, device: torch.device) -> Tensor:
    """4 bits => the type that the weights had before. So it is these that autograd keeps, or forgets.

    bitsandbytes' own product would keep the 4 bits themselves, out of the reach of gradient checkpointing.
    """
    from bitsandbytes.functional import dequantize_4bit

    scales = copy.copy(scales)  # its `to` works in place
    scales.state2 = copy.copy(scales.state2)
    scales.to(device)
    weight: Tensor = dequantize_4bit(values, scales)
    return weight


def offload_blocks(model: DiffusionModel, share: float, home: torch.device = HOME) -> None:
    """Let this share of the denoiser's blocks (0 to 1) wait in main memory, from when it is read.

    They are spread evenly, so that copying and computing alternate. home: where they wait.
    """
    if share > 0:
        model.networks.rework("denoiser", lambda denoiser: _let_wait(denoiser, share, home))


def _let_wait(denoiser: Any, share: float, home: torch.device) -> None:
    stacks = [part for part in denoiser.children() if isinstance(part, nn.ModuleList)]
    blocks = [block for stack in stacks for block in stack]
    for number, block in enumerate(blocks):
        if int((number + 1) * share) > int(number * share):
            for parent in list(block.modules()):
                for name, layer in list(parent.named_children()):
                    if type(layer) is nn.Linear or type(layer).__name__ == "Linear4bit":
                        setattr(parent, name, WaitingLinear(layer, home))
