"""How a model works while it is trained: what it forgets, how its numbers lie in memory, whether it is compiled.

None of it changes what is learned, only memory and time; afterwards the model is as it was.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem
from lora_nb.models.base import DiffusionModel

BACKEND = "inductor"  # torch.compile's own
MOST_SHAPES = 64  # of one kind of block that are compiled: widths x picture sizes x layers with and without gradients


def speed_up(model: DiffusionModel, config: TrainConfig) -> None:
    """Set the model up as config.run asks for."""
    run = config.run
    model.set_gradient_checkpointing(run.gradient_checkpointing)
    for layer in _text_layers(model):
        _forget(layer, run.gradient_checkpointing and config.adapter.train_text_encoder)
    if run.channels_last:
        _lay_out(model.denoiser, torch.channels_last)
    for block in _repeated_blocks(model.denoiser) if run.compile else ():
        _compile(block)


def slow_down(model: DiffusionModel) -> None:
    """Put everything back as it was before speed_up."""
    model.set_gradient_checkpointing(False)
    for layer in _text_layers(model):
        _forget(layer, False)
    _lay_out(model.denoiser, torch.contiguous_format)
    for block in model.denoiser.modules():
        block._compiled_call_impl = None  # what nn.Module.compile sets; without it, it is a plain module again


def check_speed(config: TrainConfig) -> list[Problem]:
    """Report settings that do not go together."""
    run, problems = config.run, []
    if run.compile and run.quantization != "none":
        found = f"It cannot compile a base model in fewer bits (run.quantization is {run.quantization!r})."
        problems.append(Problem("run.compile", found, "Turn one of the two off."))
    return problems


def _repeated_blocks(denoiser: Any) -> list[nn.Module]:
    """The blocks that a denoiser is stacked from, as diffusers names them. Each kind is compiled once for all."""
    names = set(denoiser._repeated_blocks)
    return [module for module in denoiser.modules() if type(module).__name__ in names]


def _compile(block: nn.Module) -> None:
    """Compile in place: the block keeps its name, so the LoRA's keys stay as they are."""
    import torch._dynamo.config as dynamo

    dynamo.recompile_limit = max(dynamo.recompile_limit, MOST_SHAPES)
    block.compile(backend=BACKEND)


def _lay_out(denoiser: nn.Module, order: torch.memory_format) -> None:
    """Put the numbers of each place side by side (channels last) or those of each channel (as usual)."""
    for module in denoiser.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=order)  # type: ignore[call-overload]  # torch's stubs leave this one out


def _text_layers(model: DiffusionModel) -> list[Any]:
    """The layers of the text encoders that can forget what they computed. An encoder that sleeps goes on sleeping."""
    encoders = [model.networks.at_hand(prefix) for prefix in model.text_encoders]
    layers = [module for encoder in encoders for module in encoder.modules()]
    return [module for module in layers if hasattr(type(module), "gradient_checkpointing")]


def _forget(layer: Any, on: bool) -> None:
    """transformers' layers look at these three. Only the layer itself is in training mode: its dropouts are not."""
    layer.gradient_checkpointing = layer.training = on
    layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
