"""Where a new project starts: at the settings for its model and machine, or at a preset."""

import json

import pytest

from lora_nb.config import WORKSHOP_MODEL, choices_of
from lora_nb.config.model import ModelConfig
from lora_nb.errors import ConfigError
from lora_nb.presets.advice import CARDS, FAMILIES, advise_config, name_machine, start_from_preset
from lora_nb.presets.layers import load_layers
from tests.test_cli import run
from tests.test_environment import machine


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "cpu"),
        ({"gpu": "Tesla T4", "gpu_memory_gib": 14.6}, "t4"),
        ({"gpu": "RTX 2070", "gpu_memory_gib": 7.8}, "8gb"),
        ({"gpu": "RTX 2080 Ti", "gpu_memory_gib": 10.8}, "12gb"),
        ({"gpu": "RTX 3060", "gpu_memory_gib": 11.8, "has_bf16": True}, "12gb"),
        ({"gpu": "L4", "gpu_memory_gib": 22.2, "has_bf16": True}, "l4"),
        ({"gpu": "A100", "gpu_memory_gib": 39.6, "has_bf16": True}, "a100"),
    ],
)
def test_a_machine_is_likened_to_that_of_a_preset(facts, name):
    assert name_machine(machine(**facts)) == name and name in load_layers("machine")


def test_every_family_and_card_has_its_file():
    assert set(FAMILIES) == set(choices_of(ModelConfig.model_fields["family"])) < load_layers("model").keys()
    assert {name for name, _ in CARDS} < load_layers("machine").keys()


def test_an_old_card_gets_the_settings_of_its_memory_but_no_bf16():
    old = machine(gpu="RTX 2070", gpu_memory_gib=7.8)
    config = advise_config(old, "o/x", (), "sdxl")
    assert config.run.precision == "fp16" and config.run.quantization == "int8"


def test_a_project_starts_from_a_preset(tmp_path):
    folder = tmp_path / "mochi"
    run("new", folder, "--preset", "character/sdxl/t4", "--trigger", "mochi, hat")
    config = json.loads((folder / "config.json").read_text())
    assert config["model"]["family"] == "sdxl" and config["run"]["precision"] == "fp16"
    assert config["data"]["trigger_words"] == ["mochi", "hat"] and config["data"]["keep_tokens"] == 2
    assert config["samples"]["prompts"] == ["mochi, hat"]


def test_a_base_model_of_ones_own_takes_the_place_of_the_presets():
    config = start_from_preset("character/sdxl/t4", "me/my-xl", ("mochi",))
    assert config.model.base == "me/my-xl" and config.model.family == "sdxl"
    assert start_from_preset("character/workshop/cpu").model.base == WORKSHOP_MODEL


def test_a_wrong_preset_or_family_makes_no_project(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 't4'"):
        run("new", tmp_path / "mochi", "--preset", "character/sdxl/t44")
    with pytest.raises(ConfigError, match="'sd1' is not that of the preset, 'sdxl'"):
        run("new", tmp_path / "mochi", "--preset", "character/sdxl/t4", "--family", "sd1")
    assert not (tmp_path / "mochi").exists()


def test_the_command_prints_all_presets_or_one():
    assert "free Colab" in run("presets")
    assert "run.gradient_checkpointing = True" in run("presets", "style/sdxl/t4")
