"""A base model in fewer bits: what its linear layers shrink to, and what they take when they are used."""

from torch import nn

from lora_nb.models.base import DiffusionModel
from lora_nb.models.quantization import layers_to_shrink

BITS = {  # of one weight, with its scales: see models/quantization.py
    "int8": 8.0,  # and 32 bits a row
    "nf4": 4 + 8 / 64 + 32 / (64 * 256),  # a scale of 8 bits for 64 weights, and one of 32 for 256 of those
}


def shrunk_bytes(layer: nn.Linear, kind: str) -> int:
    """What the weight of a layer takes in fewer bits. T5's "wo" layers are not asked for here."""
    rows = 4 * layer.out_features if kind == "int8" else 0
    return int(layer.weight.numel() * BITS[kind] / 8) + rows


def saved_bytes(model: DiffusionModel, kind: str) -> int:
    """How much smaller the denoiser gets. Asked before an adapter is put on it."""
    return sum(layer.weight.nbytes - shrunk_bytes(layer, kind) for layer in _layers(model, kind))


def dequantized_bytes(model: DiffusionModel, kind: str) -> int:
    """For each product the weight is written out in 16 bits again, one layer at a time: the largest counts."""
    return max((layer.weight.nbytes for layer in _layers(model, kind)), default=0)


def _layers(model: DiffusionModel, kind: str) -> list[nn.Linear]:
    return [] if kind == "none" else [layer for _, _, layer in layers_to_shrink(model.denoiser)]
