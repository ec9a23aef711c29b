"""Kohya's keys about the optimizer and the learning rates."""

from typing import Any

from lora_nb.kohya.rules import (
    OFF,
    Left,
    Rule,
    Taken,
    not_needed,
    not_supported,
    number,
    when,
    whole,
)
from lora_nb.kohya.trained import trains_denoiser, trains_text_encoder
from lora_nb.kohya.values import Values, read_arguments, read_number, read_whole

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


def find_optimizer(values: Values) -> tuple[str, dict[str, Any]]:
    """The optimizer's name in Kohya's file, and its arguments; the metadata writes both in one text."""
    name, _, inside = values.text("optimizer").partition("(")
    arguments = read_arguments(inside.rstrip(")")) if inside.strip(")") else {}
    if values.text("optimizer_args") or isinstance(values.get("optimizer_args"), list):
        arguments |= read_arguments(values["optimizer_args"])
    return name.strip(), arguments


def default_weight_decay(values: Values) -> float:
    """What the optimizer's own library takes when Kohya's file says nothing."""
    return 0.01 if "adamw" in values.text("optimizer").partition("(")[0].lower() or "optimizer" not in values else 0.0


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


def _decay_steps(value: Any, values: Values) -> Taken | Left:
    steps, total = read_number(value), values.number("max_train_steps")
    if not steps:
        return OFF
    if steps < 1:
        return Taken({"optimizer.decay_ratio": steps})
    if not total:
        return not_supported("The fall is a share of all steps here, and the file does not say how many there are.")
    return Taken({"optimizer.decay_ratio": round(steps / total, 6)}, f"{steps:g} of {total:g} steps.")


def _cycles(value: Any, values: Values) -> Taken | Left:
    if values.text("lr_scheduler") == "cosine_with_min_lr":
        half = "One fall is what cosine_with_min_lr does here."
        return not_needed(half) if read_number(value) in (0, 1) else not_supported(half)
    return Taken({"optimizer.cycles": read_whole(value)})


def _schedule_arguments(value: Any, values: Values) -> Taken | Left:
    arguments = read_arguments(value)
    if arguments.keys() == {"step_rules"} and values.text("lr_scheduler") == "piecewise_constant":
        return Taken({"optimizer.step_rules": str(arguments["step_rules"])})
    return not_supported("Of a schedule's arguments, only step_rules of piecewise_constant are read.")


def _loraplus(part: str, other: str) -> Rule:
    """Kohya has one ratio for each part; here there is one, which is right if the other part is not trained."""

    def judge(value: Any, values: Values) -> Taken | Left:
        trained = {"unet": trains_denoiser(values), "text_encoder": trains_text_encoder(values)}
        ratio, common = read_number(value), values.number("loraplus_lr_ratio")
        if not ratio:
            return OFF
        if not trained[part]:
            return not_needed("This part is not trained.")
        if trained[other] and ratio != (values.number(f"loraplus_{other}_lr_ratio") or common):
            return not_supported("All parts have one ratio here: optimizer.loraplus_ratio.")
        return Taken({"optimizer.loraplus_ratio": ratio})

    return judge


def _common_loraplus(value: Any, values: Values) -> Taken | Left:
    parts = [("unet", trains_denoiser), ("text_encoder", trains_text_encoder)]
    left = [part for part, trains in parts if trains(values) and not values.number(f"loraplus_{part}_lr_ratio")]
    if not read_number(value):
        return OFF
    return Taken({"optimizer.loraplus_ratio": read_number(value)}) if left else not_needed("Each part has its own.")


def _scheduled(schedules: tuple[str, ...], rule: Rule) -> Rule:
    used = lambda values: values.text("lr_scheduler") in schedules  # noqa: E731
    return when(used, "This learning-rate schedule does not use it.", rule)


OPTIMIZER_RULES: dict[str, Rule] = {
    "optimizer": _optimizer,
    "optimizer_args": _optimizer_arguments,
    "learning_rate": _rate,
    "unet_lr": _denoiser_rate,
    "text_encoder_lr": _text_rate,
    "max_grad_norm": number("optimizer.max_grad_norm"),
    "lr_scheduler": _schedule,
    "lr_warmup": _warmup_percent,
    "lr_warmup_steps": _warmup_steps,
    "lr_scheduler_num_cycles": _scheduled(("cosine_with_restarts", "cosine_with_min_lr"), _cycles),
    "lr_scheduler_power": _scheduled(("polynomial",), number("optimizer.power")),
    "lr_scheduler_min_lr_ratio": _scheduled(
        ("cosine_with_min_lr", "warmup_stable_decay"), number("optimizer.min_ratio")
    ),
    "lr_scheduler_timescale": _scheduled(("inverse_sqrt",), whole("optimizer.timescale")),
    "lr_decay_steps": _scheduled(("warmup_stable_decay",), _decay_steps),
    "lr_scheduler_args": _schedule_arguments,
    "loraplus_lr_ratio": _common_loraplus,
    "loraplus_unet_lr_ratio": _loraplus("unet", "text_encoder"),
    "loraplus_text_encoder_lr_ratio": _loraplus("text_encoder", "unet"),
}
