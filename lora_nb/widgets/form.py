"""A form over the settings, made from their declarations in config/ and checked by what also checks the JSON file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from weakref import WeakSet

import ipywidgets
from pydantic.fields import FieldInfo

from lora_nb.config import TrainConfig, facts_of, list_settings, read_setting
from lora_nb.config.applicability import find_idle, find_inapplicable
from lora_nb.config_file import change_settings
from lora_nb.dataset.scanning import Scan
from lora_nb.dataset.steps import StepPlan, plan_steps
from lora_nb.errors import ConfigError, LoraNbError, Problem
from lora_nb.project import Project
from lora_nb.widgets.controls import Control, make_control, make_help
from lora_nb.widgets.frame import frame, with_class
from lora_nb.widgets.messages import bad, good, note

# What a beginner decides, in the order of the tutorial; everything else can wait.
SIMPLE = (
    "model.base",
    "model.clip_skip",
    "data.resolution",
    "data.trigger_words",
    "data.keep_tokens",
    "run.epochs",
    "run.batch_size",
    "run.precision",
    "adapter.rank",
    "adapter.alpha",
    "optimizer.kind",
    "optimizer.learning_rate",
    "samples.prompts",
)

_open_forms: dict[Path, WeakSet["SettingsForm"]] = {}  # by project

OnChange = Callable[[TrainConfig], str | None]  # what it returns stands below the form


@dataclass(frozen=True)
class Row:
    """One setting in the form: its field, and the place where it says what is wrong."""

    field: FieldInfo
    control: Control
    why_off: Any  # the reason why it cannot be changed now
    error: Any
    box: Any

    @property
    def is_advanced(self) -> bool:
        return bool(facts_of(self.field)["advanced"])


class SettingsForm:
    """The settings of a training as a form: `value` always holds settings that work.

    What is typed counts at once. A value that does not work is explained beside its field and waits there, while the
    last one that worked stays in force. What cannot act on the chosen family and adapter, or waits for another
    setting, is grey and says why.
    `on_change` is called with the new settings after every change. `names` chooses what to show: settings
    ("run.epochs") or whole sections ("run"), in which the rarely needed settings are shown on request.
    """

    def __init__(
        self, config: TrainConfig, *, names: Iterable[str] | None = None, on_change: OnChange | None = None
    ) -> None:
        self.value = config
        self.errors: dict[str, str] = {}  # what is wrong, by the setting's name
        self._on_change = on_change
        self._waiting: dict[str, Any] = {}  # values that do not work yet, by the setting's name
        chosen = list(names) if names is not None else list(TrainConfig.model_fields)
        self._rows = {name: _make_row(field, read_setting(config, name)) for name, field in _choose(chosen).items()}
        for name, row in self._rows.items():
            row.control.widget.observe(lambda _, name=name: self._take(name), names="value")
        self._is_showing = False  # while the form itself changes its fields
        self._show_applicability()
        self._status = ipywidgets.HTML()
        rare = [row.box for name, row in self._rows.items() if row.is_advanced and name not in chosen]
        self.widget = frame(*([_make_switch(rare)] if rare else []), *self._body(), self._status)

    @property
    def controls(self) -> dict[str, Any]:
        """The widgets by the settings' names; `form.controls["run.epochs"].value = "5"` is what typing does."""
        return {name: row.control.widget for name, row in self._rows.items()}

    def show(self, config: TrainConfig) -> None:
        """Show these settings; values that do not work yet keep waiting in their fields."""
        self.value = config
        self._show_values()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def _body(self) -> list[Any]:
        """The rows, under a heading for each section."""
        body: list[Any] = []
        last = ""
        for name, row in self._rows.items():
            section = name.split(".")[0]
            if section != last:
                body.append(_make_heading(section, type(getattr(self.value, section)).__doc__ or ""))
                last = section
            body.append(row.box)
        return body

    def _take(self, name: str) -> None:
        """Take over what was typed if it works: together with what waits, since two values may need each other."""
        if self._is_showing:
            return
        before = self.value
        self._waiting[name] = self._rows[name].control.value
        self.errors = self._accept(list(self._waiting))
        if self.errors:  # then each for itself: one wrong value must not hold up the others
            self.errors = {key: text for key in list(self._waiting) for text in self._accept([key]).values()}
        if self.value != before:
            self._show_values(but=name)
        for key, row in self._rows.items():
            row.error.value = bad(self.errors.get(key, ""))
        self._status.value = self._describe_state() + (self._tell() if self.value != before else "")

    def _accept(self, names: list[str]) -> dict[str, str]:
        """Put these waiting values into force, all or none; returns what is wrong, by name."""
        try:
            self.value = change_settings(self.value, {name: self._waiting[name] for name in names})
        except ConfigError as error:
            return dict.fromkeys(names, " ".join(_name_others(problem, names) for problem in error.problems))
        for name in names:
            del self._waiting[name]
        return {}

    def _show_values(self, but: str = "") -> None:
        """Show what else has changed with a setting: a new family switches some of them off, and greys them out.

        but: the one that is being typed into: "1." must not become "1" before it becomes "1.5".
        """
        self._is_showing = True
        try:
            for name, row in self._rows.items():
                value = read_setting(self.value, name)
                if name != but and name not in self._waiting and row.control.widget.value != row.control.write(value):
                    row.control.widget.value = row.control.write(value)
        finally:
            self._is_showing = False
        self._show_applicability()

    def _show_applicability(self) -> None:
        """Grey out what cannot act now, with the reason beside it."""
        reasons = find_idle(self.value) | find_inapplicable(self.value.model.family, self.value.adapter.kind)
        for name, row in self._rows.items():
            row.control.widget.disabled = name in reasons and name not in self._waiting
            row.why_off.value = note(reasons.get(name, ""))

    def _describe_state(self) -> str:
        titles = ", ".join(str(self._rows[name].field.title) for name in self.errors)
        return bad(f"Not in force, see above: {titles}. The last value that worked stays.") if titles else ""

    def _tell(self) -> str:
        """Pass the settings on. What fails there, such as a full disk, is shown: nothing else would tell."""
        try:
            return good((self._on_change(self.value) if self._on_change else None) or "")
        except (LoraNbError, OSError) as error:
            return bad(f"This change could not be passed on: {error}")


def edit_settings(project: Project, *, names: Iterable[str] | None = None) -> SettingsForm:
    """The form of a project: a change that works is in config.json at once. Below it stands what the settings mean:
    steps, and with `lora_nb.widgets.outlook.show_outlook` memory and the file's size, too.

    names: settings or sections (see SettingsForm); `SIMPLE` is the short list for beginners.
    """
    known = project.load_config()
    scan = Scan(project.images)  # each letter that is typed is a change

    def save(config: TrainConfig) -> str:
        nonlocal known
        values = {name: read_setting(config, name) for name, _ in list_settings()}
        changes = {name: value for name, value in values.items() if value != read_setting(known, name)}
        saved = project.change_settings(changes)
        known = config
        refresh_forms(project, but=form)
        try:
            steps = say_steps(saved, plan_steps(scan.dataset(), saved))
        except LoraNbError as error:
            steps = f"The steps cannot be counted: {error}"
        return f"Saved in {project.config_file.name}. {steps}"

    form = SettingsForm(known, names=names, on_change=save)
    _open_forms.setdefault(project.root, WeakSet()).add(form)
    return form


def refresh_forms(project: Project, but: SettingsForm | None = None) -> None:
    """Show the settings that are on disk now in all forms of the project: another form or a preset changed them."""
    config = project.load_config()
    for form in _open_forms.get(project.root, ()):
        if form is not but:
            form.show(config)


def say_steps(config: TrainConfig, plan: StepPlan) -> str:
    """The formula of the steps, with a project's numbers."""
    return (
        f"{plan.pictures} pictures, seen {plan.seen_per_epoch} times an epoch in batches of {config.run.batch_size}: "
        f"{plan.steps_per_epoch} steps x {plan.epochs} epochs = {plan.steps} steps."
    )


def _choose(names: list[str]) -> dict[str, FieldInfo]:
    """The named settings, and all settings of the named sections, in the order of the names."""
    known = dict(list_settings())
    chosen: dict[str, FieldInfo] = {}
    problems = []
    for name in names:
        found = {path: field for path, field in known.items() if name in (path, path.split(".")[0])}
        if not found:
            fix = "lora_nb.config.list_settings() names them all."
            problems.append(Problem(name, "There is no such setting.", fix))
        chosen |= found
    if problems:
        raise ConfigError("This form cannot be made.", problems)
    return chosen


def _make_row(field: FieldInfo, value: Any) -> Row:
    control, why_off, error = make_control(field, value), ipywidgets.HTML(), ipywidgets.HTML()
    box = with_class(ipywidgets.VBox([control.widget, why_off, error, make_help(field)]), "lnf-row")
    return Row(field, control, why_off, error, box)


def _name_others(problem: Problem, names: list[str]) -> str:
    """A problem in words, with its setting's name if it is another than those beside which it will stand."""
    name = problem.where.split()[-1]
    text = f"{problem.message} {problem.fix}"
    return f"{name}: {text}" if "." in name and name not in names else text


def _make_heading(section: str, purpose: str) -> Any:
    name, purpose = escape(section.capitalize()), escape(purpose.partition("\n")[0])
    text = f'<b>{name}</b> <span class="lnf-help">{purpose}</span>'
    return ipywidgets.HTML(f'<div role="heading" aria-level="3" class="lnf-heading">{text}</div>')


def _make_switch(boxes: list[Any]) -> Any:
    """A box to tick that shows what is hidden at first."""
    switch = ipywidgets.Checkbox(description="Show rarely needed settings, too", indent=False)

    def show_or_hide(_: object = None) -> None:
        for box in boxes:
            box.layout.display = "" if switch.value else "none"

    switch.observe(show_or_hide, names="value")
    show_or_hide()
    return switch
