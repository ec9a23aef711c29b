"""Settings of the optimizer and its learning rates."""

from typing import Literal

from lora_nb.config.base import Section, setting


class OptimizerConfig(Section):
    """How the small matrices are moved, and how fast."""

    kind: Literal["adamw", "adamw8bit"] = setting(
        "adamw8bit",
        "Optimizer",
        "adamw8bit keeps its memory of past steps in 8 bits (package bitsandbytes): the tutorial's choice.",
        kohya="optimizer_type",
    )
    learning_rate: float = setting(
        1e-4,
        "Learning rate",
        "Size of one step for the U-Net. 1e-4 suits real models; the tiny workshop model likes 2e-3.",
        kohya="unet_lr",
        gt=0,
        le=1,
    )
    text_encoder_learning_rate: float = setting(
        5e-5,
        "Text encoder learning rate",
        "Size of one step for the text encoder, usually half of the U-Net's.",
        kohya="text_encoder_lr",
        gt=0,
        le=1,
    )
    loraplus_ratio: float = setting(
        1.0,
        "LoRA+",
        "How many times faster the up matrices learn than the down matrices (arXiv:2402.12354): 4 to 16, with a lower "
        "learning rate. 1 turns it off. Costs nothing.",
        kohya="loraplus_lr_ratio",
        advanced=True,
        not_for=dict.fromkeys(("loha", "lokr"), "Its matrices are no down and up pair."),
        gt=0,
        le=100,
    )
    weight_decay: float = setting(
        0.01,
        "Weight decay",
        "Pulls the matrices gently back to zero.",
        kohya="weight_decay",
        advanced=True,
        ge=0,
        le=1,
    )
    max_grad_norm: float = setting(
        1.0,
        "Gradient clipping",
        "Longest gradient that is let through, so that one odd batch does no harm. 0 turns it off.",
        kohya="max_grad_norm",
        advanced=True,
        ge=0,
        le=1000,
    )
    lr_scheduler: Literal["constant", "cosine", "linear"] = setting(
        "cosine",
        "Learning-rate schedule",
        "How the learning rate changes: it stays (constant), or falls to zero in a curve (cosine) or a line (linear).",
        kohya="lr_scheduler",
    )
    warmup_ratio: float = setting(
        0.0,
        "Warm-up",
        "Share of all steps in which the learning rate climbs from zero: 0.1 is 10 percent.",
        kohya="lr_warmup",
        ge=0,
        le=0.5,
    )
