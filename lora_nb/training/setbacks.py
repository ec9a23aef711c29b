"""How does a run go on when memory has run out, or when its loss has broken? With changed settings, if it may."""

from collections.abc import Callable
from dataclasses import dataclass

from lora_nb.config import TrainConfig, read_setting
from lora_nb.config.savings import (
    FOR_GPUS,
    Changes,
    checkpoint,
    halve_pieces,
    keep_text,
    move_blocks,
    shrink_optimizer,
    take_4_bits,
    take_8_bits,
)
from lora_nb.config_file import change_settings
from lora_nb.errors import BadLossError, ConfigError, Problem, quote
from lora_nb.explaining.causes import explain
from lora_nb.training.optimizers import check_optimizer
from lora_nb.training.speed import check_speed

MEMORY = ("gpu-memory", "main-memory")  # causes in the table of explained errors
MOST_LOWERED = 4  # times: to a sixteenth; if that does not help, the learning rate is not what is wrong

# What is given up when memory runs out, one after the other. To add one: write it in config.savings, name it here.
SLOWER: tuple[Callable[[TrainConfig], Changes], ...] = (halve_pieces, keep_text, checkpoint, move_blocks)
COARSER: tuple[Callable[[TrainConfig], Changes], ...] = (*SLOWER, shrink_optimizer, take_8_bits, take_4_bits)
RUNGS = {"stop": (), "slower": SLOWER, "coarser": COARSER}


@dataclass(frozen=True)
class WayOut:
    """What is changed so that the run can go on, and what the user is told."""

    config: TrainConfig
    changes: Changes
    remark: Problem


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory was full: the GPU's or the computer's, whoever says it."""
    found = explain(error)
    return found is not None and found.cause in MEMORY


def find_way_out(error: Exception, config: TrainConfig, device: str, lowered: int = 0) -> WayOut | None:
    """How the run can go on after an error, if its settings allow that. None: it ends with the error.

    lowered: how often the learning rate was halved already.
    """
    if isinstance(error, BadLossError):
        return lower_rate(error, config) if config.run.on_bad_loss == "lower_rate" and lowered < MOST_LOWERED else None
    return save_memory(error, config, device) if is_out_of_memory(error) else None


def lower_rate(error: BadLossError, config: TrainConfig) -> WayOut:
    """Half of every learning rate."""
    names = ("optimizer.learning_rate", "optimizer.text_encoder_learning_rate")
    changes = {name: read_setting(config, name) / 2 for name in names if read_setting(config, name)}
    return _way_out(config, changes, error.found, "It goes back to its last checkpoint, and on with that.")


def save_memory(error: Exception, config: TrainConfig, device: str) -> WayOut | None:
    """The next thing that can be given up for memory; None if there is nothing left."""
    for rung in RUNGS[config.run.on_out_of_memory]:
        changes = rung(config) if device != "cpu" or rung not in FOR_GPUS else {}
        if changes and _goes(config, changes):
            cost = "The LoRA stays the same, it takes longer." if rung in SLOWER else "The LoRA is a little coarser."
            return _way_out(
                config, changes, "Memory ran out.", f"The run goes on. {cost} (It said: {first_line(error)})"
            )
    return None


def _goes(config: TrainConfig, changes: Changes) -> bool:
    """Whether these settings go together, and this machine has what they need."""
    try:
        changed = change_settings(config, changes)
    except ConfigError:
        return False
    return not [*check_optimizer(changed.optimizer), *check_speed(changed)]


def _way_out(config: TrainConfig, changes: Changes, why: str, what_now: str) -> WayOut:
    said = [f"{name} is {value} now; it was {read_setting(config, name)}." for name, value in changes.items()]
    remark = Problem(", ".join(changes), " ".join([why, *said]), what_now, "warning")
    return WayOut(change_settings(config, changes), changes, remark)


def first_line(error: Exception) -> str:
    """What it says, without its advice on settings of PyTorch."""
    lines = str(error).strip().splitlines()
    return quote(lines[0].partition(" If reserved")[0]) if lines else type(error).__name__
