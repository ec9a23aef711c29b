"""Which settings act on this model family and adapter? What cannot act is refused with its reason, never ignored."""

from typing import Any

from lora_nb.config import TrainConfig, facts_of, list_settings, read_setting
from lora_nb.errors import Problem


def find_inapplicable(family: str, adapter: str) -> dict[str, str]:
    """The settings that cannot act on a model family or an adapter kind, each with the reason."""
    reasons: dict[str, str] = {}
    for name, field in list_settings():
        not_for = facts_of(field)["not_for"]
        reason = not_for.get(family) or not_for.get(adapter)
        if reason:
            reasons[name] = reason
    return reasons


def find_closed_choices(family: str, adapter: str) -> dict[str, dict[str, str]]:
    """The single choices that cannot act on a model family or an adapter kind: {"loss.weighting": {"p2": reason}}."""
    closed: dict[str, dict[str, str]] = {}
    for name, field in list_settings():
        for choice, not_for in facts_of(field)["choices_not_for"].items():
            reason = not_for.get(family) or not_for.get(adapter)
            if reason:
                closed.setdefault(name, {})[choice] = reason
    return closed


def find_unusable(family: str, adapter: str) -> set[str]:
    """The settings whose default cannot act on a model family or an adapter kind."""
    closed = find_closed_choices(family, adapter)
    choices = {name for name in closed if read_setting(TrainConfig(), name) in closed[name]}
    return choices | find_inapplicable(family, adapter).keys()


def check_applicability(config: TrainConfig, where: str) -> list[Problem]:
    """Report every setting that was given a value here and cannot act."""
    off = off_values()
    problems = []
    for name, closed in find_closed_choices(config.model.family, config.adapter.kind).items():
        value = read_setting(config, name)
        if value in closed and value != off[name]:
            fix = "Choose another one."
            problems.append(Problem(f"{where}, {name}", f"{value!r} cannot be used here: {closed[value]}", fix))
    for name, reason in find_inapplicable(config.model.family, config.adapter.kind).items():
        value = read_setting(config, name)
        if value != off[name]:
            fix = f"Set it to {off[name]!r}, or leave it out."
            problems.append(Problem(f"{where}, {name}", f"{value!r} would do nothing: {reason}", fix))
    return problems


def find_idle(config: TrainConfig) -> dict[str, str]:
    """The settings that another setting keeps from being looked at, each with the reason: what a form greys out."""
    reasons: dict[str, str] = {}
    for name, field in list_settings():
        condition = facts_of(field)["only_with"]
        if condition and not _holds(config, condition):
            other, _, value = condition.partition("=")
            reasons[name] = f"Only used when {other} is {value.replace('|', ' or ')}."
    return reasons


def switch_off(values: Any) -> Any:
    """Give settings that cannot act, and that were not set, the value that does nothing.

    values: nested settings as they come from a JSON file. They are not changed; anything odd in them is left for the
    checks that follow.
    """
    if not isinstance(values, dict):
        return values
    family, adapter = (_choice(values, *path) for path in (("model", "family"), ("adapter", "kind")))
    off = off_values()
    result = {section: dict(part) if isinstance(part, dict) else part for section, part in values.items()}
    for name in find_unusable(family, adapter):
        section, _, field = name.partition(".")
        part = result.setdefault(section, {})
        if isinstance(part, dict):
            part.setdefault(field, off[name])
    return result


def off_values() -> dict[str, Any]:
    """For every setting, the value that does nothing."""
    return {name: facts_of(field)["off"] for name, field in list_settings()}


def _choice(values: dict[str, Any], section: str, field: str) -> str:
    part = values.get(section)
    chosen = part.get(field) if isinstance(part, dict) else None
    return chosen if isinstance(chosen, str) else str(read_setting(TrainConfig(), f"{section}.{field}"))


def _holds(config: TrainConfig, condition: str) -> bool:
    """Whether "run.precision=fp16|bf16" is true of the settings; "data.shuffle_tags=True" compares as text."""
    name, _, values = condition.partition("=")
    return str(read_setting(config, name)) in values.split("|")
