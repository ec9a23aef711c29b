"""Settings of the optimizer and its learning rates."""

import ast
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from lora_nb.config.base import Section, Table, setting

OPTIMIZER_CLASSES = {  # the class behind each kind, which the LoRA file names
    "adamw": "torch.optim.adamw.AdamW",
    "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "paged_adamw8bit": "bitsandbytes.optim.adamw.PagedAdamW8bit",
    "lion": "bitsandbytes.optim.lion.Lion",
    "lion8bit": "bitsandbytes.optim.lion.Lion8bit",
    "adafactor": "transformers.optimization.Adafactor",
    "prodigy": "prodigyopt.prodigy.Prodigy",
    "schedule_free_adamw": "pytorch_optimizer.optimizer.schedulefree.ScheduleFreeAdamW",
    "came": "pytorch_optimizer.optimizer.came.CAME",
}
FIXED_RATE = {"adafactor": {"scale_parameter": False, "relative_step": False}}  # it follows the learning rate


def read_step_rules(text: str) -> tuple[list[tuple[float, float]], float]:
    """ "1:0.5,0.1" => [(1, 0.5)], 0.1: the full rate until half of the run, then a tenth. Raises ValueError."""
    *pieces, last = [piece.strip() for piece in text.split(",")]
    try:
        pairs = [piece.split(":") for piece in pieces]
        return [(float(value), float(end)) for value, end in pairs], float(last)
    except ValueError:
        raise ValueError("write it as 'factor:until, factor:until, last factor', such as '1:0.5, 0.1'") from None


def _read_values(values: Any) -> Any:
    """Arguments as they are meant: the text of a form's field ("0.9, 0.99", "true") is read, a list is a tuple."""
    return {name: _read_value(value) for name, value in values.items()} if isinstance(values, dict) else values


def _read_value(value: Any) -> Any:
    if isinstance(value, str):
        text = {"true": "True", "false": "False", "null": "None"}.get(value.strip(), value.strip())
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return value
    return tuple(value) if isinstance(value, list) else value


def _check_step_rules(text: str) -> str:
    read_step_rules(text)
    return text


class OptimizerConfig(Section):
    """How the small matrices are moved, and how fast."""

    kind: Literal[
        "adamw",
        "adamw8bit",
        "paged_adamw8bit",
        "lion",
        "lion8bit",
        "adafactor",
        "prodigy",
        "schedule_free_adamw",
        "came",
        "custom",
    ] = setting(
        "adamw8bit",
        "Optimizer",
        "adamw8bit keeps its memory of past steps in 8 bits (package bitsandbytes): the tutorial's choice; paged moves "
        "it out of a full GPU. lion wants a third of AdamW's learning rate. adafactor and came need the least memory. "
        "prodigy finds the step size: set all learning rates to 1. schedule_free_adamw needs no schedule.",
        kohya="optimizer_type",
    )
    custom_class: str = setting(
        "",
        "Optimizer class",
        "The optimizer of your own that 'custom' means: the path of a class, such as torch.optim.RAdam.",
        kohya="optimizer_type",
        only_with="optimizer.kind=custom",
        advanced=True,
    )
    arguments: Annotated[dict[str, Any], BeforeValidator(_read_values), AfterValidator(Table)] = setting(
        {},
        "Optimizer arguments",
        "What else the optimizer is told, by its own names: d_coef = 2 for prodigy. An unknown name is refused with "
        "the list of known ones.",
        kohya="optimizer_args",
        advanced=True,
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
    lr_scheduler: Literal[
        "constant",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "inverse_sqrt",
        "warmup_stable_decay",
        "piecewise_constant",
        "rex",
    ] = setting(
        "cosine",
        "Learning-rate schedule",
        "How the learning rate changes: it stays (constant), falls to zero in a curve (cosine) or a line (linear), "
        "falls late (rex, warmup_stable_decay), or jumps (piecewise_constant). All of them can warm up.",
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
    cycles: int = setting(
        1,
        "Restarts",
        "How many times the learning rate falls from its full height.",
        kohya="lr_scheduler_num_cycles",
        only_with="optimizer.lr_scheduler=cosine_with_restarts",
        advanced=True,
        ge=1,
        le=100,
    )
    power: float = setting(
        1.0,
        "Power",
        "1 falls in a line; 2 falls fast at first.",
        kohya="lr_scheduler_power",
        only_with="optimizer.lr_scheduler=polynomial",
        advanced=True,
        gt=0,
        le=10,
    )
    min_ratio: float = setting(
        0.0,
        "Lowest share of the learning rate",
        "Where the fall ends: 0.1 is a tenth of the full rate.",
        kohya="lr_scheduler_min_lr_ratio",
        only_with="optimizer.lr_scheduler=cosine_with_min_lr|polynomial|warmup_stable_decay|rex",
        advanced=True,
        ge=0,
        le=1,
    )
    timescale: int = setting(
        0,
        "Time scale",
        "After this many steps the learning rate is at 0.7 of its height. 0: as long as the warm-up, or 10,000.",
        kohya="lr_scheduler_timescale",
        only_with="optimizer.lr_scheduler=inverse_sqrt",
        advanced=True,
        ge=0,
        le=1_000_000,
    )
    decay_ratio: float = setting(
        0.2,
        "Share of the fall",
        "The last share of all steps, in which the learning rate falls.",
        kohya="lr_decay_steps",
        only_with="optimizer.lr_scheduler=warmup_stable_decay",
        advanced=True,
        gt=0,
        le=1,
    )
    step_rules: Annotated[str, AfterValidator(_check_step_rules)] = setting(
        "1:0.5, 0.1",
        "Pieces",
        "Factors of the learning rate and until when they hold: below 1 a share of the run, from 1 a number of steps.",
        kohya="lr_scheduler_args (step_rules)",
        only_with="optimizer.lr_scheduler=piecewise_constant",
        advanced=True,
    )
    ema_decay: float = setting(
        0.0,
        "Average of the weights (EMA)",
        "Saves and draws with a running average of the LoRA, which is less noisy: 0.99 looks back about 100 steps. "
        "Costs one more copy of the small matrices. 0 turns it off.",
        advanced=True,
        ge=0,
        lt=1,
        le=1,
    )


def optimizer_class(config: OptimizerConfig) -> str:
    """The path of the class that moves the matrices."""
    return config.custom_class if config.kind == "custom" else OPTIMIZER_CLASSES[config.kind]


def optimizer_arguments(config: OptimizerConfig) -> dict[str, Any]:
    """What that class is told besides the learning rates."""
    return {**FIXED_RATE.get(config.kind, {}), "weight_decay": config.weight_decay, **config.arguments}
