"""Which field of a form suits which setting? One function for each kind of value, chosen by the setting's type."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets
from pydantic.fields import FieldInfo

from lora_nb.config import choices_of, facts_of
from lora_nb.widgets.frame import with_class
from lora_nb.widgets.messages import advice


@dataclass(frozen=True)
class Control:
    """A setting's field in a form, and how its value is written there."""

    widget: Any
    read: Callable[[Any], Any]  # from the widget's value to the setting's, unchecked
    write: Callable[[Any], Any]  # and back

    @property
    def value(self) -> Any:
        return self.read(self.widget.value)


def make_control(field: FieldInfo, value: Any) -> Control:
    """Make the field for a setting, showing its value."""
    control = CONTROLS[_kind(field)](field)
    control.widget.value = control.write(value)
    return control


def make_choice(field: FieldInfo) -> Control:
    return _as_it_is(ipywidgets.Dropdown(options=choices_of(field), description=field.title))


def make_switch(field: FieldInfo) -> Control:
    return _as_it_is(with_class(ipywidgets.Checkbox(description=field.title), "lnf-wide"))


def make_number(field: FieldInfo) -> Control:
    """A text field: number fields quietly change what they do not understand, and show 1e-4 as 0.0001."""
    text = ipywidgets.Text(description=field.title)
    return Control(text, read=str.strip, write=lambda value: f"{value:g}" if isinstance(value, float) else str(value))


def make_line(field: FieldInfo) -> Control:
    return _as_it_is(with_class(ipywidgets.Text(description=field.title), "lnf-wide"))


def make_lines(field: FieldInfo) -> Control:
    """Several texts, one on each line: a prompt may hold commas."""
    return Control(
        _make_area(field),
        read=lambda text: tuple(line.strip() for line in text.splitlines() if line.strip()),
        write=lambda values: "\n".join(map(str, values)),
    )


def make_table(field: FieldInfo) -> Control:
    """A mapping, one entry on each line: mid_block = 4."""
    return Control(
        _make_area(field),
        read=lambda text: {
            name.strip(): value.strip()
            for name, _, value in (line.partition("=") for line in text.splitlines())
            if name
        },
        write=lambda table: "\n".join(f"{name} = {_write_value(value)}" for name, value in table.items()),
    )


# to add one: write the function, name its type here
CONTROLS: dict[str, Callable[[FieldInfo], Control]] = {
    "choice": make_choice,
    "bool": make_switch,
    "int": make_number,
    "float": make_number,
    "str": make_line,
    "tuple": make_lines,
    "dict": make_table,
}


def make_help(field: FieldInfo) -> Any:
    """What a setting does, its bounds, and Kohya's name for it, to stand below its field."""
    kohya: str = facts_of(field)["kohya"]
    kohya = kohya.strip("()") if kohya.startswith("(") else kohya
    lines = {"tuple": "one on each line", "dict": "one on each line: mid_block = 4"}.get(_kind(field), "")
    notes = [note for note in (lines, _describe_bounds(field), f"Kohya: {kohya}" if kohya else "") if note]
    return ipywidgets.HTML(advice(field.description or "", "; ".join(notes)))


def _write_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _kind(field: FieldInfo) -> str:
    return "choice" if choices_of(field) else getattr(field.annotation, "__name__", "")


def _describe_bounds(field: FieldInfo) -> str:
    """'1 to 1,000', as the field's declaration says; empty for what has no bounds."""
    rules = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)}
    if "le" not in rules:
        return ""
    low = f"{rules['ge']:,}" if "ge" in rules else f"above {rules['gt']:,}"
    return f"{low} to {rules['le']:,}"


def _as_it_is(widget: Any) -> Control:
    return Control(widget, read=lambda value: value, write=lambda value: value)


def _make_area(field: FieldInfo) -> Any:
    return with_class(ipywidgets.Textarea(rows=3, description=field.title), "lnf-wide")
