"""Settings from a file: a project's own JSON, Kohya_SS's, a LoRA's metadata. First the account, then the change."""

import json
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from lora_nb.config import TrainConfig
from lora_nb.config_file import load_config
from lora_nb.errors import LoraNbError
from lora_nb.kohya.importing import import_kohya
from lora_nb.presets.catalogue import describe_differences
from lora_nb.project import Project
from lora_nb.widgets.form import refresh_forms
from lora_nb.widgets.frame import frame, row, with_class
from lora_nb.widgets.messages import advice, bad, bullets, good


class SettingsImport:
    """A field for a path, what the file would change, and a button that changes it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._found: TrainConfig | None = None
        place = ipywidgets.Text(description="File", placeholder="/content/drive/MyDrive/settings.json")
        self.path = with_class(place, "lnf-wide")
        self.look = ipywidgets.Button(description="Look at it")
        self.use = ipywidgets.Button(description="Use these settings", button_style="primary", disabled=True)
        self._account, self._status = ipywidgets.HTML(), ipywidgets.HTML()
        self.look.on_click(lambda _: self._look())
        self.use.on_click(lambda _: self._use())
        self.widget = frame(self.path, row(self.look, self.use), self._account, self._status)

    def _look(self) -> None:
        self._found, self._account.value, self._status.value = None, "", ""
        self.use.disabled = True
        try:
            self._found, account = read_settings(Path(self.path.value.strip()).expanduser())
        except (LoraNbError, OSError) as error:
            self._status.value = bad(str(error))
            return
        changes = describe_differences(self._project.load_config(), self._found)
        self._account.value = advice(f"{len(changes)} settings would change:") + bullets(changes) + account
        self.use.disabled = not changes

    def _use(self) -> None:
        if self._found is None:
            return
        try:
            self._project.save_config(self._found)
        except OSError as error:
            self._status.value = bad(f"It cannot be saved: {error}")
            return
        self.use.disabled = True
        refresh_forms(self._project)
        self._status.value = good(f"Saved in {self._project.config_file.name}. The forms below show the new values.")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)


def import_settings(project: Project) -> SettingsImport:
    """Take settings from another project's config.json, a Kohya file, or a LoRA that somebody made."""
    return SettingsImport(project)


def read_settings(path: Path) -> tuple[TrainConfig, str]:
    """The settings in a file, and the account of what became of each key as HTML; empty for a file of our own."""
    if path.suffix == ".json" and _is_ours(path):
        return load_config(path), ""
    found = import_kohya(path)
    return found.config, f'<pre style="white-space: pre-wrap">{escape(found.describe())}</pre>'


def _is_ours(path: Path) -> bool:
    """Whether a JSON file has the sections of a project's settings."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # import_kohya says what is wrong with it
    return isinstance(values, dict) and bool(values) and set(values) <= set(TrainConfig.model_fields)
