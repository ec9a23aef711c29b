"""How does the learning rate change over a run? Schedules, each with a warm-up."""

import math
from collections.abc import Callable

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lora_nb.config import OptimizerConfig
from lora_nb.config.optimizer import read_step_rules


def constant(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """It stays. All schedules: warmup is the number of steps in which it climbs, part of all steps."""
    return with_warmup(optimizer, warmup, steps, lambda progress: 1.0)


def linear(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Down to zero in a line."""
    from diffusers.optimization import get_linear_schedule_with_warmup

    return get_linear_schedule_with_warmup(optimizer, warmup, steps)


def cosine(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Down to zero in half a cosine wave."""
    from diffusers.optimization import get_cosine_schedule_with_warmup

    return get_cosine_schedule_with_warmup(optimizer, warmup, steps)


def cosine_with_restarts(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Several such falls, each from the full rate again."""
    from diffusers.optimization import get_cosine_with_hard_restarts_schedule_with_warmup

    return get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, warmup, steps, config.cycles)


def cosine_with_min_lr(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Half a cosine wave down to a share of the rate."""
    from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

    return get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, steps, min_lr_rate=config.min_ratio)


def polynomial(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Down along a power of the way that is left; power 1 is a line."""
    low = config.min_ratio
    return with_warmup(optimizer, warmup, steps, lambda progress: low + (1 - low) * (1 - progress) ** config.power)


def inverse_sqrt(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Down with the square root of the steps, never to zero."""
    from transformers.optimization import get_inverse_sqrt_schedule

    return get_inverse_sqrt_schedule(optimizer, warmup, config.timescale or None)


def warmup_stable_decay(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Stays, and falls only in the last part of the run."""
    low = config.min_ratio  # transformers' schedule of this name would also start its warm-up from there
    decay = max(1, min(round(config.decay_ratio * steps), steps - warmup))

    def fall(progress: float) -> float:
        left = min(1.0, (1 - progress) * (steps - warmup) / decay)  # of the fall, which is half a cosine wave
        return low + (1 - low) * (1 - math.cos(math.pi * left)) / 2

    return with_warmup(optimizer, warmup, steps, fall)


def piecewise_constant(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Stays, then jumps, as optimizer.step_rules says."""
    pieces, last = read_step_rules(config.step_rules)

    def factor(step: int) -> float:
        for value, end in pieces:
            if step < (end * steps if end < 1 else end):
                return value
        return last

    return LambdaLR(optimizer, lambda step: factor(step) * min(1.0, step / max(1, warmup) if warmup else 1.0))


def rex(optimizer: Optimizer, config: OptimizerConfig, warmup: int, steps: int) -> LRScheduler:
    """Stays high for long and falls late (Chen et al. 2021, arXiv:2107.04197)."""
    low = config.min_ratio
    return with_warmup(optimizer, warmup, steps, lambda left: low + (1 - low) * (1 - left) / (1 - left / 2))


# to add one: write the function, name it here and in config.OptimizerConfig
LR_SCHEDULERS: dict[str, Callable[[Optimizer, OptimizerConfig, int, int], LRScheduler]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "cosine_with_restarts": cosine_with_restarts,
    "cosine_with_min_lr": cosine_with_min_lr,
    "polynomial": polynomial,
    "inverse_sqrt": inverse_sqrt,
    "warmup_stable_decay": warmup_stable_decay,
    "piecewise_constant": piecewise_constant,
    "rex": rex,
}


def make_lr_scheduler(optimizer: Optimizer, config: OptimizerConfig, steps: int) -> LRScheduler:
    """Make the learning-rate schedule over all optimizer steps of the run, warm-up included."""
    return LR_SCHEDULERS[config.lr_scheduler](optimizer, config, round(config.warmup_ratio * steps), steps)


def learning_rate_curve(config: OptimizerConfig, steps: int) -> list[float]:
    """The learning rate of every step of a run: what the schedule that trains it says, without training."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    scheduler = make_lr_scheduler(optimizer, config, steps)
    curve = []
    for _ in range(steps):
        curve.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return curve


def with_warmup(optimizer: Optimizer, warmup: int, steps: int, fall: Callable[[float], float]) -> LRScheduler:
    """A schedule from a function of the progress after the warm-up, 0..1."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return fall(min(1.0, (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)
