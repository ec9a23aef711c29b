"""Which weights are shown and saved? The trained ones, or an average over the last steps, which is less noisy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


class WeightAverage:
    """A running average (EMA) of the small matrices. Training goes on with the raw ones and never sees it."""

    def __init__(self, parameters: list[Parameter], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay  # 0: no average is kept
        self.values: list[Tensor] = [each.detach().clone() for each in parameters] if decay else []
        self.steps = 0

    def update(self) -> None:
        """Take in the weights after a step. The first steps count more, so that the start is soon forgotten."""
        if self.decay:
            self.steps += 1
            decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.values, [each.detach() for each in self.parameters], 1 - decay)


@contextmanager
def final_weights(optimizer: Any, average: WeightAverage) -> Iterator[None]:
    """Within this, the LoRA is as it should be judged and saved; afterwards it is, bit for bit, as before.

    A schedule-free optimizer keeps an average of its own and turns to it with `eval()`.
    """
    averages_itself = hasattr(optimizer, "eval") and hasattr(optimizer, "train")
    if not average.values and not averages_itself:
        yield
        return
    raw = [each.detach().clone() for each in average.parameters]
    if averages_itself:
        optimizer.eval()
    _put(average.parameters, average.values)
    try:
        yield
    finally:
        if averages_itself:
            optimizer.train()
        _put(average.parameters, raw)  # last: turning back and forth rounds


def _put(parameters: list[Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=False):
            parameter.copy_(value)
