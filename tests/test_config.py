"""Settings: one declaration, whole files, and every mistake named at once."""

import json

import pytest

from lora_nb.config import TrainConfig, list_settings
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.errors import ConfigError


def test_settings_survive_the_file(tmp_path):
    config = change_settings(TrainConfig(), {"run.epochs": 3, "data.trigger_words": ["mochi", "hat"]})
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


def test_all_mistakes_are_reported_at_once():
    values = {"run": {"epoch": 5, "batch_size": 0}, "adapter": {"rank": "many"}, "optimiser": {}}
    with pytest.raises(ConfigError) as caught:
        make_config(values)
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    assert "run.epochs" in text and "'optimizer'" in text and "run.batch_size" in text and "adapter.rank" in text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("adapter.network_dim", "adapter.rank"), ("run.lerning_rate", "optimizer.learning_rate")],
)
def test_a_wrong_name_is_answered_with_the_nearest_or_with_ours_for_kohyas(wrong, right):
    with pytest.raises(ConfigError) as caught:
        change_settings(TrainConfig(), {wrong: 1})
    assert right in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"run": 3}', '{"run": {"seed": NaN}}', ""])
def test_a_broken_file_is_explained(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json|settings"):
        load_config(path)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="min_bucket_size 900 is larger than max_bucket_size 800"):
        change_settings(TrainConfig(), {"data.min_bucket_size": 900, "data.max_bucket_size": 800})


def test_a_crash_while_saving_keeps_the_old_settings(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    save_config(TrainConfig(), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_config(change_settings(TrainConfig(), {"run.seed": 1}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_the_defaults_are_the_tutorials():
    config = TrainConfig()
    assert config.adapter.alpha == config.adapter.rank / 2 and config.adapter.rank <= 32
    assert (config.noise.offset, config.noise.adaptive) == (0.02, 0.002)
    assert (config.loss.weighting, config.optimizer.kind) == ("debiased", "adamw8bit")


def test_the_saved_json_names_every_setting(tmp_path):
    save_config(TrainConfig(), tmp_path / "config.json")
    values = json.loads((tmp_path / "config.json").read_text())
    assert {f"{section}.{name}" for section, part in values.items() for name in part} == {
        name for name, _ in list_settings()
    }


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("run.epochs", "abc", "'abc' does not work: it should be a whole number, such as 8."),
        ("run.epochs", 1.5, "it should be a whole number."),
        ("run.epochs", 0, "it should be 1 or more."),
        ("run.epochs", 10**6, "it should be 1,000 or less."),
        ("optimizer.learning_rate", "x", "it should be a number, such as 0.5 or 1e-4."),
        ("optimizer.learning_rate", 0, "it should be more than 0."),
        ("run.precision", "fp8", "it should be 'fp32', 'fp16' or 'bf16'."),
        ("data.shuffle_tags", "perhaps", "it should be true or false."),
        ("data.trigger_words", 3, "it should be a list."),
        ("model.base", "", "something should stand here."),
        ("run", [], "it should be names of settings with values."),
    ],
)
def test_a_wrong_value_is_explained_without_a_programmers_words(name, value, words):
    with pytest.raises(ConfigError) as caught:
        change_settings(TrainConfig(), {name: value})
    assert words in str(caught.value)
