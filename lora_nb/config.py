"""Every setting, declared once: its default, bounds, help and Kohya's name for it.

The forms, the JSON file, the command line's checks and the documentation are all made from the fields below.
To add a setting, add a field with `setting(...)` and the line of code that uses it.
"""

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

WORKSHOP_MODEL = "workshop"  # the value of `model.base` that means the small model inside this package

Sampler = Literal["euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "ddim"]


def setting(default: Any, title: str, help: str, *, kohya: str = "", advanced: bool = False, **bounds: Any) -> Any:
    """Declare one setting: `help` says what it does, what it costs and what the tutorial advises."""
    extra: dict[str, Any] = {"kohya": kohya, "advanced": advanced}
    return Field(default, title=title, description=help, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    """A group of settings that belong together. Frozen: a changed setting is a new object."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


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


class DataConfig(Section):
    """How pictures and captions become training examples."""

    trigger_words: tuple[str, ...] = setting(
        (),
        "Trigger words",
        "The words that call the subject. They come first in every caption, the same number everywhere, and should "
        "mean nothing to the base model.",
        kohya="(in the captions)",
    )
    keep_tokens: int = setting(
        1,
        "Tags kept in front",
        "How many tags at the start of a caption are never shuffled. Use the number of trigger words.",
        kohya="keep_tokens",
        ge=0,
        le=32,
    )
    shuffle_tags: bool = setting(
        True,
        "Shuffle tags",
        "Reorder the other tags each time a picture is seen, so that no tag matters more for standing first. On for "
        "tags, off for sentences.",
        kohya="shuffle_caption",
    )
    caption_dropout: float = setting(
        0.0,
        "Caption dropout",
        "Share of times that a picture is shown without its caption. A little (0.05) helps a style; a subject needs "
        "none.",
        kohya="caption_dropout_rate",
        advanced=True,
        ge=0,
        le=1,
    )
    resolution: int = setting(
        512,
        "Resolution",
        "Side in pixels of the square whose area every bucket stays within: 512 for SD 1.x, 64 for the workshop "
        "model. More costs memory and time with its square.",
        kohya="max_resolution",
        ge=64,
        le=2048,
    )
    enable_buckets: bool = setting(
        True,
        "Aspect-ratio buckets",
        "Group pictures by shape so that little is cropped away. Off: every picture is cropped to a square.",
        kohya="enable_bucket",
    )
    bucket_step: int = setting(
        64,
        "Bucket step",
        "Bucket sides are multiples of this many pixels: 64 for SD 1.x, 16 for the workshop model.",
        kohya="bucket_reso_steps",
        advanced=True,
        ge=8,
        le=256,
        multiple_of=8,
    )
    min_bucket_size: int = setting(
        256,
        "Smallest bucket side",
        "No bucket is narrower than this. Only used when small pictures may be enlarged.",
        kohya="min_bucket_reso",
        advanced=True,
        ge=8,
        le=2048,
    )
    max_bucket_size: int = setting(
        1024,
        "Largest bucket side",
        "No bucket is longer than this. Only used when small pictures may be enlarged.",
        kohya="max_bucket_reso",
        advanced=True,
        ge=8,
        le=4096,
    )
    enlarge_pictures: bool = setting(
        True,
        "Enlarge small pictures",
        "Let a picture smaller than its bucket be enlarged to it. Off: it keeps its size, in a bucket of its own.",
        kohya="bucket_no_upscale (the opposite)",
        advanced=True,
    )

    @field_validator("trigger_words")
    @classmethod
    def trigger_words_are_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word.strip() or "," in word:
                raise ValueError("each trigger word is one tag: not empty and without a comma")
        return tuple(word.strip() for word in words)

    @model_validator(mode="after")
    def bucket_sizes_fit(self) -> Self:
        if self.min_bucket_size > self.max_bucket_size:
            raise ValueError(
                f"min_bucket_size {self.min_bucket_size} is larger than max_bucket_size {self.max_bucket_size}"
            )
        if self.resolution < self.bucket_step:
            raise ValueError(f"resolution {self.resolution} is smaller than bucket_step {self.bucket_step}")
        return self


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


class NoiseConfig(Section):
    """What is added to the noise, so that very dark and very bright pictures can be learned."""

    offset: float = setting(
        0.02,
        "Noise offset",
        "Shifts the noise of a whole channel, which lets the LoRA learn overall brightness. The tutorial uses 0.02.",
        kohya="noise_offset",
        ge=0,
        le=1,
    )
    adaptive: float = setting(
        0.002,
        "Adaptive noise",
        "Adds to the noise offset in proportion to the picture's own mean. The tutorial uses 0.002.",
        kohya="adaptive_noise_scale",
        advanced=True,
        ge=-1,
        le=1,
    )


class LossConfig(Section):
    """How an error is measured, and how much each noise level counts."""

    kind: Literal["l2"] = setting("l2", "Loss", "l2 is the mean squared error.", kohya="loss_type", advanced=True)
    weighting: Literal["none", "min_snr", "debiased"] = setting(
        "debiased",
        "Loss weighting",
        "How much each noise level counts. debiased is the tutorial's choice (good colours), min_snr holds back the "
        "nearly clean ones, none treats all alike.",
        kohya="debiased_estimation_loss, min_snr_gamma",
    )
    min_snr_gamma: float = setting(
        5.0,
        "Min-SNR gamma",
        "Where min_snr starts to hold back. Smaller holds back more; 5 is usual. Only used with min_snr.",
        kohya="min_snr_gamma",
        advanced=True,
        gt=0,
        le=100,
    )


class RunConfig(Section):
    """How long to train, with how much memory, and what to keep."""

    epochs: int = setting(
        10,
        "Epochs",
        "How often the whole dataset is gone through. A LoRA is saved after each, so that the best can be chosen.",
        kohya="epoch",
        ge=1,
        le=1000,
    )
    batch_size: int = setting(
        2, "Batch size", "Pictures per step. More needs more memory.", kohya="train_batch_size", ge=1, le=256
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Gradient accumulation",
        "Batches added up before one step is taken: a larger batch without more memory, but slower.",
        kohya="gradient_accumulation_steps",
        advanced=True,
        ge=1,
        le=256,
    )
    precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp32",
        "Precision",
        "fp16 on a T4, bf16 on an A100 or newer, fp32 on a machine without GPU.",
        kohya="mixed_precision",
    )
    save_precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp16",
        "Precision of the file",
        "fp16 is half the size and every program reads it.",
        kohya="save_precision",
    )
    gradient_checkpointing: bool = setting(
        False,
        "Gradient checkpointing",
        "Forgets what it has computed and computes it again: less memory, about a quarter slower. Turn it on when "
        "memory is short.",
        kohya="gradient_checkpointing",
    )
    seed: int = setting(42, "Seed", "The same seed gives the same LoRA.", kohya="seed", ge=0, le=2**32 - 1)
    save_every_n_epochs: int = setting(
        1,
        "Save every n epochs",
        "How often a LoRA file is written.",
        kohya="save_every_n_epochs",
        ge=1,
        le=1000,
    )


class PictureConfig(Section):
    """How pictures are drawn from prompts, wherever that happens."""

    negative_prompt: str = setting("", "Negative prompt", "What the picture should not show.", kohya="--n")
    steps: int = setting(20, "Steps", "Denoising steps: more is slower and a little finer.", kohya="--s", ge=1, le=150)
    guidance_scale: float = setting(
        7.0,
        "Guidance",
        "How strictly the prompt is followed (CFG scale). 1 ignores the negative prompt and is twice as fast.",
        kohya="--l",
        ge=1,
        le=30,
    )
    sampler: Sampler = setting("euler", "Sampler", "The algorithm that removes the noise.", kohya="--ss")
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
    lora: Path | None = setting(None, "LoRA file", "The .safetensors file to apply; none draws the base model.")
    lora_weight: float = setting(
        1.0, "LoRA weight", "Strength of the LoRA: 0 is the base model, 1 as trained.", ge=-10, le=10
    )


class TrainConfig(Section):
    """All settings of a training: what a project's config.json holds."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    adapter: AdapterConfig = AdapterConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    noise: NoiseConfig = NoiseConfig()
    loss: LossConfig = LossConfig()
    run: RunConfig = RunConfig()
    samples: SampleConfig = SampleConfig()


def list_settings() -> Iterator[tuple[str, FieldInfo]]:
    """Go through all settings in order: ("run.epochs", its declaration)."""
    for section, part in TrainConfig.model_fields.items():
        for name, field in _section_class(part).model_fields.items():
            yield f"{section}.{name}", field


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The values that a setting can be chosen from; empty when it is not a choice."""
    return typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()


def _section_class(field: FieldInfo) -> type[Section]:
    return typing.cast(type[Section], field.annotation)
