"""Walk through every setting on every model family and adapter kind: it acts, or it is refused with its reason.

How to add a setting to the walk: one line in rows.py.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lora_nb.config import AdapterConfig, ModelConfig, TrainConfig, choices_of, facts_of, list_settings, read_setting
from lora_nb.config.applicability import find_inapplicable, off_values
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.models.base import load_model
from lora_nb.training import speed
from tests import tiny_models
from tests.config.observe import Observed, make_small_project, nested, observe, small_config
from tests.config.rows import BY_HAND, ROWS, Row

FAMILIES = choices_of(ModelConfig.model_fields["family"])
SETTINGS = dict(list_settings())
KINDS = choices_of(AdapterConfig.model_fields["kind"])
OF_THE_ADAPTER = ("adapter.", "optimizer.")  # what is walked for every kind; the rest never meets the adapter


def pairs_that_apply() -> list[tuple[str, str, str]]:
    """Every (setting, family, adapter kind) to be walked: all families with a LoRA, all kinds on the first family."""
    places = [(family, "lora") for family in FAMILIES] + [(FAMILIES[0], kind) for kind in KINDS if kind != "lora"]
    return [
        (name, family, kind)
        for family, kind in places
        for name in ROWS
        if len(choices_of(SETTINGS[name])) != 1  # there is nothing to choose yet
        if name not in find_inapplicable(family, kind) and (kind == "lora" or name.startswith(OF_THE_ADAPTER))
        if (name, kind) != ("adapter.kind", ROWS["adapter.kind"].value)  # it would be compared with itself
    ]


def pairs_that_do_not() -> list[tuple[str, str, str]]:
    places = [(family, "lora") for family in FAMILIES] + [(FAMILIES[0], kind) for kind in KINDS]
    return sorted({(name, family, kind) for family, kind in places for name in find_inapplicable(family, kind)})


@dataclass
class Workbench:
    """The tiny models and the project, and trainings that were done already."""

    root: Any

    def __post_init__(self) -> None:
        self.project = make_small_project(self.root)
        self.observe_once = cache(self._observe)
        self._model = cache(self._load)
        self.folder = cache(self._folder)

    def observe(self, family: str, values: dict[str, Any]) -> Observed:
        return self.observe_once(small_config(self.folder(family), family, values))

    def _observe(self, config: TrainConfig) -> Observed:
        run = config.run
        model = self._model(config.model, run.precision, run.quantization, run.offload)
        return observe(self.project, config, model)

    def _folder(self, family: str) -> Any:
        return getattr(tiny_models, f"save_tiny_{family}")(self.root / family)

    def _load(self, model: ModelConfig, precision: Any, quantization: str, offload: float) -> Any:
        return load_model(model, precision=precision, quantization=quantization, offload=offload)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("walk"))


def test_every_setting_has_a_row():
    names = SETTINGS.keys()
    assert names - ROWS.keys() - BY_HAND.keys() == set(), "add a row to tests/config/rows.py"
    assert (ROWS.keys() | BY_HAND.keys()) - names == set(), "these settings are gone"


def test_what_is_shown_by_hand_names_a_test_that_is_there():
    root = Path(__file__).parents[2]
    for name, where in BY_HAND.items():
        for file, test in re.findall(r"(tests/\S+\.py)(?:::(\w+))?", where):
            assert (root / file).is_file() and f"def {test}" in (root / file).read_text(), f"{name}: {where}"


@pytest.mark.parametrize(("name", "family", "kind"), pairs_that_apply())
def test_a_setting_that_applies_acts(name, family, kind, bench, monkeypatch):
    row = ROWS[name]
    if family != FAMILIES[0]:  # machine code, which takes most of a minute, is made for one family
        monkeypatch.setattr(speed, "BACKEND", "aot_eager")
    given = {"adapter.kind": kind} | row.given
    before = bench.observe(family, given)
    after = bench.observe(family, given | {name: row.value_for(family)})
    assert getattr(before, row.seen) != getattr(after, row.seen), f"{name} changed nothing in the {row.seen}"


@pytest.mark.parametrize(("name", "family", "kind"), pairs_that_do_not())
def test_a_setting_that_cannot_act_is_refused_with_its_reason(name, family, kind):
    off = off_values()[name]
    values = nested({"model.family": family, "adapter.kind": kind, name: other_than(off, name, family)})
    with pytest.raises(ConfigError) as caught:
        make_config(values)
    problem = next(problem for problem in caught.value.problems if name in problem.where)
    assert find_inapplicable(family, kind)[name] in problem.message
    assert repr(off) in problem.fix
    values = nested({"model.family": family, "adapter.kind": kind, name: off})
    assert read_setting(make_config(values), name) == off, "the value that does nothing is accepted"


def other_than(off: Any, name: str, family: str) -> Any:
    row = ROWS.get(name) or Row("another")  # a setting that is shown by hand
    candidates = [row.value_for(family), *row.families.values(), SETTINGS[name].default]
    return next(value for value in candidates if value != off)


def test_a_setting_that_waits_for_another_does_nothing_without_it(bench):
    """The condition of `only_with` is true: where it does not hold, the setting changes neither LoRA nor pictures."""
    family = FAMILIES[0]
    for name, field in SETTINGS.items():
        condition = facts_of(field)["only_with"]
        if not condition or name in find_inapplicable(family, "lora") or name in BY_HAND:
            continue
        before = bench.observe(family, {})
        if str(read_setting(small_config(bench.folder(family), family, {}), condition.partition("=")[0])) in (
            condition.partition("=")[2].split("|")
        ):
            continue  # it does hold here
        after = bench.observe(family, {name: ROWS[name].value})
        assert (before.lora, before.pictures) == (after.lora, after.pictures), name
