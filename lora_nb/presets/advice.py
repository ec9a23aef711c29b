"""Which settings does a new project start from: those for this model and machine, or a preset's?"""

from typing import Any

from lora_nb.config import WORKSHOP_MODEL, TrainConfig
from lora_nb.config_file import change_settings, make_config, nest_settings
from lora_nb.environment import Machine
from lora_nb.errors import ConfigError, Problem
from lora_nb.presets.catalogue import apply_preset, find_preset
from lora_nb.presets.layers import load_layers

FAMILIES = ("sd1", "sd2", "sdxl", "flux")  # each has a model layer of its name
CARDS = (("a100", 36.0), ("l4", 20.0), ("12gb", 10.5))  # the memory in GiB that each must have at least
T4_GIB = 13.0


def advise_config(
    machine: Machine,
    base: str = WORKSHOP_MODEL,
    trigger_words: tuple[str, ...] = (),
    family: str = "sd1",
) -> TrainConfig:
    """The settings that a new project starts from; every one of them can be changed afterwards.

    What the family cannot use, such as noise offset, comes switched off.
    """
    is_workshop = base == WORKSHOP_MODEL
    if not is_workshop and family not in FAMILIES:
        problem = Problem("family", f"{family!r} is not a model family.", f"Use one of {', '.join(FAMILIES)}.")
        raise ConfigError("The settings cannot be chosen.", [problem])
    settings = dict(load_layers("model")["workshop" if is_workshop else family].settings)
    if not is_workshop:
        settings |= _suit_machine(machine, family) | {"model.base": base}
    if family == "flux" and "schnell" in base.lower():
        settings |= {"model.t5_tokens": 256, "samples.guidance_scale": 1.0}
    prompt = ", ".join(trigger_words)
    settings |= {"data.trigger_words": trigger_words, "data.keep_tokens": len(trigger_words)}
    return make_config(nest_settings(settings | {"samples.prompts": (prompt,) if prompt else ()}))


def start_from_preset(
    name: str, base: str | None = None, trigger_words: tuple[str, ...] = (), family: str | None = None
) -> TrainConfig:
    """The settings of a new project by a preset's name; a base model that is given takes the place of the preset's."""
    preset = find_preset(name)
    prompt = ", ".join(trigger_words)
    mine = {"data.trigger_words": trigger_words, "samples.prompts": (prompt,) if prompt else ()}
    config = apply_preset(preset, make_config(nest_settings(mine)))
    if family is not None and family != config.model.family:
        what = f"{family!r} is not that of the preset, {config.model.family!r}."
        raise ConfigError("The settings cannot be chosen.", [Problem("family", what, "Leave it out, or change one.")])
    return change_settings(config, {"model.base": base} if base is not None else {})


def name_machine(machine: Machine) -> str:
    """The machine of the presets that a machine is most like."""
    if machine.gpu is None:
        return "cpu"
    if not machine.has_bf16 and machine.gpu_memory_gib >= T4_GIB:
        return "t4"
    return next((name for name, memory in CARDS if machine.gpu_memory_gib >= memory), "8gb")


def _suit_machine(machine: Machine, family: str) -> dict[str, Any]:
    layer = load_layers("machine")[name_machine(machine)]
    settings = {name: value for part in (layer, *layer.additions(family)) for name, value in part.settings.items()}
    return settings | {"run.precision": machine.precision}  # an older card has the memory, but no bf16
