"""Muon: an optimizer that learns about twice as much from a step, so that the small model is built in an hour.

Adam scales every number of an update by itself. Muon takes a layer's whole matrix and gives all its directions the
same size (Jordan et al. 2024, kellerjordan.github.io/posts/muon). Convolutions count as matrices (out, in x h x w).
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the article; five rounds bring singular values near 1


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW for all else (biases, norms, embeddings)."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            is_matrix = parameter.ndim >= 2 and min(parameter.shape[:2]) >= 8 and "embedding" not in name
            (matrices if is_matrix else rest).append(parameter)
        super().__init__(
            [
                {"params": matrices, "lr": learning_rate, "muon": True},
                {"params": rest, "lr": learning_rate, "muon": False},
            ],
            {},
        )
        self.adam = torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change the weights once, from the gradients that are there."""
        matrices, rest = self.param_groups
        self.adam.param_groups[0]["lr"] = rest["lr"]
        self.adam.step()
        by_shape = defaultdict(list)
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                by_shape[(parameter.shape[0], parameter[0].numel())].append(parameter)
        for (rows, columns), parameters in by_shape.items():
            updates = torch.stack([self._momentum(p).reshape(rows, columns) for p in parameters])
            size = 0.2 * max(rows, columns) ** 0.5 * matrices["lr"]  # Adam's usual step, so both share a learning rate
            for parameter, update in zip(parameters, orthogonalize(updates), strict=True):
                parameter.add_(update.reshape(parameter.shape).to(parameter.dtype), alpha=-size)

    def _momentum(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM)  # Nesterov's look ahead


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Bring all singular values near 1 without a decomposition. (B, rows, columns) => the same."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()
