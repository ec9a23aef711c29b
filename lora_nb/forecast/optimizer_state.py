"""What does an optimizer remember of each matrix? Measured on the real one, with a stand-in for each shape."""

from collections import Counter, defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lora_nb.config import OptimizerConfig
from lora_nb.training.optimizers import make_optimizer

PAGED = {"paged_adamw8bit": "adamw8bit"}  # remembers the same, in memory that only a GPU can page out


def optimizer_state_bytes(parameters: Iterable[Tensor], config: OptimizerConfig) -> int:
    """The bytes that the optimizer keeps between steps, for parameters of which only the shapes count.

    It takes one real step on one matrix of each shape, since what it keeps depends on the shape: 8-bit optimizers keep
    small matrices in 32 bits, adafactor keeps rows and columns.
    """
    counts = Counter(tuple(parameter.shape) for parameter in parameters)
    shapes = list(counts)
    config = config.model_copy(update={"kind": PAGED.get(config.kind, config.kind)})
    # prodigy keeps the first values of a matrix unless they are all zero
    stand_ins = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    for each in stand_ins:
        each.grad = torch.zeros_like(each)
    optimizer = make_optimizer([{"params": stand_ins, "lr": config.learning_rate, "name": "all"}], config)
    optimizer.step()
    sizes: dict[int, int] = {}
    owners: dict[int, set[int]] = defaultdict(set)  # a table that several matrices share is kept once
    for place, parameter in enumerate(stand_ins):
        for kept in tree_leaves(dict(optimizer.state[parameter])):
            if isinstance(kept, Tensor):
                block = kept.untyped_storage()
                sizes[block.data_ptr()] = block.nbytes()
                owners[block.data_ptr()].add(place)
    return sum(
        sizes[block] * (counts[shapes[next(iter(places))]] if len(places) == 1 else 1)
        for block, places in owners.items()
    )
