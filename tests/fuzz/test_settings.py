"""Settings that no form has written: every mistake in words, and what is accepted survives being saved."""

import json

import pytest

from lora_nb.config import TrainConfig, list_settings
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.errors import ConfigError
from tests.fuzz.contract import attempt, run_cases
from tests.fuzz.spoiling import no_file, odd_json, odd_text, odd_value

NAMES = [name for name, _ in list_settings()]
USUAL = (TrainConfig().model_dump_json(indent=2) + "\n").encode()


def test_odd_values_are_refused_by_name_or_kept(tmp_path):
    def case(chance, folder):
        values = TrainConfig().model_dump(mode="json") if chance.random() < 0.5 else {}
        for _ in range(chance.choice([1, 1, 1, 2, 5, 40])):
            spoil(chance, values)
        path = folder / "config.json"
        path.write_text(json.dumps(values))
        return tell_outcome(path)

    run_cases("settings", 500, case, tmp_path)


def test_files_that_are_no_settings_are_named(tmp_path):
    def case(chance, folder):
        path = folder / "config.json"
        path.write_bytes(odd_json(chance, USUAL))
        return tell_outcome(path)

    run_cases("settings files", 250, case, tmp_path)


def test_what_is_no_file_is_named(tmp_path):
    def case(chance, folder):
        no_file(chance, folder / "config.json")
        outcome = attempt(lambda: load_config(folder / "config.json"), names="config.json", untouched=folder)
        assert outcome.error
        return outcome.word

    run_cases("no settings", 20, case, tmp_path)


def test_changes_by_name_are_refused_or_kept(tmp_path):
    def case(chance, folder):
        name = chance.choice([chance.choice(NAMES), odd_text(chance), "run", "run.", ".", "run.epochs.more"])
        value = odd_value(chance)
        outcome = attempt(lambda: change_settings(TrainConfig(), {name: value}))
        return outcome.word

    run_cases("changes", 250, case, tmp_path)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"run": {"epochs": 3, "epochs": 4}}')
    with pytest.raises(ConfigError, match="'epochs' stands there twice"):
        load_config(tmp_path / "config.json")


def test_a_name_with_too_many_parts_is_refused():
    with pytest.raises(ConfigError, match=r"run\.epochs\.more: There is no such setting"):
        change_settings(TrainConfig(), {"run.epochs.more": 1})


def test_thousands_of_mistakes_are_counted_and_a_few_explained():
    values = {"run": {f"epochz{number}": 1 for number in range(5000)} | {"x" * 10**6: 1}}
    outcome = attempt(lambda: make_config(values), names="5001 of the settings")
    assert len(outcome.error.problems) == 21


def test_half_of_a_character_is_refused_by_the_settings_name():
    with pytest.raises(ConfigError, match=r"optimizer\.arguments: It holds characters that are no text"):
        change_settings(TrainConfig(), {"optimizer.arguments": {"a": "\ud800"}})


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    attempt(lambda: load_config(tmp_path / "config.json"), names="1,099,511,627,776 bytes")


def spoil(chance, values):
    """Give one setting, section or unknown name an odd value."""
    section, _, field = chance.choice(NAMES).partition(".")
    way = chance.random()
    if way < 0.1:
        values[section] = odd_value(chance)
    elif way < 0.2:
        values[odd_text(chance)] = odd_value(chance)
    elif isinstance(values.setdefault(section, {}), dict):
        field = field if way < 0.85 else field[:-1] + chance.choice(["", "x", odd_text(chance)])
        values[section][field] = odd_value(chance)


def tell_outcome(path):
    outcome = attempt(lambda: load_config(path), names=path.name, untouched=path.parent)
    if outcome.result:
        again = path.with_name("again.json")
        save_config(outcome.result, again)
        assert load_config(again) == outcome.result
    return outcome.word
