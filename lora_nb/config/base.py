"""How a setting is declared: once, with its default, bounds, help, Kohya's name, and what it does not apply to."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_DEFAULT = object()


def setting(
    default: Any,
    title: str,
    help: str,
    *,
    kohya: str = "",
    advanced: bool = False,
    not_for: dict[str, str] | None = None,
    choices_not_for: dict[str, dict[str, str]] | None = None,
    off: Any = _DEFAULT,
    only_with: str = "",
    **bounds: Any,
) -> Any:
    """Declare one setting: `help` says what it does, what it costs and what the tutorial advises.

    not_for: model families and adapter kinds on which the setting cannot act, each with the reason.
    choices_not_for: the same for single choices of a setting: {"locon": {"flux": "Flux has no 3x3 convolutions."}}.
    off: the value that does nothing, taken where the setting cannot act. The default, unless it is given.
    only_with: another setting's value without which this one is not looked at: "loss.weighting=min_snr".
    """
    extra: dict[str, Any] = {
        "kohya": kohya,
        "advanced": advanced,
        "not_for": not_for or {},
        "choices_not_for": choices_not_for or {},
        "off": default if off is _DEFAULT else off,
        "only_with": only_with,
    }
    return Field(default, title=title, description=help, json_schema_extra=extra, **bounds)


class Table(dict[str, Any]):
    """A mapping among the settings, which are frozen: like them, it can be compared and hashed. Do not change it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


class Section(BaseModel):
    """A group of settings that belong together. Frozen: a changed setting is a new object."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )
