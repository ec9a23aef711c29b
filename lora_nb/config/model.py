"""Settings of the base model."""

from typing import Literal

from lora_nb.config.base import Section, setting

WORKSHOP_MODEL = "workshop"  # the value of `model.base` that means the small model inside this package


class ModelConfig(Section):
    """Which model the LoRA is trained for."""

    family: Literal["sd1"] = setting(
        "sd1",
        "Model family",
        "The architecture of the base model. sd1 is Stable Diffusion 1.x.",
        kohya="v2, sdxl",
    )
    base: str = setting(
        WORKSHOP_MODEL,
        "Base model",
        "The model to start from: 'workshop' for the small one that ships with this package, a folder in "
        "diffusers format, or a name on the Hugging Face hub. A LoRA works best on the model it was trained on.",
        kohya="pretrained_model_name_or_path",
        min_length=1,
    )
    clip_skip: int = setting(
        1,
        "Clip skip",
        "Which layer of the text encoder to read, counted from its end. The tutorial uses 2 for anime models, which "
        "were trained that way, and 1 for everything else.",
        kohya="clip_skip",
        ge=1,
        le=12,
    )
