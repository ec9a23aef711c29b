"""Kohya's keys about pictures, captions and the run."""

import math
from typing import Any

from lora_nb.kohya.rules import (
    OFF,
    Left,
    Rule,
    Taken,
    choice,
    flag,
    not_needed,
    not_supported,
    number,
    opposite,
    text,
    whole,
)
from lora_nb.kohya.values import Values, is_on, read_number, read_sides, read_whole

PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}


def _separator(value: Any, values: Values) -> Taken | Left:
    if str(value).strip() == ",":
        return not_needed("Tags are separated by commas here.")
    return not_supported("Tags are separated by commas here. Replace it in the caption files.")


def _resolution(value: Any, values: Values) -> Taken | Left:
    width, height = read_sides(value)
    why = "" if width == height else f"The square with the area of {width}x{height}."
    return Taken({"data.resolution": math.isqrt(width * height)}, why)


def _caption_extension(value: Any, values: Values) -> Taken | Left:
    if str(value).strip() == ".txt":
        return not_needed("Captions are .txt files here.")
    return not_supported("Captions are .txt files here. Rename them; a picture without one takes its folder's name.")


def _masked(value: Any, values: Values) -> Taken | Left:
    if not is_on(value):
        return OFF
    return Taken({"data.loss_mask": "alpha" if values.flag("alpha_mask") else "files"})


def _epochs(value: Any, values: Values) -> Taken | Left:
    if values.number("max_train_epochs"):
        return not_needed("max_train_epochs stands above it.")
    return Taken({"run.epochs": read_whole(value)})


def _max_epochs(value: Any, values: Values) -> Taken | Left:
    return Taken({"run.epochs": read_whole(value)}) if read_number(value) else not_needed("0 leaves it to epoch.")


def _max_steps(value: Any, values: Values) -> Taken | Left:
    steps = read_whole(value)
    if not steps or values.number("max_train_epochs") or "num_batches_per_epoch" in values:
        return not_needed("The epochs decide how long the training is.")
    return not_supported(f"Whole epochs are trained. To come near: lora-nb plan FOLDER --steps {steps}")


def _seed(value: Any, values: Values) -> Taken | Left:
    return Taken({"run.seed": read_whole(value)}) if read_whole(value) else not_needed("0 draws one; here it is fixed.")


def _save_every(value: Any, values: Values) -> Taken | Left:
    epochs = read_whole(value)
    return (
        Taken({"run.save_every_n_epochs": epochs}) if epochs else not_supported("A LoRA is saved at least at the end.")
    )


def _fp8(value: Any, values: Values) -> Taken | Left:
    if not is_on(value):
        return OFF
    return Taken({"run.quantization": "int8"}, "As small as fp8, and scaled, so that less is lost.")


TRAINING_RULES: dict[str, Rule] = {
    "keep_tokens": whole("data.keep_tokens"),
    "keep_tokens_separator": text("data.keep_tokens_separator"),
    "shuffle_caption": flag("data.shuffle_tags"),
    "caption_prefix": text("data.caption_prefix"),
    "caption_suffix": text("data.caption_suffix"),
    "enable_wildcard": flag("data.wildcards"),
    "weighted_captions": flag("data.weighted_captions"),
    "max_token_length": whole("data.max_tokens"),
    "caption_dropout_rate": number("data.caption_dropout"),
    "caption_dropout_every_n_epochs": whole("data.caption_dropout_every_n_epochs"),
    "caption_tag_dropout_rate": number("data.tag_dropout"),
    "caption_extension": _caption_extension,
    "caption_separator": _separator,
    "max_resolution": _resolution,
    "enable_bucket": flag("data.enable_buckets"),
    "bucket_no_upscale": opposite("data.enlarge_pictures"),
    "bucket_reso_steps": whole("data.bucket_step"),
    "min_bucket_reso": whole("data.min_bucket_size"),
    "max_bucket_reso": whole("data.max_bucket_size"),
    "flip_aug": flag("data.flip"),
    "random_crop": flag("data.random_crop"),
    "masked_loss": _masked,
    "prior_loss_weight": number("data.prior_loss_weight"),
    "validation_split": number("data.validation_split"),
    "epoch": _epochs,
    "max_train_epochs": _max_epochs,
    "max_train_steps": _max_steps,
    "train_batch_size": whole("run.batch_size"),
    "gradient_accumulation_steps": whole("run.gradient_accumulation_steps"),
    "mixed_precision": choice("run.precision", PRECISIONS),
    "save_precision": choice("run.save_precision", PRECISIONS),
    "gradient_checkpointing": flag("run.gradient_checkpointing"),
    "seed": _seed,
    "save_every_n_epochs": _save_every,
    "fp8_base": _fp8,
    "fp8_base_unet": _fp8,
}
