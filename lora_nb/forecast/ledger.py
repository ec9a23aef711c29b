"""How much memory do tensors take at most? An account of every block of it, while any code runs.

It also works for tensors on PyTorch's "meta" device, which have a size but no numbers: so the memory of a training step
is known without a GPU, without weights and without computing anything.
"""

import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Scratch = Callable[[tuple[Any, ...], Any], list[int]]  # what an operator is called with, and returns => bytes of blocks
Event = tuple[int, int]  # a block's number, and its size in bytes: that of a block that is given back is negative


class Ledger(TorchDispatchMode):
    """Adds up the blocks of memory (storages) that live at the same time: `with Ledger() as ledger: train()`.

    A block is entered when an operator returns a tensor on it and struck out when the last tensor on it is gone, those
    that wait for the backward pass included. Views share their block, so they cost nothing.
    """

    def __init__(self, scratch: dict[str, Scratch] | None = None, device: str = "meta") -> None:
        """scratch: by an operator's name, what it needs for a moment besides its result. device: what is counted."""
        super().__init__()
        self.held = 0  # bytes that were there before
        self.now = 0  # bytes of all that lives
        self.peak = 0
        self.events: list[Event] = []  # what came and went, in order
        self._scratch = scratch or {}
        self._device = device
        self._known: dict[int, tuple[int, int]] = {}  # by the block's identity: its number and size
        self._kept: list[torch.UntypedStorage] = []
        self._numbers = itertools.count()

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Enter tensors that were there before, and will be there afterwards."""
        for tensor in tensors:
            block = tensor.untyped_storage()
            if id(block) not in self._known:
                self._known[id(block)] = (next(self._numbers), block.nbytes())
                self._kept.append(block)
                self.held += block.nbytes()
                self.now += block.nbytes()
        self.peak = max(self.peak, self.now)

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Leave out tensors that lie elsewhere: weights that wait in main memory."""
        for tensor in tensors:
            block = tensor.untyped_storage()
            self._known[id(block)] = (next(self._numbers), 0)
            self._kept.append(block)

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.device.type == self._device:
                self._enter(each.untyped_storage())
        scratch = self._scratch.get(operator.overloadpacket.__name__)
        if scratch is not None:
            pieces = [(self._add(size), size) for size in scratch(args, result)]
            for number, size in reversed(pieces):
                self._remove(number, size)
        return result

    def _enter(self, block: torch.UntypedStorage) -> None:
        if id(block) in self._known:  # as long as it lives, no other block can have this identity
            return
        size = block.nbytes()
        self._known[id(block)] = (self._add(size), size)
        weakref.finalize(block, self._strike, id(block)).atexit = False

    def _strike(self, identity: int) -> None:
        self._remove(*self._known.pop(identity))

    def _add(self, size: int) -> int:
        number = next(self._numbers)
        self.events.append((number, size))
        self.now += size
        self.peak = max(self.peak, self.now)
        return number

    def _remove(self, number: int, size: int) -> None:
        self.events.append((number, -size))
        self.now -= size


def size_of(tensors: Iterable[Tensor]) -> int:
    """The bytes of tensors, each block of memory counted once."""
    blocks = {id(block): block.nbytes() for block in [tensor.untyped_storage() for tensor in tensors]}
    return sum(blocks.values())


def tensors_in(module: torch.nn.Module) -> list[Tensor]:
    """A module's weights and its other tensors."""
    return [*module.parameters(), *module.buffers()]
