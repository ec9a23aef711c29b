"""How many tokens has a caption? Counted as the base model will, without loading it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_nb.config import WORKSHOP_MODEL, TrainConfig
from lora_nb.errors import LoraNbError
from lora_nb.models.weighted import strip_weights


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens, and knows how many are read."""

    count: Callable[[str], int]
    most: int  # what comes after is cut off
    note: str  # how true the count is, where it is only near; else ""


def load_token_counter(config: TrainConfig) -> TokenCounter:
    """Make the counter for the settings' model. Where that is not here yet, CLIP's own tokenizer counts.

    That one ships with this package, and all of SD 1.x, 2.x and SDXL read with it. Flux reads with T5.
    """
    found = _count_with_model(config)
    count = found[0] if found else _count_with_clip()
    most, note = found[1] if found else config.data.max_tokens, ""
    if not found and config.model.family == "flux":
        most = config.model.t5_tokens - 1  # the end takes one
        note = "Flux reads with T5, which is not here yet: counted with CLIP, which is near."
    weighted = config.data.weighted_captions
    return TokenCounter(lambda text: count(strip_weights(text) if weighted else text), most, note)


def _count_with_model(config: TrainConfig) -> tuple[Callable[[str], int], int] | None:
    """The model's own count and limit, if it is on this machine."""
    base = config.model.base
    if base != WORKSHOP_MODEL and not Path(base).expanduser().exists():
        return None
    from lora_nb.models.base import load_model

    try:
        model = load_model(config.model)
        model.count_tokens("")  # it may be that only now a file is found to be missing
    except (LoraNbError, OSError):
        return None  # the check before a training says what is wrong with the model
    return model.count_tokens, max(model.max_tokens, config.data.max_tokens)


def _count_with_clip() -> Callable[[str], int]:
    from transformers import CLIPTokenizer

    from lora_nb.models.clip import count_tokens
    from lora_nb.models.file_source import CLIP_TOKENIZER

    tokenizer = CLIPTokenizer.from_pretrained(CLIP_TOKENIZER)
    return lambda text: count_tokens(tokenizer, text)
