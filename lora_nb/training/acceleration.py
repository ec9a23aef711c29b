"""Precision, and several processes that train one LoRA together: what the training loop need not know.

Started with `accelerate launch --multi_gpu -m lora_nb train PROJECT`, every GPU gets a process with its own copy of the
model; with --use_fsdp instead, each keeps a share of a model that is too large for one (see sharding.py). Each takes
its share of a step's batches; the gradients of the small matrices are added up before the step is taken, so all copies
stay the same. Only the first process writes files.
"""

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from lora_nb.errors import BadLossError
from lora_nb.models.base import PRECISIONS

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=6)  # for the first process, which caches pictures and draws previews
MOST_SKIPPED = 30  # steps in a row whose gradients overflow in fp16: the scale has then long been as small as it gets


@dataclass(frozen=True)
class Team:
    """The processes that train one LoRA together: a single one, unless `accelerate launch` started more."""

    size: int = 1
    place: int = 0  # of this process, counted from 0
    device: torch.device | None = None  # where this process works; None: on what the machine has
    shards: bool = False  # the base model is cut up, so that each process keeps a share of it

    @property
    def is_first(self) -> bool:
        """The first process writes the files; the others only compute."""
        return self.place == 0

    def agree(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process do something alone; the others then find it done."""
        if not self.is_first:
            torch.distributed.barrier()
        yield
        if self.is_first and self.size > 1:
            torch.distributed.barrier()

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of all processes' tensors, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values


def find_team(device: str) -> Team:
    """The team this process is in, as its launcher says in the environment. `device` is "cuda" or "cpu"."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Team()
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT)
    shards = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return Team(state.num_processes, state.process_index, state.device, shards)


def leave_team() -> None:
    """Take leave of the other processes, at the very end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Engine:
    """Runs a step in the chosen precision, over all processes of a team.

    Half precision (autocast) is used where it is safe. fp16 knows no number below 6e-8, so there the loss is scaled up
    before the backward pass and the gradients are scaled down again after it (Micikevicius et al. 2017,
    arXiv:1710.03740); a step whose gradients overflow is left out, and the scale is halved.
    """

    def __init__(self, precision: str, device: torch.device, team: Team) -> None:
        self._precision = precision
        self._device = device
        self._team = team
        self._scaler: Any = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._skipped = 0  # steps left out in a row

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision where it is safe, if the settings ask for it."""
        if self._precision == "fp32":
            return torch.autocast(self._device.type, enabled=False)
        return torch.autocast(self._device.type, PRECISIONS[self._precision])

    def backward(self, loss: Tensor) -> None:
        """Add this loss's gradients to those that are there."""
        self._scaler.scale(loss).backward()

    def step(self, optimizer: Optimizer, parameters: list[Parameter], longest: float) -> tuple[float, bool]:
        """Move the parameters by the gradients of all processes, cut to a length of at most `longest` (0: uncut).

        Returns the gradient's length before that, and whether the step was taken: not if it is infinite or no number.
        In fp16 that happens now and then, when the gradients overflow; else something is broken.
        """
        self._add_up_gradients(parameters)
        self._scaler.unscale_(optimizer)
        length = float(nn.utils.clip_grad_norm_(parameters, longest or math.inf))
        taken = math.isfinite(length)
        if self._scaler.is_enabled():
            self._scaler.step(optimizer)
            self._scaler.update()
        elif taken:
            optimizer.step()
        self._skipped = 0 if taken else self._skipped + 1
        if self._skipped >= MOST_SKIPPED:
            raise BadLossError(
                f"The gradients overflowed in {MOST_SKIPPED} steps in a row, so nothing is learned any more.",
                "Set run.precision to bf16 or fp32, or lower optimizer.learning_rate, and train again.",
            )
        return length, taken

    @property
    def overflows(self) -> bool:
        """Whether gradients may overflow without anything being wrong: in fp16."""
        return bool(self._scaler.is_enabled())

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on: the scale of the loss."""
        return {"scaler": self._scaler.state_dict(), "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._skipped = state["skipped"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])

    def _add_up_gradients(self, parameters: list[Parameter]) -> None:
        """One message for all matrices. What no process has touched (a module left out by chance) stays untouched."""
        if self._team.size == 1:
            return
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        touched = torch.tensor([float(each.grad is not None) for each in parameters], device=self._device)
        sums = self._team.add_up(torch.cat([touched, *(gradient.flatten() for gradient in gradients)]))
        touched, *parts = sums.split([len(parameters), *(each.numel() for each in parameters)])
        for parameter, part, was_touched in zip(parameters, parts, touched.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if was_touched else None
