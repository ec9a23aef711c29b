"""Bring settings over from Kohya_SS, sd-scripts or a LoRA file, with an account of every single key."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_nb.config import WORKSHOP_MODEL, TrainConfig, list_settings
from lora_nb.config.applicability import find_inapplicable, off_values
from lora_nb.config_file import make_config, nest_settings
from lora_nb.errors import ConfigError
from lora_nb.kohya.block_rules import BLOCK_RULES, INDICES
from lora_nb.kohya.model_rules import MODEL_RULES, expand
from lora_nb.kohya.noise_rules import NOISE_RULES, default_noise_levels
from lora_nb.kohya.optimizer_rules import OPTIMIZER_RULES, default_weight_decay
from lora_nb.kohya.reading import read_kohya_file
from lora_nb.kohya.report import LONGEST, Finding, KohyaImport
from lora_nb.kohya.rules import Left, Taken, load_reasons, not_needed, not_supported
from lora_nb.kohya.trained import find_family, find_kind
from lora_nb.kohya.training_rules import TRAINING_RULES
from lora_nb.kohya.values import Values, is_empty, is_on, name_of

RULES = MODEL_RULES | BLOCK_RULES | OPTIMIZER_RULES | TRAINING_RULES | NOISE_RULES
ASSUMED = {  # what Kohya does when its file says nothing, where ours would do something else
    "noise.offset": 0.0,
    "noise.adaptive": 0.0,
    "loss.weighting": "none",
    "data.shuffle_tags": False,
    "data.keep_tokens": 0,
    "data.keep_tokens_separator": "",
    "optimizer.kind": "adamw",
    "optimizer.lr_scheduler": "constant",
    "samples.every_n_epochs": 0,
}


def import_kohya(path: str | Path) -> KohyaImport:
    """Read a settings file of Kohya_SS (.json), of sd-scripts (.toml) or a LoRA's metadata (.safetensors).

    `result.config` can be saved in a project; printing the result shows what became of every key. Raises ConfigError
    when the file cannot be read, or trains a family that is not here.
    """
    return import_values(read_kohya_file(Path(os.path.expanduser(path))))


def import_values(found: dict[str, Any]) -> KohyaImport:
    """Turn Kohya's keys and values into settings, and say what became of each key."""
    found = expand(found)
    values = Values(found)
    start: dict[str, Any] = {"model.family": find_family(values), "adapter.kind": find_kind(values) or "lora"}
    make_config(nest_settings(start))  # or say that this family and adapter do not go together
    findings = [_judge(key, value, values) for key, value in found.items()]
    named = {name for finding in findings for name in finding.settings}
    assumed = ASSUMED | {"optimizer.weight_decay": default_weight_decay(values)} | default_noise_levels(values)
    assumed = {name: value for name, value in assumed.items() if name not in named}
    config, refused = _accept(start, assumed, {k: v for finding in findings for k, v in finding.settings.items()})
    findings = [_without(finding, refused) for finding in findings]
    assumed = {name: value for name, value in assumed.items() if name not in refused}
    return KohyaImport(config, tuple(findings), assumed, tuple(_what_is_left_to_do(config, findings)))


def _judge(key: str, value: Any, values: Values) -> Finding:
    """What becomes of one key, as far as it can be said without the others' settings."""
    result = _apply(name_of(key), value, values)
    if key.startswith("modelspec."):
        result = not_needed("Only programs that show models read it; a LoRA gets its own.")
    if isinstance(result, Taken):
        return Finding(key, value, "imported", result.settings, result.why)
    return Finding(key, value, result.outcome, {}, result.why)


def _apply(name: str, value: Any, values: Values) -> Taken | Left:
    if name == "additional_parameters":
        return not_needed("It is empty." if is_empty(value) else "Its parts stand in this list themselves.")
    rule, reason = RULES.get(name), _REASONS.get(name)
    if rule is None and reason is None:
        return Left("not known", "No version of Kohya's programs that was looked at has it.")
    if is_empty(value) and not (name in INDICES and value == "none"):
        return not_needed("It is empty.")
    if rule is None:
        assert reason is not None
        return reason if reason.outcome == "not needed" or not _is_off(value) else not_needed("It is off.")
    try:
        return rule(value, values)
    except (ValueError, TypeError, OverflowError) as error:
        return not_supported(f"{str(value)[:LONGEST]!r} cannot be read: {error}.")


def _is_off(value: Any) -> bool:
    return not is_on(value) and str(value).strip().lower() in ("false", "0", "0.0", "no", "")


def _accept(
    start: dict[str, Any], assumed: dict[str, Any], wanted: dict[str, Any]
) -> tuple[TrainConfig, dict[str, str]]:
    """Settings with all that can be put into force here; and why the rest cannot, by setting."""
    known = {name for name, _ in list_settings()}
    taken = dict(start)
    refused: dict[str, str] = {}
    waiting = assumed | {name: value for name, value in wanted.items() if name not in start}
    cannot_act = find_inapplicable(start["model.family"], start["adapter.kind"])
    off = off_values()
    for name in list(waiting):
        if name not in known:
            refused[name] = "There is no such setting here."
        elif name in cannot_act and waiting[name] != off[name]:
            refused[name] = cannot_act[name]
    waiting = {name: value for name, value in waiting.items() if name not in refused}
    config = make_config(nest_settings(taken))
    why: dict[str, str] = {}
    before = len(waiting) + 1
    while len(waiting) < before:  # until a whole round takes nothing: some need others that come later
        before, why = len(waiting), {}
        for name, value in list(waiting.items()):
            try:
                config = make_config(nest_settings(taken | {name: value}))
                taken[name] = waiting.pop(name)
            except ConfigError as error:
                why[name] = " ".join(f"{problem.message} {problem.fix}" for problem in error.problems)
    return config, refused | why


def _without(finding: Finding, refused: dict[str, str]) -> Finding:
    """A finding after some of its settings were refused."""
    lost = {name: refused[name] for name in finding.settings if name in refused}
    if not lost:
        return finding
    kept = {name: value for name, value in finding.settings.items() if name not in lost}
    why = " ".join([finding.why, *(f"{name}: {reason}" for name, reason in lost.items())]).strip()
    return replace(finding, outcome="imported" if kept else "not supported", settings=kept, why=why)


def _what_is_left_to_do(config: TrainConfig, findings: list[Finding]) -> list[str]:
    todo = []
    if config.model.base == WORKSHOP_MODEL:
        todo.append("Set model.base: the file does not say where the base model is.")
    if not config.data.trigger_words:
        todo.append("Set data.trigger_words: Kohya has them in the captions only.")
    if any(finding.outcome == "not supported" for finding in findings):
        todo.append("Look at what is not supported: the training will differ there.")
    return todo


_REASONS = load_reasons()
