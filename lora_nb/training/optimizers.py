"""How are the small matrices moved? Optimizers, and how their learning rate changes over time."""

from collections.abc import Callable

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lora_nb.adapters.groups import Groups
from lora_nb.config import OptimizerConfig
from lora_nb.errors import MissingPackageError, TrainingError


def make_adamw(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """AdamW in full precision (Loshchilov and Hutter 2017, arXiv:1711.05101)."""
    return AdamW(groups, weight_decay=config.weight_decay)


def make_adamw8bit(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """AdamW that keeps its two running averages in 8 bits, a quarter of the memory (arXiv:2110.02861)."""
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError as error:
        raise MissingPackageError("Optimizer 'adamw8bit'", "bitsandbytes") from error
    return AdamW8bit(groups, weight_decay=config.weight_decay)


# to add one: write the function, name it here and in config.OptimizerConfig
OPTIMIZERS: dict[str, Callable[[Groups, OptimizerConfig], Optimizer]] = {
    "adamw": make_adamw,
    "adamw8bit": make_adamw8bit,
}

# ours => the name in diffusers.optimization, which also does the warm-up
LR_SCHEDULERS = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


def make_optimizer(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Make the optimizer for an adapter's parameters, which adapters.groups has grouped by their learning rate."""
    if not groups:
        raise TrainingError("There is nothing to train: the adapter has no parameters.")
    return OPTIMIZERS[config.kind](groups, config)


def make_lr_scheduler(optimizer: Optimizer, config: OptimizerConfig, steps: int) -> LRScheduler:
    """Make the learning-rate schedule over all optimizer steps of the run, warm-up included."""
    from diffusers.optimization import get_scheduler

    warmup_steps = round(config.warmup_ratio * steps)
    name = LR_SCHEDULERS[config.lr_scheduler]
    return get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)
