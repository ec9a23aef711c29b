"""How one key of Kohya's becomes one of our settings. The tables are in model_rules, training_rules and keys.json."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from lora_nb.kohya.values import Values, is_on, read_number, read_whole


@dataclass(frozen=True)
class Taken:
    """Imported: our settings with their values; `why` says what is different here, if anything is."""

    settings: dict[str, Any]
    why: str = ""


@dataclass(frozen=True)
class Left:
    """Not imported, with the reason."""

    outcome: Literal["not needed", "not supported", "not known"]
    why: str


Rule = Callable[[Any, Values], Taken | Left]
OFF = Left("not needed", "It is off.")


def not_needed(why: str) -> Left:
    return Left("not needed", why)


def not_supported(why: str) -> Left:
    return Left("not supported", why)


def number(setting: str) -> Rule:
    return lambda value, values: Taken({setting: read_number(value)})


def whole(setting: str) -> Rule:
    return lambda value, values: Taken({setting: read_whole(value)})


def flag(setting: str) -> Rule:
    return lambda value, values: Taken({setting: is_on(value)})


def opposite(setting: str) -> Rule:
    return lambda value, values: Taken({setting: not is_on(value)})


def text(setting: str) -> Rule:
    return lambda value, values: Taken({setting: str(value)})


def choice(setting: str, names: dict[str, str]) -> Rule:
    """One of several words, which are called otherwise here."""

    def rule(value: Any, values: Values) -> Taken | Left:
        name = names.get(str(value).strip().lower())
        return Taken({setting: name}) if name else not_supported(f"{value!r} is not among: {', '.join(names)}.")

    return rule


def when(condition: Callable[[Values], bool], why_not: str, rule: Rule) -> Rule:
    """A rule for a key that Kohya only looks at under a condition."""
    return lambda value, values: rule(value, values) if condition(values) else not_needed(why_not)


def load_reasons() -> dict[str, Left]:
    """The keys that are never imported, each with its reason, from keys.json."""
    content = resources.files("lora_nb.kohya").joinpath("keys.json").read_text(encoding="utf-8")
    return {
        key: Left(outcome, reason)
        for outcome, reasons in json.loads(content).items()
        for reason, keys in reasons.items()
        for key in keys
    }
