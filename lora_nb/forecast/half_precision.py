"""Half precision without numbers: what torch.autocast does, for tensors on the meta device, which it ignores.

Which functions it runs in 16 bits and which in 32 decides how large the tensors are that wait for the backward pass.
The lists are PyTorch's own (ATen/autocast_mode.h for GPUs, autocast_mode.cpp for CPUs), by the names that Python code
calls them by.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

HALF = {
    *("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "addmm", "addbmm", "baddbmm"),
    *("einsum", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    "scaled_dot_product_attention",
}
WHOLE = {  # by device; CPUs leave norms and sums in the precision they come in
    "cuda": {
        *("layer_norm", "rms_norm", "group_norm", "norm", "vector_norm", "softmax", "log_softmax", "cosine_similarity"),
        *("pow", "__pow__", "__rpow__", "square", "exp", "expm1", "log", "log2", "log10", "rsqrt", "reciprocal"),
        *("__rdiv__", "__rtruediv__", "softplus", "sum", "prod", "cumsum", "cumprod", "logsumexp", "interpolate"),
    },
    "cpu": set(),
}


class HalfPrecision(TorchFunctionMode):
    """Within this, functions run in the precision in which torch.autocast would run them on that device."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self._dtype, self._whole = dtype, WHOLE[device]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        kwargs = kwargs or {}
        if name in HALF:
            args, kwargs = _cast(args, self._dtype), _cast(kwargs, self._dtype)
        elif name in self._whole:
            args, kwargs = _cast(args, torch.float32), _cast(kwargs, torch.float32)
        return function(*args, **kwargs)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    def cast(value: Any) -> Any:
        is_cast = isinstance(value, Tensor) and value.is_meta and value.is_floating_point()
        return value.to(dtype) if is_cast else value

    return tree_map(cast, values)
