"""Which settings contradict each other? Refused when they are made, like every value that cannot act."""

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem


def check_combinations(config: TrainConfig, where: str) -> list[Problem]:
    """Report the settings that work alone but not together."""
    checks = (_check_timesteps, _check_optimizer, _check_offload)
    return [problem for check in checks for problem in check(config, where)]


def _check_timesteps(config: TrainConfig, where: str) -> list[Problem]:
    noise = config.noise
    if noise.min_timestep < noise.max_timestep:
        return []
    what = f"{noise.min_timestep} leaves no noise level below noise.max_timestep, which is {noise.max_timestep}."
    return [Problem(f"{where}, noise.min_timestep", what, "Make it smaller than the other.")]


def _check_optimizer(config: TrainConfig, where: str) -> list[Problem]:
    optimizer, problems = config.optimizer, []
    if optimizer.kind == "custom" and not optimizer.custom_class:
        what = "'custom' needs a class."
        problems.append(Problem(f"{where}, optimizer.kind", what, "Name it in optimizer.custom_class."))
    if optimizer.kind == "schedule_free_adamw" and optimizer.lr_scheduler != "constant":
        what = (
            f"{optimizer.lr_scheduler!r} does not go with an optimizer that averages its steps instead of a schedule."
        )
        problems.append(Problem(f"{where}, optimizer.lr_scheduler", what, "Set it to 'constant'."))
    if optimizer.kind == "schedule_free_adamw" and optimizer.ema_decay:
        what = f"{optimizer.ema_decay} does not go with schedule_free_adamw, which saves an average of its own."
        problems.append(Problem(f"{where}, optimizer.ema_decay", what, "Set it to 0."))
    return problems


def _check_offload(config: TrainConfig, where: str) -> list[Problem]:
    """What would keep the weights of waiting blocks on the GPU."""
    run = config.run
    if not run.offload:
        return []
    place, start = f"{where}, run.offload", f"{run.offload:g} would free nothing"
    problems = []
    if not run.gradient_checkpointing:
        what = f"{start} without gradient checkpointing: every block's weights would be kept for the way back."
        problems.append(Problem(place, what, "Set run.gradient_checkpointing to true, or this to 0."))
    if run.quantization == "int8":
        what = f"{start} of a model in 8 bits: bitsandbytes keeps the weights that it has used for the way back."
        problems.append(Problem(place, what, "Set run.quantization to 'none' or 'nf4', or this to 0."))
    if run.compile:
        what = f"{start} of a compiled model, whose blocks decide themselves what they keep for the way back."
        problems.append(Problem(place, what, "Set run.compile to false, or this to 0."))
    return problems


def find_cautions(config: TrainConfig) -> list[Problem]:
    """What works, but is probably not meant."""
    rate = config.optimizer.learning_rate
    if config.optimizer.kind == "prodigy" and rate < 0.1:
        what = f"{rate:g} is multiplied with the step size that prodigy finds, so it will hardly learn."
        return [Problem("optimizer.learning_rate", what, "Set all learning rates to 1.", "note")]
    return []
