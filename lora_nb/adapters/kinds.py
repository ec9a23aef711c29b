"""Which small matrices are trained? ADAPTERS, and how they are added to a model and taken off again."""

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lora_nb.adapters.blocks import Place, choose_places
from lora_nb.adapters.continuing import continue_from
from lora_nb.adapters.dropout import add_dropout
from lora_nb.adapters.layers import (
    TRAINED,
    layers_of,
    parameters_of,
    put_modules,
    size_of,
    switch_on,
    take_off,
    wake_text_encoders,
    weight_of,
)
from lora_nb.adapters.modules import DoraModule, FileModule, LohaModule, LokrModule, LoraModule
from lora_nb.config import AdapterConfig
from lora_nb.models.base import DiffusionModel

# Each makes the first matrices of one layer, drawn with the generator. They change nothing yet: one of them is zero.


def make_lora(place: Place, config: AdapterConfig, generator: torch.Generator) -> LoraModule:
    """LoRA, and on 3x3 convolutions LoCon: down is spread as in kohya and peft, up is zero."""
    outputs, inputs = size_of(place.layer)
    kernel = _kernel(place.layer)  # () for a linear layer
    down = (place.rank, inputs // math.prod(kernel), *kernel)
    return LoraModule(
        down=_uniform(down, generator),
        up=torch.zeros(outputs, place.rank, *[1] * len(kernel)),
        alpha=place.alpha,
    )


def make_dora(place: Place, config: AdapterConfig, generator: torch.Generator) -> DoraModule:
    """DoRA: a LoRA, and the length of each row of the weight, which starts as it is."""
    lora = make_lora(place, config, generator)
    weight = weight_of(place.layer)
    axes = tuple(range(1, weight.dim()))
    return DoraModule(lora.down, lora.up, torch.linalg.vector_norm(weight, dim=axes, keepdim=True), lora.alpha)


def make_loha(place: Place, config: AdapterConfig, generator: torch.Generator) -> LohaModule:
    """LoHa: spread as in LyCORIS, so that its users' learning rates mean the same here."""
    (outputs, inputs), rank = size_of(place.layer), place.rank
    return LohaModule(
        w1_a=torch.randn(outputs, rank, generator=generator) * 0.1,
        w1_b=torch.randn(rank, inputs, generator=generator),
        w2_a=torch.zeros(outputs, rank),
        w2_b=torch.randn(rank, inputs, generator=generator),
        alpha=place.alpha,
    )


def make_lokr(place: Place, config: AdapterConfig, generator: torch.Generator) -> LokrModule:
    """LoKr: the large matrix is whole where the rank is at least half of its longer side, as in LyCORIS."""
    kernel, rank = _kernel(place.layer), place.rank
    outputs, inputs = size_of(place.layer)
    out_1, out_2 = _factors(outputs, config.lokr_factor)
    in_1, in_2 = _factors(inputs // math.prod(kernel), config.lokr_factor)
    small = _uniform((out_1, in_1), generator)
    if rank >= max(out_2, in_2) / 2:
        return LokrModule(alpha=float(rank), w1=small, w2=torch.zeros(out_2, in_2, *kernel))
    large = _uniform((out_2, rank), generator), torch.zeros(rank, in_2 * math.prod(kernel))
    return LokrModule(alpha=place.alpha, w1=small, w2_a=large[0], w2_b=large[1])


ADAPTERS: dict[str, Callable[[Place, AdapterConfig, torch.Generator], FileModule]] = {
    "lora": make_lora,
    "locon": make_lora,
    "loha": make_loha,
    "lokr": make_lokr,
    "dora": make_dora,
}


def add_adapter(model: DiffusionModel, config: AdapterConfig, seed: int) -> dict[str, list[nn.Parameter]]:
    """Add the small matrices that are trained, and freeze everything else.

    The first values depend on the seed and the layer's name alone: not on what was drawn before, nor on which other
    parts are trained. A new adapter changes nothing yet; one that continues a file starts as that file is. An adapter
    that was being trained on this model before is replaced.

    Returns what is trained, in float32, by part: {"lora_unet": [...], "lora_te": [...]}.
    """
    remove_adapter(model)
    for part in model.trained_modules().values():
        part.requires_grad_(False)
    places = choose_places(model, config)
    wake_text_encoders(model, places)
    make = ADAPTERS[config.kind]
    modules = {key: make(place, config, _generator(seed, key)) for key, place in places.items()}
    if config.continue_from:
        modules = continue_from(model, config, modules)
    put_modules(model, modules, TRAINED)
    add_dropout(model, config, seed)
    switch_on(model)
    return _parameters(model)


def remove_adapter(model: DiffusionModel) -> None:
    """Take the trained adapter off again; the model is as it was before add_adapter."""
    if layers_of(model, TRAINED):
        take_off(model, TRAINED)
        switch_on(model)


def _parameters(model: DiffusionModel) -> dict[str, list[nn.Parameter]]:
    found: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in model.trained_modules()}
    for key, layer in layers_of(model, TRAINED).items():
        prefix = next(prefix for prefix in found if key.startswith(f"{prefix}_"))
        found[prefix] += parameters_of(layer, TRAINED)
    return {prefix: parameters for prefix, parameters in found.items() if parameters}


def _kernel(layer: nn.Module) -> tuple[int, ...]:
    return tuple(layer.kernel_size) if isinstance(layer, nn.Conv2d) else ()


def _factors(width: int, factor: int) -> tuple[int, int]:
    """Two numbers whose product is the width, the smaller first: as near to the factor as LyCORIS comes."""
    if factor and width % factor == 0:
        small = min(factor, width // factor)
    else:
        largest = min(factor or width, math.isqrt(width))
        small = max(number for number in range(1, largest + 1) if width % number == 0)
    return small, width // small


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Kaiming-uniform values with a = sqrt(5), as kohya, LyCORIS and peft start with."""
    return nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5), generator=generator)


def _generator(seed: int, key: str) -> torch.Generator:
    """On the CPU, so that the first values are alike everywhere."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)
