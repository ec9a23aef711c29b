"""Kohya's keys about single blocks of the model: their rank and their learning rate.

The numbering is that of kohya's networks/lora.py and networks/lora_flux.py.
"""

import math
from typing import Any

from lora_nb.kohya.rules import OFF, Left, Rule, Taken, not_needed, not_supported
from lora_nb.kohya.trained import find_family, find_kind, for_flux
from lora_nb.kohya.values import Values, is_empty, read_number, read_whole

# a U-Net's blocks in kohya's order; "" is a place where no layer is
UNET = ["", *(f"IN{n:02d}" for n in range(1, 12)), "MID", *(f"OUT{n:02d}" for n in range(12))]
SDXL = ["", "", *(f"IN{n:02d}" for n in range(1, 9)), "MID", "MID", "MID", *(f"OUT{n:02d}" for n in range(9)), ""]
SIDES = {"sd1": (0, 12, 13, 25), "sd2": (0, 12, 13, 25), "sdxl": (1, 10, 13, 22)}  # down, middle, up, end
WITH_ATTENTION = {  # all that a plain LoRA reaches: the other blocks have convolutions alone
    "sd1": {"IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{n:02d}" for n in range(3, 12))},
    "sdxl": {"IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{n:02d}" for n in range(6))},
}
FLUX = {"double": 19, "single": 38}
FLUX_LAYERS = {  # rank of one kind of Flux's layers => in which blocks, and how these layers are called
    "img_attn_dim": ("double", ("img_attn",)),
    "txt_attn_dim": ("double", ("txt_attn",)),
    "img_mlp_dim": ("double", ("img_mlp",)),
    "txt_mlp_dim": ("double", ("txt_mlp",)),
    "img_mod_dim": ("double", ("img_mod",)),
    "txt_mod_dim": ("double", ("txt_mod",)),
    "single_dim": ("single", ("linear1", "linear2")),
    "single_mod_dim": ("single", ("modulation",)),
}
CURVES = {  # Kohya's names for weights that rise or fall from block to block; x goes from 0 to 1
    "sine": lambda x: math.sin(math.pi * x / 2),
    "cosine": lambda x: math.sin(math.pi * (1 - x) / 2),
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "zeros": lambda x: 0.0,
}


def _only_kohyas_lora(rule: Rule) -> Rule:
    """These are arguments of Kohya's own LoRA; LyCORIS does not look at them, and Flux has other blocks."""

    def judge(value: Any, values: Values) -> Taken | Left:
        lycoris = "lycoris" in values.text("LoRA_type").lower() + values.text("network_module").lower()
        if lycoris or find_kind(values) not in ("lora", "locon") or find_family(values) == "flux":
            return not_needed("Only Kohya's own LoRA for U-Nets looks at it.")
        return rule(value, values)

    return judge


def _block_rates(value: Any, values: Values) -> Taken | Left:
    """The three keys together are one table here, so each of them tells the whole of it."""
    down, middle, up, end = SIDES[find_family(values)]
    weights = [1.0] * len(_names(values))
    for key, start, stop in (("down", down, middle), ("mid", middle, up), ("up", up, end)):
        given = values.get(f"{key}_lr_weight")
        if not is_empty(given):
            found = _read_weights(given, stop - start)
            weights[start:stop] = (found + [1.0] * (stop - start))[: stop - start]
    threshold = values.number("block_lr_zero_threshold")
    weights = [weight if weight > threshold else 0.0 for weight in weights]
    rates = {name: weight for name, weight in _by_name(weights, values).items() if weight != 1}
    return Taken({"adapter.block_learning_rates": rates}) if rates else not_needed("1 everywhere changes nothing.")


def _read_weights(given: Any, count: int) -> list[float]:
    """A list, or the name of a curve, such as "sine+0.25"."""
    name, _, base = str(given).strip().partition("+")
    if name in CURVES:
        return [CURVES[name](place / max(1, count - 1)) + read_number(base) for place in range(count)]
    return [read_number(part) for part in str(given).strip("[] ").split(",")]


def _block_ranks(value: Any, values: Values) -> Taken | Left:
    ranks = [read_whole(part) for part in str(value).strip("[] ").split(",")]
    if len(ranks) != len(_names(values)):
        return not_supported(f"These are {len(ranks)} numbers, and this model has {len(_names(values))} blocks.")
    rank = read_whole(values.get("network_dim")) or 4  # Kohya's own
    table = {name: number for name, number in _by_name(ranks, values).items() if number != rank}
    return Taken({"adapter.block_ranks": table}) if table else not_needed("It is network_dim everywhere.")


def _block_alphas(value: Any, values: Values) -> Taken | Left:
    alphas = {read_number(part) for part in str(value).strip("[] ").split(",")}
    if alphas == {values.number("network_alpha") or 1.0}:
        return not_needed("It is network_alpha everywhere.")
    return not_supported("Alpha is the same for all blocks here: adapter.alpha.")


def _names(values: Values) -> list[str]:
    return SDXL if find_family(values) == "sdxl" else UNET


def _by_name(numbers: list[Any], values: Values) -> dict[str, Any]:
    """Numbers in kohya's order => by the names of the blocks that have layers to adapt."""
    family = "sdxl" if find_family(values) == "sdxl" else "sd1"
    pairs = list(zip(_names(values), numbers, strict=True))
    if family == "sdxl":  # three numbers for the middle block, of which the second stands for its attention
        pairs = pairs[:10] + pairs[11:12] + pairs[13:]
    found = {name: number for name, number in pairs if name}
    if find_kind(values) != "locon":
        found = {name: number for name, number in found.items() if name in WITH_ATTENTION[family]}
    return found


def _flux_ranks(value: Any, values: Values) -> Taken | Left:
    """All keys about Flux's blocks together are one table here, so each of them tells the whole of it."""
    chosen = {kind: _choose(values.text(f"train_{kind}_block_indices"), count) for kind, count in FLUX.items()}
    empty = [kind for kind, numbers in chosen.items() if not numbers]
    if len(empty) == len(FLUX):
        return Taken({"adapter.train_denoiser": False})
    settings: dict[str, Any] = {"adapter.flux_blocks": "single" if "double" in empty else "double"} if empty else {}
    ranks = {
        f"{kind}_blocks.{number}": 0
        for kind, count in FLUX.items()
        if kind not in empty
        for number in range(count)
        if number not in chosen[kind]
    }
    for key, (kind, layers) in FLUX_LAYERS.items():
        if not is_empty(values.get(key)):
            names = [f"{kind}_blocks.{number}.{layer}" for number in sorted(chosen[kind]) for layer in layers]
            ranks |= dict.fromkeys(names, read_whole(values[key]))
    settings |= {"adapter.block_ranks": ranks} if ranks else {}
    return Taken(settings) if settings else OFF


def _choose(text: str, count: int) -> set[int]:
    """ "0,3-5" => {0, 3, 4, 5}; "all" and "none" as they say."""
    if text.lower() in ("all", "none", ""):
        return set() if text.lower() == "none" else set(range(count))
    chosen: set[int] = set()
    for part in text.strip("[]").split(","):
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    if not chosen <= set(range(count)):
        raise ValueError(f"there are only the blocks 0 to {count - 1}")
    return chosen


def _flux_blocks(value: Any, values: Values) -> Taken | Left:
    if str(value).strip().lower() == "all":
        return not_needed("All blocks are trained, unless settings say otherwise.")
    return _flux_ranks(value, values)


INDICES = ("train_double_block_indices", "train_single_block_indices")  # here "none" says something
BLOCK_RULES: dict[str, Rule] = {
    "down_lr_weight": _only_kohyas_lora(_block_rates),
    "mid_lr_weight": _only_kohyas_lora(_block_rates),
    "up_lr_weight": _only_kohyas_lora(_block_rates),
    "block_dims": _only_kohyas_lora(_block_ranks),
    "block_alphas": _only_kohyas_lora(_block_alphas),
    **dict.fromkeys((*INDICES, *FLUX_LAYERS), for_flux(_flux_blocks)),
}
