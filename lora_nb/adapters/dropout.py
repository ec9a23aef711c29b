"""Dropping some of the small matrices' work at each step, against learning by heart. Never while drawing.

What is dropped is a function of (seed, step, layer): a run that is resumed, draws previews, or computes its forward
pass twice to save memory drops the same. The order is kohya's (networks/lora.py): a whole layer, then values, then
ranks; what is kept is made larger by what is lost.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_nb.adapters.layers import TRAINED, Layer, is_lora, layers_of
from lora_nb.config import AdapterConfig
from lora_nb.models.base import DiffusionModel


@dataclass
class Clock:
    """When it is, for all layers of one adapter: chance depends on it."""

    seed: int
    now: tuple[int, ...] = (0,)

    def number(self, key: str, what: str) -> int:
        text = f"{self.seed} {self.now} {key} {what}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def add_dropout(model: DiffusionModel, config: AdapterConfig, seed: int) -> None:
    """Make the trained adapter drop what the settings say, while it is in training mode."""
    layers = layers_of(model, TRAINED)
    if not (config.dropout or config.rank_dropout or config.module_dropout):
        return
    clock = Clock(seed)
    for key, layer in layers.items():
        layer.dropout_clock = clock
        if is_lora(layer):
            _drop_in_lora(layer, key, config, clock)
        else:
            _drop_in_lycoris(layer, key, config, clock)


def set_dropout_time(model: DiffusionModel, *when: int) -> None:
    """Say which step (and batch, and process) it is, before each forward pass of training."""
    for layer in layers_of(model, TRAINED).values():
        clock = getattr(layer, "dropout_clock", None)
        if clock is not None:
            clock.now = when
        return  # all layers share one clock


@contextmanager
def without_dropout(model: DiffusionModel) -> Iterator[None]:
    """Nothing is dropped inside: to measure what was learned, not to learn."""
    layers = layers_of(model, TRAINED).values()
    training = [module for layer in layers for module in layer.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _drop_in_lora(layer: Layer, key: str, config: AdapterConfig, clock: Clock) -> None:
    def on_ranks(module: Any, inputs: Any, output: Tensor) -> Tensor:
        if not module.training:
            return output
        if config.dropout:
            output = output * _keep(output, output.shape, config.dropout, clock.number(key, "dropout"))
        if config.rank_dropout:
            shape = [1] * output.dim()
            rank_axis = 1 if output.dim() == 4 else -1  # (B, rank, h, w) of a convolution, or (B, ..., rank)
            shape[0], shape[rank_axis] = output.shape[0], output.shape[rank_axis]
            output = output * _keep(output, torch.Size(shape), config.rank_dropout, clock.number(key, "rank"))
        return output

    def on_whole(module: Any, inputs: Any, output: Tensor) -> Tensor:
        if not module.training or not config.module_dropout:
            return output
        generator = torch.Generator().manual_seed(clock.number(key, "module"))
        return output * float(torch.rand(1, generator=generator).item() >= config.module_dropout)

    last = layer.lora_magnitude_vector if TRAINED in layer.lora_magnitude_vector else layer.lora_B
    layer.lora_A[TRAINED].train().register_forward_hook(on_ranks)
    last[TRAINED].train().register_forward_hook(on_whole)


def _keep(like: Tensor, shape: torch.Size, share: float, number: int) -> Tensor:
    """A mask of 0 and 1 / (1 - share), drawn on the tensor's own device."""
    generator = None if like.is_meta else torch.Generator(like.device).manual_seed(number)
    kept = torch.rand(shape, generator=generator, device=like.device) >= share
    return kept.to(like.dtype) / (1 - share)


def _drop_in_lycoris(layer: Layer, key: str, config: AdapterConfig, clock: Clock) -> None:
    """peft drops itself in these, with the CPU's global generator: lend it numbers of ours, and put it back."""
    before: list[Tensor] = []
    layer.rank_dropout[TRAINED], layer.module_dropout[TRAINED] = config.rank_dropout, config.module_dropout
    layer.rank_dropout_scale[TRAINED] = False
    layer.training = True  # of the wrapper alone: what it wraps stays in evaluation mode

    def lend(module: Any, inputs: Any) -> None:
        if module.training:
            before.append(torch.get_rng_state())
            torch.default_generator.manual_seed(clock.number(key, "lycoris"))

    def give_back(module: Any, inputs: Any, output: Tensor) -> None:
        if before:
            torch.set_rng_state(before.pop())

    layer.register_forward_pre_hook(lend)
    layer.register_forward_hook(give_back, always_call=True)
