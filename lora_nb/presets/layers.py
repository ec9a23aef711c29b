"""What do the preset files say? Each holds only the settings that it changes, and the reason.

A preset is put together from three of them: subject/character.json, model/sdxl.json, machine/t4.json. A file's "with"
holds what changes besides when it meets a certain model. To add a preset, add a file: nothing else names it.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

KINDS = ("subject", "model", "machine")  # the parts of a preset's name, in order; later ones have the last word
WHOLE = "whole"  # the folder of presets that need no parts
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Layer:
    """Some settings that belong together, and why they are as they are."""

    name: str
    title: str
    reason: str
    settings: dict[str, Any]  # by their path: {"run.precision": "fp16"}
    by_model: dict[str, "Layer"]  # what changes besides, with a certain model

    def additions(self, model: str) -> list["Layer"]:
        """What this layer changes besides for a model: one layer, or none."""
        return [self.by_model[model]] if model in self.by_model else []


@cache
def load_layers(kind: str) -> dict[str, Layer]:
    """All layers of a kind, by name: "subject", "model", "machine" or "whole"."""
    files = sorted((_FOLDER / kind).glob("*.json"))
    return {file.stem: _read_layer(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files}


def _read_layer(name: str, content: dict[str, Any]) -> Layer:
    title = content.get("title", name)
    meetings = content.get("with", {}).items()
    by_model = {model: _read_layer(f"{name} on {model}", {"title": title, **part}) for model, part in meetings}
    return Layer(name, title, content["reason"], content["settings"], by_model)
