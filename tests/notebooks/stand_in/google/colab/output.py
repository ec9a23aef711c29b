"""Talking to Colab's page. As when nobody looks at it: questions get no answer."""

from typing import Any

managers: list[bool] = []  # each time that a custom widget manager was switched on


def eval_js(script: str, ignore_result: bool = False, timeout_sec: float | None = None) -> Any:
    """Colab's returns None when its time is up."""
    return None


def enable_custom_widget_manager() -> None:
    managers.append(True)


def disable_custom_widget_manager() -> None:
    managers.append(False)


def register_callback(function_name: str, callback: Any) -> None:
    """Nobody will call it."""


def clear(wait: bool = False, output_tags: Any = ()) -> None:
    """There is nothing to clear."""
