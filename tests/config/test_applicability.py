"""What cannot act on a model family or an adapter is refused with its reason, and never silently ignored."""

import pytest

from lora_nb.config import TrainConfig, choices_of, facts_of, list_settings, read_setting
from lora_nb.config.applicability import (
    find_closed_choices,
    find_idle,
    find_inapplicable,
    find_unusable,
    off_values,
    switch_off,
)
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.errors import ConfigError

REASON = "This family has no noise to shift."
FAMILY = str(TrainConfig().model.family)
KIND = str(TrainConfig().adapter.kind)


@pytest.fixture
def declare(monkeypatch):
    """Change what a setting is declared to apply to: declare("noise.offset", not_for={...})."""
    fields = dict(list_settings())

    def change(name, **facts):
        for key, value in facts.items():
            monkeypatch.setitem(facts_of(fields[name]), key, value)

    return change


def problems_of(values):
    with pytest.raises(ConfigError) as caught:
        make_config(values)
    return caught.value.problems


@pytest.mark.parametrize("place", [FAMILY, KIND])
def test_a_value_that_cannot_act_is_refused_with_place_reason_and_way_out(declare, place):
    declare("noise.offset", not_for={place: REASON}, off=0.0)
    (problem,) = problems_of({"noise": {"offset": 0.3}})
    assert problem.where.endswith("noise.offset")
    assert "0.3" in problem.message and REASON in problem.message
    assert "0.0" in problem.fix


def test_a_default_that_cannot_act_is_switched_off(declare):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    assert TrainConfig().noise.offset != 0
    assert make_config({}).noise.offset == 0
    assert make_config({"noise": {"offset": 0.0}}).noise.offset == 0, "to switch it off on purpose is right"


def test_the_default_that_was_written_down_is_refused_like_any_value(declare):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    assert problems_of({"noise": {"offset": 0.02}})


def test_all_that_cannot_act_is_reported_at_once(declare):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    declare("run.gradient_checkpointing", not_for={KIND: "There is nothing to forget."})
    problems = problems_of({"noise": {"offset": 0.3}, "run": {"gradient_checkpointing": True}})
    assert [problem.where.split()[-1] for problem in problems] == ["noise.offset", "run.gradient_checkpointing"]


def test_a_setting_stays_in_force_for_other_families_and_adapters(declare):
    declare("noise.offset", not_for={"another family": REASON, "another adapter": REASON}, off=0.0)
    assert make_config({"noise": {"offset": 0.3}}).noise.offset == 0.3
    assert make_config({}).noise.offset == 0.02


def test_a_single_choice_can_be_closed(declare):
    declare("loss.weighting", choices_not_for={"debiased": {FAMILY: REASON}}, off="none")
    assert find_closed_choices(FAMILY, KIND)["loss.weighting"] == {"debiased": REASON}
    assert make_config({}).loss.weighting == "none", "the default is the closed choice, so it is switched off"
    assert make_config({"loss": {"weighting": "min_snr"}}).loss.weighting == "min_snr"
    (problem,) = problems_of({"loss": {"weighting": "debiased"}})
    assert REASON in problem.message and "Choose another one" in problem.fix


def test_a_closed_choice_that_is_no_default_switches_nothing_off(declare):
    declare("loss.weighting", choices_not_for={"min_snr": {KIND: REASON}}, off="none")
    assert "loss.weighting" not in find_unusable(FAMILY, KIND)
    assert make_config({}).loss.weighting == "debiased"


def test_settings_that_cannot_act_survive_the_file(declare, tmp_path):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    config = make_config({"noise": {"adaptive": 0.5}})
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


def test_what_was_given_is_not_changed(declare):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    values = {"noise": {"adaptive": 0.5}}
    switch_off(values)
    assert values == {"noise": {"adaptive": 0.5}}


@pytest.mark.parametrize("odd", [None, 7, [], {"noise": 3}, {"model": None}, {"model": {"family": ["sd1"]}}, {"x": {}}])
def test_odd_values_are_left_for_the_checks(declare, odd):
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    with pytest.raises(ConfigError):
        make_config(odd)


@pytest.mark.parametrize(
    ("condition", "idle"),
    [
        ("loss.weighting=debiased", False),
        ("loss.weighting=min_snr|debiased", False),
        ("loss.weighting=min_snr", True),
        ("data.shuffle_tags=True", False),
        ("data.shuffle_tags=False", True),
        ("run.epochs=10", False),
    ],
)
def test_a_setting_is_idle_while_its_condition_does_not_hold(declare, condition, idle):
    declare("noise.offset", only_with=condition)
    assert ("noise.offset" in find_idle(TrainConfig())) is idle


def test_the_reason_of_an_idle_setting_names_what_wakes_it():
    assert find_idle(TrainConfig())["loss.min_snr_gamma"] == "Only used when loss.weighting is min_snr."
    awake = change_settings(TrainConfig(), {"loss.weighting": "min_snr"})
    assert "loss.min_snr_gamma" not in find_idle(awake)


def test_the_declarations_name_families_adapters_settings_and_choices_that_exist():
    settings = dict(list_settings())
    places = {*_choices("model.family"), *_choices("adapter.kind")}
    for name, field in settings.items():
        facts = facts_of(field)
        assert facts["not_for"].keys() <= places, name
        assert facts["choices_not_for"].keys() <= set(_choices(name)), name
        for closed in facts["choices_not_for"].values():
            assert closed.keys() <= places, name
        if facts["only_with"]:
            other, _, values = facts["only_with"].partition("=")
            assert other in settings, name
            assert set(values.split("|")) <= set(_choices(other) or values.split("|")), name


def test_every_value_that_does_nothing_is_a_valid_one():
    for name, off in off_values().items():
        assert read_setting(change_settings(TrainConfig(), {name: off}), name) == off


def test_every_family_and_adapter_has_settings_that_work():
    for family in _choices("model.family"):
        for kind in _choices("adapter.kind"):
            values = {"model": {"family": family}, "adapter": {"kind": kind}}
            if kind in find_closed_choices(family, kind).get("adapter.kind", {}):
                assert problems_of(values)
                continue
            config = make_config(values)
            for name in find_inapplicable(family, kind):
                assert read_setting(config, name) == off_values()[name]


def test_there_and_back_again_gives_the_same_settings():
    """Switching the family or the adapter forgets nothing but defaults, and those come back."""
    start = change_settings(TrainConfig(), {"run.epochs": 3, "adapter.rank": 8})
    for name in ("model.family", "adapter.kind"):
        for choice in _choices(name):
            there = change_settings(start, {name: choice})
            assert change_settings(there, {name: read_setting(start, name)}) == start, choice


def test_a_switch_refuses_what_was_set_on_purpose(declare):
    declare("noise.offset", not_for={"another": REASON}, off=0.0)
    config = change_settings(TrainConfig(), {"noise.offset": 0.3})
    declare("noise.offset", not_for={FAMILY: REASON}, off=0.0)
    with pytest.raises(ConfigError, match="no noise to shift"):
        change_settings(config, {"model.family": FAMILY})


def _choices(name):
    return choices_of(dict(list_settings())[name])
