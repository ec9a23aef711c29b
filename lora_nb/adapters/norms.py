"""Keeping updates short: no layer's update may be longer than a limit, as kohya's scale_weight_norms has it."""

import torch
from torch import Tensor

from lora_nb.adapters.layers import TRAINED, modules_of
from lora_nb.adapters.modules import FileModule, LokrModule, LoraModule, tensors_of
from lora_nb.models.base import DiffusionModel


@torch.no_grad()
def scale_weight_norms(model: DiffusionModel, limit: float) -> None:
    """Shorten every update that is longer than `limit`, in place; 0 is no limit.

    The length is that of the whole update (Frobenius), found from the small matrices alone; and nothing waits for the
    GPU: lengths and factors stay there.
    """
    if not limit:
        return
    modules = list(modules_of(model, TRAINED).values())
    lengths = torch.stack([update_length(module) for module in modules])
    shortened = lengths.clamp(max=limit) / lengths.clamp(min=limit / 2)  # kohya's bounds: 1 for short updates
    factors = torch.where(lengths > limit, shortened, torch.ones_like(lengths))
    for module, factor in zip(modules, factors, strict=True):
        matrices = list(tensors_of(module).values())
        for matrix in matrices:
            matrix.mul_(factor ** (1 / len(matrices)))  # each bears its share


def update_length(module: FileModule) -> Tensor:
    """The Frobenius norm of an update: ||U D||^2 = trace((U^T U)(D D^T)), which takes rank x rank matrices only."""
    if isinstance(module, LoraModule):
        return _product_length(module.up, module.down) * abs(module.scale)
    if isinstance(module, LokrModule):  # that of a Kronecker product is the product of both
        first = _length(module.w1, module.w1_a, module.w1_b)
        return first * _length(module.w2, module.w2_a, module.w2_b) * abs(module.scale)
    return torch.linalg.vector_norm(module.delta())


def _length(one: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor:
    if one is not None:
        return torch.linalg.vector_norm(one.float())
    assert a is not None and b is not None
    return _product_length(a, b)


def _product_length(left: Tensor, right: Tensor) -> Tensor:
    left, right = left.float().flatten(1), right.float().flatten(1)  # (out, rank), (rank, in)
    return ((left.T @ left) * (right @ right.T)).sum().clamp(min=0).sqrt()  # both are symmetric
