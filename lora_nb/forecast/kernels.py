"""What does a device need beyond the tensors that the code names? As little as explains what is measured.

On the meta device an operator is only its result. Two things that real devices do make a difference: attention that
never writes the table of all pairs down, and convolutions that work on copies in another order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from lora_nb.forecast.ledger import Scratch


class FusedAttention(TorchFunctionMode):
    """Attention as every device computes it here: block by block, so that only its result is kept.

    PyTorch's own stand-in for the meta device writes down how much each token looks at each other one, a table of
    tokens x tokens, which the kernels of CPUs (flash) and GPUs (flash, memory-efficient) avoid.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _attend(query: Tensor, key: Tensor, value: Tensor, *options: Any, **more: Any) -> Any:
    return _Attention.apply(query, key, value)


class _Attention(torch.autograd.Function):
    """(B, heads, N, D) three times => (B, heads, N, D): the shapes that the fused kernels make and keep."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)  # of each row, so that it can be done again
        ctx.save_for_backward(query, key, value, result, sums)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def convolution_copies(args: tuple[Any, ...], result: Tensor) -> list[int]:
    """Input, weight and result in the order that the kernel likes (blocks of channels, or channels last)."""
    return [tensor.nbytes for tensor in (args[0], args[1], result)]


def convolution_copies_backward(args: tuple[Any, ...], result: tuple[Tensor | None, ...]) -> list[int]:
    """The same for the way back: the result's gradient, the weight, and the input's gradient."""
    gradient, _, weight = args[:3]
    return [tensor.nbytes for tensor in (gradient, weight, result[0]) if tensor is not None]


SCRATCH: dict[str, Scratch] = {  # by the operator's name in aten
    "convolution": convolution_copies,
    "convolution_backward": convolution_copies_backward,
}
