"""What is made of ipywidgets, in one column with our style: for light and dark, wide and narrow pages."""

from pathlib import Path
from typing import Any

import ipywidgets

STYLE = Path(__file__).parent / "static" / "form.css"


def frame(*children: Any) -> Any:
    """Put widgets below one another. The style comes along, so that a cell's output needs nothing from outside."""
    style = ipywidgets.HTML(f"<style>{STYLE.read_text()}</style>", layout=ipywidgets.Layout(display="none"))
    return with_class(ipywidgets.VBox([*children, style]), "lnf")


def row(*buttons: Any) -> Any:
    """Buttons beside one another, and below where the page is narrow."""
    return with_class(ipywidgets.HBox(buttons), "lnf-buttons")


def with_class(widget: Any, *names: str) -> Any:
    """The same widget, which static/form.css knows by this name."""
    for name in names:
        widget.add_class(name)
    return widget
