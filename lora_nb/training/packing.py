"""Nested values to JSON and tensors, and back again exactly: how an optimizer's state is stored without pickle."""

from typing import Any

import torch
from torch import Tensor

SCALARS = (bool, int, float, str, type(None))


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Make JSON of a value; its tensors are copied to `tensors` under names that begin with `name`.

    Raises TypeError for what is neither tensor, number, text, list, tuple nor mapping.
    """
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Tensor):
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name, "on": value.device.type}
    if isinstance(value, list | tuple):
        parts = [pack(part, f"{name}.{number}", tensors) for number, part in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": parts}
    if isinstance(value, dict):
        # keys may be numbers, which JSON would turn into text
        return {"dict": [[pack(key, name, {}), pack(part, f"{name}.{key}", tensors)] for key, part in value.items()]}
    if hasattr(value, "item") and callable(value.item):  # a number of numpy's
        return pack(value.item(), name, tensors)
    raise TypeError(f"{name} is a {type(value).__name__}, which cannot be stored")


def unpack(packed: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    """What `pack` was given. Tensors that were not on the CPU come to `device`."""
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]].to(device if packed["on"] != "cpu" else "cpu")
    if "list" in packed:
        return [unpack(part, tensors, device) for part in packed["list"]]
    if "tuple" in packed:
        return tuple(unpack(part, tensors, device) for part in packed["tuple"])
    return {unpack(key, tensors, device): unpack(part, tensors, device) for key, part in packed["dict"]}
