"""Settings of the adapter: the small matrices that are trained."""

from typing import Literal

from lora_nb.config.base import Section, setting


class AdapterConfig(Section):
    """The small matrices that are trained: how large, how strong, and where they sit."""

    kind: Literal["lora"] = setting(
        "lora",
        "Adapter",
        "The kind of low-rank update. lora is the one that every program loads.",
        kohya="LoRA type",
    )
    rank: int = setting(
        16,
        "Rank",
        "Width of the small matrices: how much the LoRA can hold. The tutorial stays at 32 or less; the file grows "
        "with it.",
        kohya="network_dim",
        ge=1,
        le=1024,
    )
    alpha: float = setting(
        8.0,
        "Alpha",
        "The LoRA's strength is alpha / rank. The tutorial sets alpha to half of the rank.",
        kohya="network_alpha",
        gt=0,
        le=1024,
    )
    train_text_encoder: bool = setting(
        True,
        "Train the text encoder",
        "Also adapt how words are understood. Helps a new trigger word; turn it off when captions are long "
        "sentences or memory is short.",
        kohya="network_train_unet_only (the opposite)",
    )
