"""What a LoRA file holds for one layer of the model: the matrices of each kind, and what they add up to."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

DOWN, UP, ALPHA, DORA_SCALE = "lora_down.weight", "lora_up.weight", "alpha", "dora_scale"


class FileModule(Protocol):
    """What all kinds have in common.

    scale: what their product is multiplied by. size: outputs and inputs of the layer; those of a convolution count
    every place of its kernel. delta: what is added to the layer's weight at LoRA weight 1; a DoRA wants to know it.
    """

    @property
    def alpha(self) -> float: ...
    @property
    def rank(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def delta(self, weight: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class LoraModule:
    """LoRA, LoCon (Hu et al. 2021, arXiv:2106.09685): alpha / rank * up(down(x)) is added to what the layer says."""

    down: Tensor  # (rank, in), for a convolution (rank, in, kernel, kernel)
    up: Tensor  # (out, rank), for a convolution (out, rank, 1, 1)
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def size(self) -> tuple[int, int]:
        return self.up.shape[0], self.down[0].numel()

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """What is added to the layer's weight at LoRA weight 1, as (out, in * kernel * kernel) in float32."""
        return self.up.float().flatten(1) @ self.down.float().flatten(1) * self.scale


@dataclass(frozen=True, eq=False)
class DoraModule:
    """DoRA (Liu et al. 2024, arXiv:2402.09353): a LoRA, after which each row of the weight is brought to a length."""

    down: Tensor
    up: Tensor
    dora_scale: Tensor  # the lengths, (out, 1), for a convolution (out, 1, 1, 1)
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def size(self) -> tuple[int, int]:
        return self.up.shape[0], self.down[0].numel()

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """The same as for a LoRA; but it depends on the weight that it is added to."""
        assert weight is not None, "what a DoRA adds depends on the layer's weight"
        own = weight.float().flatten(1)
        changed = own + LoraModule(self.down, self.up, self.alpha).delta()
        return changed * (self.dora_scale.float().flatten(1) / changed.norm(dim=1, keepdim=True)) - own


@dataclass(frozen=True, eq=False)
class LohaModule:
    """LoHa (Hyeon-Woo et al. 2021, arXiv:2108.06098): the product, value by value, of two low-rank matrices."""

    w1_a: Tensor  # (out, rank)
    w1_b: Tensor  # (rank, in * kernel * kernel)
    w2_a: Tensor
    w2_b: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def size(self) -> tuple[int, int]:
        return self.w1_a.shape[0], self.w1_b.shape[1]

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """(out, in * kernel * kernel) in float32."""
        return (self.w1_a.float() @ self.w1_b.float()) * (self.w2_a.float() @ self.w2_b.float()) * self.scale


@dataclass(frozen=True, eq=False)
class LokrModule:
    """LoKr (Yeh et al. 2023, arXiv:2309.14859): the Kronecker product of two matrices, each whole or low-rank."""

    alpha: float
    w1: Tensor | None = None  # (out_1, in_1), or else
    w1_a: Tensor | None = None  # (out_1, rank) and
    w1_b: Tensor | None = None  # (rank, in_1)
    w2: Tensor | None = None  # (out_2, in_2), for a convolution (out_2, in_2, kernel, kernel), or else
    w2_a: Tensor | None = None  # (out_2, rank) and
    w2_b: Tensor | None = None  # (rank, in_2 * kernel * kernel)

    @property
    def rank(self) -> int:
        """Of the low-rank matrix; if both are whole, alpha stands for it."""
        low = self.w2_b if self.w2_b is not None else self.w1_b
        return round(self.alpha) if low is None else low.shape[0]

    @property
    def scale(self) -> float:
        """alpha / rank; but 1 if both matrices are whole, as LyCORIS, A1111 and ComfyUI have it."""
        return 1.0 if self.w1 is not None and self.w2 is not None else self.alpha / self.rank

    @property
    def size(self) -> tuple[int, int]:
        (rows, columns), (more_rows, more_columns) = (
            (_whole(one, a, b, size_only=True).flatten(1).shape)
            for one, a, b in ((self.w1, self.w1_a, self.w1_b), (self.w2, self.w2_a, self.w2_b))
        )
        return rows * more_rows, columns * more_columns

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """(out, in * kernel * kernel) in float32."""
        small, large = _whole(self.w1, self.w1_a, self.w1_b), _whole(self.w2, self.w2_a, self.w2_b)
        small = small.reshape(*small.shape, *[1] * (large.dim() - 2))
        return torch.kron(small, large.contiguous()).flatten(1) * self.scale


M = TypeVar("M", bound=FileModule)
_PREFIXES: dict[type, str] = {LohaModule: "hada_", LokrModule: "lokr_"}
_LORA_NAMES = {"down": DOWN, "up": UP, "dora_scale": DORA_SCALE}


def kind_of(module: FileModule) -> str:
    """What such a module is called in the settings (adapter.kind)."""
    if not isinstance(module, LoraModule):
        return type(module).__name__.removesuffix("Module").lower()
    return "locon" if module.down.dim() == 4 and module.down.shape[2:].numel() > 1 else "lora"


def name_in_file(kind: type, field: str) -> str:
    """What a field of a kind is called in files, behind the layer's name: name_in_file(LohaModule, "w1_a")."""
    if field == "alpha":
        return ALPHA
    return _PREFIXES[kind] + field if kind in _PREFIXES else _LORA_NAMES[field]


def tensors_of(module: FileModule) -> dict[str, Tensor]:
    """The matrices of a module by their name in files, without alpha."""
    found = {name: getattr(module, name) for name in field_names(type(module)) if name != "alpha"}
    return {name_in_file(type(module), name): value for name, value in found.items() if value is not None}


def map_tensors(module: M, function: Callable[[Tensor], Tensor]) -> M:
    """The same module with another precision, another place, ... of its matrices."""
    values = {name: getattr(module, name) for name in field_names(type(module))}
    changed = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(module, **changed)  # type: ignore[type-var]  # (every kind is a dataclass)


def field_names(kind: Any) -> list[str]:
    """What a kind of module is made of: its matrices, and alpha."""
    return [field.name for field in fields(kind)]


def _whole(one: Tensor | None, a: Tensor | None, b: Tensor | None, size_only: bool = False) -> Tensor:
    """The matrix, or what its two low-rank factors make."""
    if one is not None:
        return one.float()
    assert a is not None and b is not None
    return torch.empty(a.shape[0], b.shape[1], device="meta") if size_only else a.float() @ b.float()
