"""Settings as JSON: read, written, changed, and every mistake in them explained at once."""

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_nb.config import TrainConfig, facts_of, list_settings, read_setting
from lora_nb.config.applicability import check_applicability, find_unusable, off_values, switch_off
from lora_nb.config.combinations import check_combinations
from lora_nb.errors import ConfigError, Problem, quote
from lora_nb.files import read_text, write_whole

LARGEST_FILE = 10 << 20  # bytes; all settings take 10 KB
MOST_EXPLAINED = 20  # mistakes; who makes more has chosen the wrong file
LONGEST_SHOWN = 80  # characters of a name or a value

# what pydantic finds wrong, by its own name for it
REASONS = {
    "greater_than": "it should be more than {gt:,g}",
    "greater_than_equal": "it should be {ge:,} or more",
    "less_than_equal": "it should be {le:,} or less",
    "literal_error": "it should be {expected}",
    "finite_number": "it should be a number that can be written down",
    "string_too_short": "something should stand here",
    "int_from_float": "it should be a whole number",
}
KINDS_OF_VALUES = {  # by how the name begins
    "int_": "it should be a whole number, such as 8",
    "float_": "it should be a number, such as 0.5 or 1e-4",
    "bool_": "it should be true or false",
    "string_": "it should be a text",
    "tuple_": "it should be a list",
    "dict_": "it should be names with values",
    "model_": "it should be names of settings with values",
}


def load_config(path: Path) -> TrainConfig:
    """Read settings from a JSON file, or say everything that is wrong with them at once."""
    try:
        values = json.loads(read_text(path, LARGEST_FILE), object_pairs_hook=_refuse_doubles)
    except FileNotFoundError:
        raise ConfigError(
            "No settings yet.", [Problem(str(path), "There is no such file.", "Save settings first.")]
        ) from None
    except OSError as error:
        message = f"They cannot be opened: {error.strerror}."
        fix = "Put a file of settings there, or delete what is there to start from the defaults."
        raise ConfigError("The settings cannot be read.", [Problem(str(path), message, fix)]) from error
    except (ValueError, RecursionError) as error:
        fix = "Correct that place, or delete the file to start from the defaults."
        raise ConfigError("The settings are not JSON.", [Problem(str(path), f"{error}.", fix)]) from error
    return make_config(values, where=path.name)


def save_config(config: TrainConfig, path: Path) -> None:
    """Write settings as JSON: the whole file or nothing."""
    write_whole(path, (config.model_dump_json(indent=2) + "\n").encode())


def make_config(values: Any, where: str = "settings") -> TrainConfig:
    """Turn nested values into checked settings. Raises ConfigError with every problem found."""
    try:
        config = TrainConfig.model_validate(switch_off(values))
    except ValidationError as error:
        count = error.error_count()
        problems = [_explain(mistake, where) for mistake in error.errors(include_url=False)[:MOST_EXPLAINED]]
        if count > MOST_EXPLAINED:
            problems.append(
                Problem(where, f"There are {count - MOST_EXPLAINED} more mistakes.", "Is it the right file?")
            )
        raise ConfigError(f"{count} of the settings cannot be used.", problems) from None
    if problems := _find_unwritable(config, where):
        raise ConfigError("Some of the settings cannot be saved.", problems)
    if problems := check_applicability(config, where):
        raise ConfigError(f"{len(problems)} of the settings cannot act on this model and adapter.", problems)
    if problems := check_combinations(config, where):
        raise ConfigError("Some of the settings do not go together.", problems)
    return config


def _find_unwritable(config: TrainConfig, where: str) -> list[Problem]:
    """Halves of characters pass as text in memory, but no file can hold them."""
    try:
        config.model_dump_json()  # as it is saved; only if that fails, look for the culprits
        return []
    except ValueError:
        problems = []
    for name, _ in list_settings():
        try:
            json.dumps(read_setting(config, name), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            message = "It holds characters that are no text, such as half of an emoji."
            problems.append(Problem(f"{where}, {name}", message, "Type it again."))
    return problems


def change_settings(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """Return settings with some of them changed, named by their path: {"run.epochs": 5}.

    When the family or the adapter changes, defaults that cannot act any more are switched off; what was set on purpose
    is refused, with the reason.
    """
    values = config.model_dump()
    _forget_defaults(values, changes)
    for name, value in changes.items():
        section, dot, field = name.partition(".")
        if not dot:
            values[section] = value
        elif isinstance(part := values.setdefault(section, {}), dict):  # else it is refused as a whole
            part[field] = value
    return make_config(values)


def nest_settings(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"run.epochs": 5} => {"run": {"epochs": 5}}, as settings files hold it."""
    nested: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        section, _, field = name.partition(".")
        nested.setdefault(section, {})[field] = value
    return nested


def _forget_defaults(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Take the untouched settings that the changed family or adapter rules in or out from the values, in place."""
    if not changes.keys() & {"model.family", "adapter.kind"}:
        return
    kinds = [(values["model"]["family"], values["adapter"]["kind"])]
    kinds.append((str(changes.get("model.family", kinds[0][0])), str(changes.get("adapter.kind", kinds[0][1]))))
    off = off_values()
    for name in {name for family, adapter in kinds for name in find_unusable(family, adapter)}:
        section, _, field = name.partition(".")
        default = TrainConfig.model_fields[section].default
        if values[section][field] in (getattr(default, field), off[name]):
            del values[section][field]


def _explain(mistake: Any, where: str) -> Problem:
    """Put one of pydantic's findings into a beginner's words."""
    name = quote(".".join(str(part) for part in mistake["loc"]) or "(all)", LONGEST_SHOWN)
    value = _show(mistake["input"])
    if mistake["type"] == "extra_forbidden":
        near = _nearest_setting(name)
        fix = f"Did you mean {near!r}?" if near else "Remove it."
        return Problem(f"{where}, {name}", "There is no such setting.", fix)
    return Problem(f"{where}, {name}", f"{value} does not work:", f"{_say_reason(mistake)}.")


def _say_reason(mistake: Any) -> str:
    """Why pydantic refuses a value, without the words that only programmers know."""
    kind: str = mistake["type"]
    if words := REASONS.get(kind):
        return words.format_map(mistake.get("ctx", {}))
    for beginning, words in KINDS_OF_VALUES.items():
        if kind.startswith(beginning):
            return words
    reason: str = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"it {reason}" if reason.startswith("should") else reason[:1].lower() + reason[1:]


def _show(value: Any) -> str:
    try:
        return quote(repr(value), LONGEST_SHOWN)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists within lists within lists
        return f"this {type(value).__name__}"


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which one name stands twice says two things: which one is meant?"""
    values = dict(pairs)
    if len(values) < len(pairs):
        double = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"{_show(double)} stands there twice")
    return values


def _nearest_setting(name: str) -> str:
    """The setting whose name is most like the given one, by our names or Kohya's; empty if none is near."""
    known = {path: path for path, _ in list_settings()}
    known |= {section: section for section in TrainConfig.model_fields}
    for path, field in list_settings():
        known |= {word: path for word in facts_of(field)["kohya"].replace(",", " ").split() if "_" in word}
        known.setdefault(path.split(".")[1], path)
    leaf = name.split(".")[-1]
    close = difflib.get_close_matches(name, known, 1, 0.75) or difflib.get_close_matches(leaf, known, 1, 0.6)
    return known[close[0]] if close else ""
