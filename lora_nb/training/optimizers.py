"""How are the small matrices moved? Optimizers; how their learning rates change over time is in schedules.py."""

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from lora_nb.adapters.groups import Groups
from lora_nb.config import OptimizerConfig
from lora_nb.config.optimizer import optimizer_arguments, optimizer_class
from lora_nb.errors import ConfigError, MissingPackageError, Problem, TrainingError

PACKAGES = {"bitsandbytes": "bitsandbytes", "prodigyopt": "prodigyopt", "pytorch_optimizer": "pytorch-optimizer"}
OF_THE_KIT = {"self", "params", "lr"}  # arguments that are given by other settings


def make_fixed_rate(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """An optimizer that takes steps as large as its learning rates say: most of them."""
    found: Any = load_class(config)
    accepted = accepted_names(found)
    given = {name: value for name, value in optimizer_arguments(config).items() if name in accepted}
    optimizer: Optimizer = found(groups, lr=config.learning_rate, **given)
    return optimizer


def make_prodigy(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Prodigy finds the step size itself (arXiv:2306.06101): one for all, times a learning rate of about 1."""
    rates = {group["name"]: group["lr"] for group in groups}
    if len(set(rates.values())) > 1:
        raise TrainingError(
            f"Prodigy has one learning rate for everything, and these differ: {rates}. Set "
            "optimizer.text_encoder_learning_rate to optimizer.learning_rate, optimizer.loraplus_ratio to 1, and leave "
            "adapter.block_learning_rates out."
        )
    return make_fixed_rate(groups, config)


# to add one: name it here, and in config/optimizer.py with its class
OPTIMIZERS: dict[str, Callable[[Groups, OptimizerConfig], Optimizer]] = {
    "adamw": make_fixed_rate,
    "adamw8bit": make_fixed_rate,
    "paged_adamw8bit": make_fixed_rate,
    "lion": make_fixed_rate,
    "lion8bit": make_fixed_rate,
    "adafactor": make_fixed_rate,
    "prodigy": make_prodigy,
    "schedule_free_adamw": make_fixed_rate,
    "came": make_fixed_rate,
    "custom": make_fixed_rate,
}


def make_optimizer(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Make the optimizer for an adapter's parameters, which adapters.groups has grouped by their learning rate."""
    if not groups:
        raise TrainingError("There is nothing to train: the adapter has no parameters.")
    if problems := check_optimizer(config):
        raise ConfigError("This optimizer cannot be made.", problems)
    return OPTIMIZERS[config.kind](groups, config)


def check_optimizer(config: OptimizerConfig) -> list[Problem]:
    """Find the class, and report the arguments that it does not take. Raises MissingPackageError."""
    try:
        found = load_class(config)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        fix = "Give its whole path, such as 'torch.optim.RAdam', and install its package."
        return [Problem("optimizer.custom_class", f"{config.custom_class!r} cannot be loaded ({error}).", fix)]
    accepted = accepted_names(found)
    problems = [_explain_argument(name, accepted) for name in config.arguments if name not in accepted]
    if config.weight_decay and "weight_decay" not in accepted:
        what = f"{config.weight_decay} would do nothing: {found.__name__} has no weight decay."
        problems.append(Problem("optimizer.weight_decay", what, "Set it to 0."))
    for name in ("relative_step", "warmup_init"):
        if config.kind == "adafactor" and config.arguments.get(name):
            what = f"With {name} it chooses its own learning rate, and optimizer.learning_rate would do nothing."
            problems.append(Problem("optimizer.arguments", what, f"Leave {name} out."))
    return problems


def load_class(config: OptimizerConfig) -> type[Optimizer]:
    """Import the optimizer's class; its package may be an optional one."""
    module, _, name = optimizer_class(config).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        package = PACKAGES.get(module.partition(".")[0])
        if package is None or config.kind == "custom":
            raise
        raise MissingPackageError(f"Optimizer {config.kind!r}", package) from error
    if not (inspect.isclass(found) and issubclass(found, Optimizer)):
        raise TypeError(f"{name} is not a torch optimizer")
    return found


def accepted_names(found: type[Optimizer]) -> set[str]:
    """The arguments that a class names. One that also swallows any others (**kwargs) is asked its parents' names."""
    names: set[str] = set()
    for each in found.__mro__:
        if each is Optimizer or "__init__" not in vars(each):
            continue
        parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
        names |= {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return names - OF_THE_KIT


def current_rates(optimizer: Optimizer) -> dict[str, float]:
    """The size of a step now, by the group's name; of optimizers that find it themselves (Prodigy), what they found."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    return {group.get("name", str(place)): float(group["lr"] * group.get("d", 1)) for place, group in enumerate(groups)}


def _explain_argument(name: str, accepted: set[str]) -> Problem:
    if name in OF_THE_KIT:
        return Problem("optimizer.arguments", f"{name!r} is a setting of its own.", "Use optimizer.learning_rate.")
    near = difflib.get_close_matches(name, accepted, 1, 0.6)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return Problem("optimizer.arguments", f"There is no {name!r}.", f"{hint}It takes: {', '.join(sorted(accepted))}.")
