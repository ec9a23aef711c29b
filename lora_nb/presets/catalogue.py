"""Which presets are there, what do they set, and why? Found by name, and put into force on a project's settings."""

import difflib
from dataclasses import dataclass
from itertools import product
from typing import Any

from lora_nb.config import WORKSHOP_MODEL, TrainConfig, list_settings, read_setting
from lora_nb.config.applicability import find_inapplicable
from lora_nb.config_file import make_config, nest_settings
from lora_nb.errors import ConfigError, Problem
from lora_nb.presets.layers import KINDS, WHOLE, Layer, load_layers

OWN = (  # what only the user knows, and no preset changes
    "data.trigger_words",
    "data.caption_prefix",
    "data.caption_suffix",
    "run.seed",
    "samples.prompts",
    "samples.negative_prompt",
)
OWN_MODEL = ("model.base", "model.vae", "model.other_parts")  # neither does it change these, if the family stays


@dataclass(frozen=True)
class Preset:
    """Settings for one case, put together from layers; `describe()` says why each is as it is."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it changes, by their path; the others are the defaults."""
        return {name: value for layer in self.layers for name, value in layer.settings.items()}

    @property
    def title(self) -> str:
        return ", ".join(dict.fromkeys(layer.title for layer in self.layers))

    def describe(self) -> str:
        """Each reason with the settings that follow from it, as text."""
        text = f"{self.name}: {self.title}"
        for layer in self.layers:
            values = (f"    {name} = {value}" for name, value in layer.settings.items())
            text += "\n" + "\n".join([f"  {layer.name}: {layer.reason}", *values])
        return text


def list_presets() -> list[str]:
    """The names of all presets: "tutorial", "character/sdxl/t4" and so on."""
    return [*load_layers(WHOLE), *("/".join(parts) for parts in product(*(load_layers(kind) for kind in KINDS)))]


def describe_presets() -> str:
    """All parts that a preset's name can have, and the presets without parts, each with its reason, as text."""
    text = f"A preset is {'/'.join(KINDS)}, such as character/sdxl/t4:"
    for kind in (*KINDS, WHOLE):
        text += "\n\n" + ("on its own" if kind == WHOLE else kind)
        text += "".join(f"\n  {name:10} {layer.title}. {layer.reason}" for name, layer in load_layers(kind).items())
    return text


def find_preset(name: str) -> Preset:
    """The preset of a name. A wrong one raises ConfigError, which names the nearest that there is."""
    if name in load_layers(WHOLE):
        return Preset(name, (load_layers(WHOLE)[name],))
    parts = [part.strip().lower() for part in name.split("/")]
    if len(parts) != len(KINDS):
        near = difflib.get_close_matches(name, load_layers(WHOLE), 1)
        fix = f"Did you mean {near[0]!r}? " if near else ""
        fix += f"Write {'/'.join(KINDS)}, such as 'character/sdxl/t4', or {' or '.join(map(repr, load_layers(WHOLE)))}."
        raise ConfigError("There is no such preset.", [Problem("preset", f"{name!r} is none.", fix)])
    if problems := [_explain(kind, part) for kind, part in zip(KINDS, parts, strict=True) if _lacks(kind, part)]:
        raise ConfigError(f"There is no preset {name!r}.", problems)
    subject, model, machine = (load_layers(kind)[part] for kind, part in zip(KINDS, parts, strict=True))
    layers = (subject, model, *subject.additions(model.name), machine, *machine.additions(model.name))
    return Preset("/".join(parts), layers)


def apply_preset(preset: Preset, config: TrainConfig | None = None) -> TrainConfig:
    """A preset's settings, with what only the user knows from the given ones: trigger words, prompts, seed, base model.

    All others are the preset's or the defaults; the tags that are kept in front are as many as the trigger words.
    """
    config = config or TrainConfig()
    fresh = nest_settings(preset.settings)
    family = str(preset.settings.get("model.family", TrainConfig().model.family))
    is_workshop = fresh.get("model", {}).get("base", WORKSHOP_MODEL) == WORKSHOP_MODEL
    stays = family == config.model.family and is_workshop == (config.model.base == WORKSHOP_MODEL)
    closed = find_inapplicable(family, "lora")
    kept = [name for name in (*OWN, *(OWN_MODEL if stays else ())) if name not in closed]
    own = {name: read_setting(config, name) for name in kept}
    if config.data.trigger_words:
        own["data.keep_tokens"] = len(config.data.trigger_words)
    return make_config(nest_settings(preset.settings | own))


def describe_differences(before: TrainConfig, after: TrainConfig) -> list[str]:
    """What changes from one training's settings to another's: "run.epochs: 10 => 5"."""
    values = ((name, read_setting(before, name), read_setting(after, name)) for name, _ in list_settings())
    return [f"{name}: {old} => {new}" for name, old, new in values if old != new]


def _lacks(kind: str, part: str) -> bool:
    return part not in load_layers(kind)


def _explain(kind: str, part: str) -> Problem:
    known = load_layers(kind)
    near = difflib.get_close_matches(part, known, 1, 0.5)
    fix = f"Did you mean {near[0]!r}? " if near else ""
    return Problem(kind, f"{part!r} is none.", f"{fix}There are: {', '.join(known)}.")
