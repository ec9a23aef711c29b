"""Presets: every combination works, each file holds only what acts, and a wrong name is led to the right one."""

import itertools
import json
from dataclasses import replace

import pytest

from lora_nb.config import TrainConfig, list_settings, read_setting
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.errors import ConfigError
from lora_nb.presets import catalogue, layers
from lora_nb.presets.catalogue import Preset, apply_preset, describe_presets, find_preset, list_presets
from lora_nb.presets.layers import KINDS, WHOLE, load_layers

ASKED = itertools.product(
    ("character", "style", "concept"), ("sd1", "sdxl", "flux"), ("t4", "l4", "a100", "12gb", "8gb")
)
LAYERS = [layer for kind in (*KINDS, WHOLE) for layer in load_layers(kind).values()]
ADDED = [part for layer in LAYERS for part in layer.by_model.values()]
NAMES = dict(list_settings())


def makes(preset):
    """The settings; or none, when one is missing without which the others do not work."""
    try:
        return apply_preset(preset)
    except ConfigError:
        return None


def presets_with(layer):
    return [preset for preset in map(find_preset, list_presets()) if layer in preset.layers]


def test_every_combination_that_a_user_may_ask_for_is_a_preset():
    assert {"/".join(parts) for parts in ASKED} <= set(list_presets())
    assert "tutorial" in list_presets() and "character/workshop/cpu" in list_presets()


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_makes_settings_that_work_and_can_be_saved(name, tmp_path):
    preset = find_preset(name)
    config = apply_preset(preset)
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config
    assert {path: read_setting(config, path) for path in preset.settings} == preset.settings


@pytest.mark.parametrize("layer", [*LAYERS, *ADDED], ids=lambda layer: layer.name)
def test_every_setting_of_a_file_changes_something_and_every_file_says_why(layer):
    assert len(layer.reason) > 20 and layer.reason.endswith(".")
    assert layer.settings.keys() <= NAMES.keys()
    for name in layer.settings:
        less = {key: value for key, value in layer.settings.items() if key != name}
        effects = []
        for preset in presets_with(layer):
            others = tuple(replace(part, settings=less) if part is layer else part for part in preset.layers)
            effects.append(makes(Preset(preset.name, others)) != makes(preset))
        assert any(effects), f"{layer.name}: {name} is what it would be anyway"


def test_every_addition_is_for_a_model_that_there_is():
    assert {model for layer in LAYERS for model in layer.by_model} <= load_layers("model").keys()


def test_the_precision_is_one_that_the_machine_computes_in():
    for subject, model in itertools.product(load_layers("subject"), load_layers("model")):
        for machine, precision in {"t4": "fp16", "l4": "bf16", "a100": "bf16", "cpu": "fp32"}.items():
            assert apply_preset(find_preset(f"{subject}/{model}/{machine}")).run.precision == precision


def test_flux_on_a_small_card_is_in_four_bits_and_forgets_what_it_computed():
    for machine in ("t4", "12gb", "8gb"):
        run = apply_preset(find_preset(f"style/flux/{machine}")).run
        assert (run.quantization, run.gradient_checkpointing, run.batch_size) == ("nf4", True, 1)
    assert apply_preset(find_preset("style/flux/a100")).run.quantization == "none"


def test_alpha_is_half_of_the_rank_everywhere():
    for name in list_presets():
        adapter = apply_preset(find_preset(name)).adapter
        assert adapter.alpha == adapter.rank / 2, name


def test_what_a_subject_says_of_a_model_counts_more_than_what_the_model_says():
    rates = [apply_preset(find_preset(f"{name}/sdxl/l4")).optimizer.learning_rate for name in ("character", "style")]
    assert rates == [2e-4, 1e-4]


def test_the_tutorials_example_is_what_the_tutorial_says():
    config = apply_preset(find_preset("tutorial"), make_config({"data": {"trigger_words": ["a", "b"]}}))
    assert (config.adapter.rank, config.adapter.alpha, config.model.clip_skip) == (4, 2, 2)
    assert (config.run.epochs, config.run.batch_size, config.data.resolution) == (10, 2, 512)
    assert (config.noise.offset, config.noise.adaptive, config.loss.weighting) == (0.02, 0.002, "debiased")
    assert config.data.shuffle_tags and config.data.enable_buckets and config.data.keep_tokens == 2
    assert config.run.save_precision == config.run.precision == "bf16"
    assert config.optimizer.kind == "adamw8bit"
    assert config.optimizer.text_encoder_learning_rate == config.optimizer.learning_rate / 2


def test_a_preset_leaves_what_only_the_user_knows():
    mine = {"model": {"base": "me/my-sd1"}, "data": {"trigger_words": ["mochi", "hat"]}, "run": {"seed": 7}}
    config = make_config(mine | {"samples": {"prompts": ["mochi"], "negative_prompt": "blurry"}})
    same = apply_preset(find_preset("style/sd1/t4"), config)
    assert (same.model.base, same.run.seed, same.samples.prompts) == ("me/my-sd1", 7, ("mochi",))
    assert same.samples.negative_prompt == "blurry" and same.data.keep_tokens == 2
    other = apply_preset(find_preset("style/flux/t4"), config)
    assert other.model.base == "black-forest-labs/FLUX.1-dev" and other.data.trigger_words == ("mochi", "hat")


def test_a_preset_forgets_the_one_before_it():
    first = apply_preset(find_preset("style/flux/8gb"), make_config({"data": {"trigger_words": ["mochi"]}}))
    fresh = make_config({"data": {"trigger_words": ["mochi"]}})
    name = "character/sd1/a100"
    assert apply_preset(find_preset(name), first) == apply_preset(find_preset(name), fresh)


def test_settings_of_another_model_type_do_not_take_its_base_along():
    workshop = change_settings(TrainConfig(), {"data.trigger_words": ("mochi",)})
    assert apply_preset(find_preset("style/workshop/cpu"), workshop).model.base == "workshop"
    assert apply_preset(find_preset("style/sd1/cpu"), workshop).model.base != "workshop"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("charcter/sdxl/t4", ["subject: 'charcter'", "Did you mean 'character'?"]),
        ("style/sdxll/t5", ["'sdxll'", "Did you mean 'sdxl'?", "'t5'", "Did you mean 't4'?"]),
        ("tutorail", ["Did you mean 'tutorial'?"]),
        ("style/sdxl", ["subject/model/machine"]),
        ("", ["subject/model/machine"]),
    ],
)
def test_a_wrong_name_is_led_to_the_nearest_right_one(name, told):
    with pytest.raises(ConfigError) as error:
        find_preset(name)
    for text in told:
        assert text in str(error.value)


def test_the_list_and_the_description_give_every_reason():
    text = describe_presets()
    assert all(layer.name in text and layer.reason in text for layer in LAYERS)
    shown = find_preset("concept/sdxl/8gb").describe()
    assert "run.quantization = int8" in shown and "data.tag_dropout = 0.05" in shown


def test_a_new_file_is_a_new_preset(tmp_path, monkeypatch):
    for kind in (*KINDS, WHOLE):
        (tmp_path / kind).mkdir()
        for layer in load_layers(kind).values():
            text = (layers._FOLDER / kind / f"{layer.name}.json").read_text()
            (tmp_path / kind / f"{layer.name}.json").write_text(text)
    content = {"title": "H100", "reason": "It is fast.", "settings": {"run.precision": "bf16", "run.batch_size": 16}}
    (tmp_path / "machine" / "h100.json").write_text(json.dumps(content))
    monkeypatch.setattr(layers, "_FOLDER", tmp_path)
    load_layers.cache_clear()
    try:
        assert "style/sd1/h100" in list_presets()
        assert apply_preset(catalogue.find_preset("style/sd1/h100")).run.batch_size == 16
    finally:
        load_layers.cache_clear()
