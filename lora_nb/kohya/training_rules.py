"""Kohya's keys about pictures, captions, optimizer and the run."""

import math
from typing import Any

from lora_nb.kohya.model_rules import trains_denoiser, trains_text_encoder
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
    when,
    whole,
)
from lora_nb.kohya.values import Values, is_on, read_arguments, read_number, read_sides, read_whole

OPTIMIZERS = {  # without the library's path, in small letters => ours, or where the class is
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "pagedadamw8bit": "paged_adamw8bit",
    "lion": "lion",
    "lion8bit": "lion8bit",
    "adafactor": "adafactor",
    "prodigy": "prodigy",
    "adamwschedulefree": "schedule_free_adamw",
    "came": "came",
    "pagedadamw": "bitsandbytes.optim.PagedAdamW",
    "pagedadamw32bit": "bitsandbytes.optim.PagedAdamW32bit",
    "pagedlion8bit": "bitsandbytes.optim.PagedLion8bit",
    "sgdnesterov": "torch.optim.SGD",
    "sgdnesterov8bit": "bitsandbytes.optim.SGD8bit",
    "dadaptation": "dadaptation.experimental.DAdaptAdamPreprint",
    "dadaptadampreprint": "dadaptation.experimental.DAdaptAdamPreprint",
    "dadaptadagrad": "dadaptation.DAdaptAdaGrad",
    "dadaptadam": "dadaptation.DAdaptAdam",
    "dadaptadan": "dadaptation.DAdaptAdan",
    "dadaptlion": "dadaptation.DAdaptLion",
    "dadaptsgd": "dadaptation.DAdaptSGD",
    "radamschedulefree": "schedulefree.RAdamScheduleFree",
    "sgdschedulefree": "schedulefree.SGDScheduleFree",
}
NESTEROV = {"momentum": 0.9, "nesterov": True}  # what Kohya gives SGDNesterov
PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}


def find_optimizer(values: Values) -> tuple[str, dict[str, Any]]:
    """The optimizer's name in Kohya's file, and its arguments; the metadata writes both in one text."""
    name, _, inside = values.text("optimizer").partition("(")
    arguments = read_arguments(inside.rstrip(")")) if inside.strip(")") else {}
    if values.text("optimizer_args") or isinstance(values.get("optimizer_args"), list):
        arguments |= read_arguments(values["optimizer_args"])
    return name.strip(), arguments


def default_weight_decay(values: Values) -> float:
    """What the optimizer's own library takes when Kohya's file says nothing."""
    return 0.01 if "adamw" in find_optimizer(values)[0].lower() or "optimizer" not in values else 0.0


def _optimizer(value: Any, values: Values) -> Taken | Left:
    name, arguments = find_optimizer(values)
    short = name.rpartition(".")[2].lower()
    ours = OPTIMIZERS.get(short, name)
    settings: dict[str, Any] = {"optimizer.kind": ours}
    if "." in ours:
        settings = {"optimizer.kind": "custom", "optimizer.custom_class": ours}
        arguments = (NESTEROV if "sgdnesterov" in short else {}) | arguments
    elif ours not in OPTIMIZERS.values():
        return not_supported(f"There is no optimizer {name!r} here; use optimizer.kind custom if a package has it.")
    if "optimizer_args" not in values and "weight_decay" in arguments:
        settings["optimizer.weight_decay"] = float(arguments.pop("weight_decay"))
    rest = {name: value for name, value in arguments.items() if name != "weight_decay"}
    if rest and "optimizer_args" not in values:
        settings["optimizer.arguments"] = rest
    return Taken(settings)


def _optimizer_arguments(value: Any, values: Values) -> Taken | Left:
    arguments = read_arguments(value)
    settings: dict[str, Any] = {}
    if "weight_decay" in arguments:
        settings["optimizer.weight_decay"] = float(arguments.pop("weight_decay"))
    if arguments:
        name = find_optimizer(values)[0].lower()
        settings["optimizer.arguments"] = (NESTEROV if "sgdnesterov" in name else {}) | arguments
    return Taken(settings)


def _rate(value: Any, values: Values) -> Taken | Left:
    """The rate for whatever has none of its own."""
    settings = {}
    if not values.number("unet_lr"):
        settings["optimizer.learning_rate"] = read_number(value)
    if not values.number("text_encoder_lr"):
        settings["optimizer.text_encoder_learning_rate"] = read_number(value)
    return Taken(settings) if settings else not_needed("unet_lr and text_encoder_lr stand above it.")


def _denoiser_rate(value: Any, values: Values) -> Taken | Left:
    if not trains_denoiser(values):
        return Taken({"adapter.train_denoiser": False})
    rate = read_number(value)
    return Taken({"optimizer.learning_rate": rate}) if rate else not_needed("It is 0: learning_rate stands for it.")


def _text_rate(value: Any, values: Values) -> Taken | Left:
    if not trains_text_encoder(values):
        return Taken({"adapter.train_text_encoder": False})
    words = str(value).strip("[] ").replace(",", " ").split()
    rates = [read_number(word) for word in words]
    if not any(rates):
        return not_needed("It is 0: learning_rate stands for it.")
    why = "All text encoders have one rate here: the first." if len(set(rates)) > 1 else ""
    return Taken({"optimizer.text_encoder_learning_rate": next(rate for rate in rates if rate)}, why)


def _schedule(value: Any, values: Values) -> Taken | Left:
    name = str(value).strip().lower()
    return Taken({"optimizer.lr_scheduler": "constant" if name == "constant_with_warmup" else name})


def _warmup_percent(value: Any, values: Values) -> Taken | Left:
    if values.number("lr_warmup_steps"):
        return not_needed("lr_warmup_steps stands above it.")
    return Taken({"optimizer.warmup_ratio": read_number(value) / 100})


def _warmup_steps(value: Any, values: Values) -> Taken | Left:
    steps, total = read_number(value), values.number("max_train_steps")
    if steps < 1:
        return Taken({"optimizer.warmup_ratio": steps})
    if not total:
        return not_supported("Warm-up is a share of all steps here, and the file does not say how many there are.")
    return Taken({"optimizer.warmup_ratio": round(steps / total, 6)}, f"{steps:g} of {total:g} steps.")


def _scheduled(setting: str, schedules: tuple[str, ...], rule: Rule) -> Rule:
    used = lambda values: values.text("lr_scheduler") in schedules  # noqa: E731
    return when(used, "This learning-rate schedule does not use it.", rule)


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
    "optimizer": _optimizer,
    "optimizer_args": _optimizer_arguments,
    "learning_rate": _rate,
    "unet_lr": _denoiser_rate,
    "text_encoder_lr": _text_rate,
    "max_grad_norm": number("optimizer.max_grad_norm"),
    "lr_scheduler": _schedule,
    "lr_warmup": _warmup_percent,
    "lr_warmup_steps": _warmup_steps,
    "lr_scheduler_num_cycles": _scheduled(
        "optimizer.cycles", ("cosine_with_restarts", "cosine_with_min_lr"), number("optimizer.cycles")
    ),
    "lr_scheduler_power": _scheduled("optimizer.power", ("polynomial",), number("optimizer.power")),
    "loraplus_lr_ratio": lambda value, values: (
        Taken({"optimizer.loraplus_ratio": read_number(value)}) if read_number(value) else OFF
    ),
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
