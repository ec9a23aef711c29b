"""Which settings contradict each other? Refused when they are made, like every value that cannot act."""

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem


def check_combinations(config: TrainConfig, where: str) -> list[Problem]:
    """Report the settings that work alone but not together."""
    return [*_check_timesteps(config, where)]


def _check_timesteps(config: TrainConfig, where: str) -> list[Problem]:
    noise = config.noise
    if noise.min_timestep < noise.max_timestep:
        return []
    what = f"{noise.min_timestep} leaves no noise level below noise.max_timestep, which is {noise.max_timestep}."
    return [Problem(f"{where}, noise.min_timestep", what, "Make it smaller than the other.")]
