"""Settings of the pictures that are drawn, while training and in grids."""

from pathlib import Path
from typing import Literal

from lora_nb.config.base import Section, setting

Sampler = Literal["euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "ddim"]

_NO_NEGATIVE = {"flux": "Flux is guided by a number that it was trained with, not by a negative prompt."}
_NO_RESCALE = {"flux": "Flux makes one prediction a step, so there is nothing to bring back."}
_ONLY_EULER = {"flux": "Flux learned a straight way from noise to picture, which euler walks; the others cannot."}


class PictureConfig(Section):
    """How pictures are drawn from prompts, wherever that happens."""

    negative_prompt: str = setting(
        "", "Negative prompt", "What the picture should not show.", kohya="--n", not_for=_NO_NEGATIVE
    )
    steps: int = setting(20, "Steps", "Denoising steps: more is slower and a little finer.", kohya="--s", ge=1, le=150)
    guidance_scale: float = setting(
        7.0,
        "Guidance",
        "How strictly the prompt is followed (CFG scale). 1 ignores the negative prompt and is twice as fast. Flux dev "
        "likes 3.5, Flux schnell must have 1.",
        kohya="--l",
        ge=1,
        le=30,
    )
    guidance_rescale: float = setting(
        0.0,
        "Guidance rescale",
        "Brings contrast back to normal where guidance has raised it, as it does with zero-terminal SNR models: 0.7 "
        "there, 0 elsewhere. Nothing to do at guidance 1.",
        kohya="(none)",
        not_for=_NO_RESCALE,
        advanced=True,
        ge=0,
        le=1,
    )
    sampler: Sampler = setting(
        "euler", "Sampler", "The algorithm that removes the noise.", kohya="--ss", not_for=_ONLY_EULER
    )
    width: int = setting(512, "Width", "In pixels.", kohya="--w", ge=64, le=2048, multiple_of=8)
    height: int = setting(512, "Height", "In pixels.", kohya="--h", ge=64, le=2048, multiple_of=8)
    seed: int = setting(1, "Seed", "The same seed gives the same picture.", kohya="--d", ge=0, le=2**32 - 1)


class SampleConfig(PictureConfig):
    """The pictures that are drawn while training, to see what the LoRA has learned so far."""

    prompts: tuple[str, ...] = setting(
        (),
        "Prompts",
        "One picture for each. Include one without the trigger word, to see what leaks.",
        kohya="prompts",
    )
    every_n_epochs: int = setting(
        1,
        "Every n epochs",
        "How often they are drawn. 0 draws none.",
        kohya="sample_every_n_epochs",
        ge=0,
        le=1000,
    )


class GenerationConfig(PictureConfig):
    """Everything that decides one picture. Any field of it can be an axis of an X/Y/Z plot."""

    prompt: str = setting("", "Prompt", "What the picture should show.", kohya="prompt")
    clip_skip: int = setting(1, "Clip skip", "As in training.", kohya="clip_skip", ge=1, le=12)
    max_tokens: Literal[75, 150, 225] = setting(75, "Longest prompt", "As in training.", kohya="max_token_length")
    weighted_captions: bool = setting(
        False, "Weights in prompts", "Whether (word:1.3) counts more. As in training.", kohya="weighted_captions"
    )
    lora: Path | None = setting(None, "LoRA file", "The .safetensors file to apply; none draws the base model.")
    lora_weight: float = setting(
        1.0, "LoRA weight", "Strength of the LoRA: 0 is the base model, 1 as trained.", ge=-10, le=10
    )
