"""A base model in fewer bits: what its linear layers shrink to, and what they take when they are used."""

from torch import nn

from lora_nb.models.base import DiffusionModel
from lora_nb.models.quantization import large_parts, layers_to_shrink

BITS = {  # of one weight, with its scales: see models/quantization.py
    "int8": 8.0,  # and 32 bits a row
    "nf4": 4 + 8 / 64 + 32 / (64 * 256),  # a scale of 8 bits for 64 weights, and one of 32 for 256 of those
}


def shrunk_bytes(layer: nn.Linear, kind: str) -> int:
    """What the weight of a layer takes in fewer bits."""
    rows = 4 * layer.out_features if kind == "int8" else 0
    return int(layer.weight.numel() * BITS[kind] / 8) + rows


def saved_bytes(model: DiffusionModel, kind: str) -> dict[str, int]:
    """How much smaller each network gets, by its role. Asked before an adapter is put on."""
    saved = {}
    for role in large_parts(model) if kind != "none" else ():
        layers = layers_to_shrink(model.networks[role])
        kinds = ["int8" if name == "wo" else kind for _, name, _ in layers]  # as in models/quantization.py
        sizes = [shrunk_bytes(layer, each) for (_, _, layer), each in zip(layers, kinds, strict=True)]
        saved[role] = sum(layer.weight.nbytes for _, _, layer in layers) - sum(sizes)
    return saved


def dequantized_bytes(model: DiffusionModel, kind: str) -> int:
    """For each product the weight is written out in 16 bits again, one layer at a time: the largest counts."""
    layers = layers_to_shrink(model.denoiser) if kind != "none" else []
    return max((layer.weight.nbytes for _, _, layer in layers), default=0)
