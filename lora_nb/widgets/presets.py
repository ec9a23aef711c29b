"""Choosing a preset in a notebook: subject, model and machine, with the reasons in view before anything changes."""

from collections.abc import Callable
from typing import Any

import ipywidgets

from lora_nb.config import TrainConfig
from lora_nb.errors import LoraNbError
from lora_nb.presets.catalogue import Preset, apply_preset, describe_differences, find_preset
from lora_nb.presets.layers import KINDS, WHOLE, load_layers
from lora_nb.project import Project
from lora_nb.widgets.form import refresh_forms
from lora_nb.widgets.frame import frame, with_class
from lora_nb.widgets.messages import bad, bullets, good

PUT_TOGETHER = "put together from:"  # the choice beside the presets that need no parts


class PresetChooser:
    """A few lists and a button. The reasons follow the lists; settings change when the button is pressed, not before.

    read: returns the settings in force. put: takes new ones, and returns what is said below the button.
    """

    def __init__(self, read: Callable[[], TrainConfig], put: Callable[[TrainConfig], str]) -> None:
        self._read, self._put = read, put
        self.whole = _make_list("preset", {PUT_TOGETHER: PUT_TOGETHER} | _titles(WHOLE))
        self.parts = {kind: _make_list(kind, _titles(kind)) for kind in KINDS}
        self.button = ipywidgets.Button(description="Use these settings", button_style="primary")
        self._reasons, self._status = ipywidgets.HTML(), ipywidgets.HTML()
        for control in (self.whole, *self.parts.values()):
            control.observe(lambda _: self._show(), names="value")
        self.button.on_click(lambda _: self._use())
        self.widget = frame(self.whole, *self.parts.values(), self._reasons, self.button, self._status)
        self._show()

    @property
    def preset(self) -> Preset:
        """The preset that is chosen now."""
        if self.whole.value != PUT_TOGETHER:
            return find_preset(self.whole.value)
        return find_preset("/".join(control.value for control in self.parts.values()))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def _show(self) -> None:
        for control in self.parts.values():
            control.disabled = self.whole.value != PUT_TOGETHER
        self._reasons.value = bullets((layer.name, layer.reason) for layer in self.preset.layers)
        self._status.value = ""

    def _use(self) -> None:
        before = self._read()
        try:
            after = apply_preset(self.preset, before)
            changes = describe_differences(before, after)
            said = self._put(after) if changes else "These settings are in force already."
        except (LoraNbError, OSError) as error:
            self._status.value = bad(f"The preset cannot be used: {error}")
            return
        self._status.value = good(said) + bullets(changes)


def choose_preset(project: Project) -> PresetChooser:
    """Choose a preset for a project. Its settings are saved at once; trigger words, prompts and seed stay yours."""

    def save(config: TrainConfig) -> str:
        project.save_config(config)
        refresh_forms(project)
        return f"Saved in {project.config_file.name}. The forms below show the new values."

    return PresetChooser(project.load_config, save)


def _titles(kind: str) -> dict[str, str]:
    return {layer.title: name for name, layer in load_layers(kind).items()}


def _make_list(label: str, options: dict[str, str]) -> Any:
    choice = ipywidgets.Dropdown(description=label.capitalize(), options=list(options.items()))
    return with_class(choice, "lnf-wide")
