"""Key by key: what Kohya means by it is set, refused with a reason, or needs nothing."""

import re
from pathlib import Path

import pytest

from lora_nb.config import TrainConfig, facts_of, list_settings
from lora_nb.kohya.importing import RULES, import_values
from lora_nb.kohya.rules import load_reasons
from lora_nb.kohya.values import name_of, read_arguments, read_sides

FLUX = {"flux1_checkbox": True}
LOGIT = FLUX | {"timestep_sampling": "sigma", "weighting_scheme": "logit_normal"}
MIN_LR = {"lr_scheduler": "cosine_with_min_lr"}


def outcome_of(values, key):
    (finding,) = [finding for finding in import_values(values).findings if finding.key == key]
    return finding


def test_an_unknown_key_is_called_unknown():
    finding = outcome_of({"flux_capacitor": 1.21}, "flux_capacitor")
    assert finding.outcome == "not known"


@pytest.mark.parametrize(
    ("values", "key", "outcome", "settings"),
    [
        ({"min_snr_gamma": "5"}, "min_snr_gamma", "imported", {"loss.weighting": "min_snr", "loss.min_snr_gamma": 5}),
        ({"min_snr_gamma": 0}, "min_snr_gamma", "not needed", {}),
        ({"min_snr_gamma": 5, "debiased_estimation_loss": True}, "min_snr_gamma", "not supported", {}),
        ({"lr_warmup": "10"}, "lr_warmup", "imported", {"optimizer.warmup_ratio": 0.1}),
        ({"lr_warmup_steps": 0.05}, "lr_warmup_steps", "imported", {"optimizer.warmup_ratio": 0.05}),
        (
            {"ss_lr_warmup_steps": "50", "ss_max_train_steps": "1000"},
            "ss_lr_warmup_steps",
            "imported",
            {"optimizer.warmup_ratio": 0.05},
        ),
        ({"lr_warmup_steps": 50}, "lr_warmup_steps", "not supported", {}),
        ({"lr_warmup": "90"}, "lr_warmup", "not supported", {}),
        ({"noise_offset": 0.1, "noise_offset_type": "Multires"}, "noise_offset", "not needed", {}),
        ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale", "not needed", {}),
        ({"caption_extension": ".caption"}, "caption_extension", "not supported", {}),
        ({"max_train_steps": 1000}, "max_train_steps", "not supported", {}),
        ({"max_train_steps": 1000, "max_train_epochs": 5}, "max_train_steps", "not needed", {}),
        ({"seed": "0"}, "seed", "not needed", {}),
        ({"network_dim": "many"}, "network_dim", "not supported", {}),
        ({"network_dim": 5000}, "network_dim", "not supported", {}),
        ({"network_dim": [1]}, "network_dim", "not supported", {}),
        ({"color_aug": True}, "color_aug", "not supported", {}),
        ({"color_aug": False}, "color_aug", "not needed", {}),
        ({"mixed_precision": "fp8"}, "mixed_precision", "not supported", {}),
        ({"sdxl": True, "clip_skip": 2}, "clip_skip", "not supported", {}),
        ({"optimizer": "DAdaptWhatever"}, "optimizer", "not supported", {}),
        ({"LoRA_type": "LyCORIS/iA3"}, "LoRA_type", "not supported", {}),
        (
            {"learning_rate": 1e-4, "unet_lr": 2e-4},
            "learning_rate",
            "imported",
            {"optimizer.text_encoder_learning_rate": 1e-4},
        ),
        ({"unet_lr": 1e-4, "text_encoder_lr": 0}, "text_encoder_lr", "imported", {"adapter.train_text_encoder": False}),
        ({"text_encoder_lr": "[3e-05, 3e-05]"}, "text_encoder_lr", "imported", {
            "optimizer.text_encoder_learning_rate": 3e-5}),
        (MIN_LR | {"lr_scheduler_min_lr_ratio": "0.1"}, "lr_scheduler_min_lr_ratio", "imported", {
            "optimizer.min_ratio": 0.1}),
        (MIN_LR | {"lr_scheduler_num_cycles": 1}, "lr_scheduler_num_cycles", "not needed", {}),
        (MIN_LR | {"lr_scheduler_num_cycles": 3}, "lr_scheduler_num_cycles", "not supported", {}),
        ({"lr_scheduler": "constant", "lr_scheduler_min_lr_ratio": 0.1}, "lr_scheduler_min_lr_ratio", "not needed", {}),
        ({"lr_scheduler": "inverse_sqrt", "lr_scheduler_timescale": 500}, "lr_scheduler_timescale", "imported", {
            "optimizer.timescale": 500}),
        ({"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 50, "max_train_steps": 200}, "lr_decay_steps",
         "imported", {"optimizer.decay_ratio": 0.25}),
        ({"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules=1:10,0.1:20,0.01"]},
         "lr_scheduler_args", "imported", {"optimizer.step_rules": "1:10,0.1:20,0.01"}),
        ({"lr_scheduler": "cosine", "lr_scheduler_args": "eta_min=0"}, "lr_scheduler_args", "not supported", {}),
        ({"loraplus_unet_lr_ratio": 16, "network_train_unet_only": True}, "loraplus_unet_lr_ratio", "imported", {
            "optimizer.loraplus_ratio": 16}),
        ({"loraplus_unet_lr_ratio": 16}, "loraplus_unet_lr_ratio", "not supported", {}),
        ({"loraplus_unet_lr_ratio": 16, "loraplus_lr_ratio": 16}, "loraplus_unet_lr_ratio", "imported", {
            "optimizer.loraplus_ratio": 16}),
        ({"caption_separator": ","}, "caption_separator", "not needed", {}),
        ({"caption_separator": ";"}, "caption_separator", "not supported", {}),
        (LOGIT | {"logit_mean": "1"}, "logit_mean", "imported", {"noise.sigmoid_mean": -1}),
        (LOGIT | {"logit_std": "0.5"}, "logit_std", "imported", {"noise.sigmoid_scale": 0.5}),
        (LOGIT | {"sigmoid_scale": 1}, "sigmoid_scale", "not needed", {}),
        (LOGIT | {"timestep_sampling": "shift", "logit_mean": 1}, "logit_mean", "not needed", {}),
        (FLUX | {"weighting_scheme": "mode", "mode_scale": 1.2}, "mode_scale", "imported", {"noise.mode_scale": 1.2}),
        (FLUX | {"min_snr_gamma": 7}, "min_snr_gamma", "not needed", {}),
        (FLUX | {"max_timestep": 900}, "max_timestep", "not needed", {}),
        ({"guidance_scale": 3.5}, "guidance_scale", "not needed", {}),
        (FLUX | {"clip_l": "a/clip.safetensors", "t5xxl": "a/t5.safetensors", "ae": "a/ae.safetensors"}, "t5xxl",
         "imported", {"model.other_parts": "a"}),
        (FLUX | {"clip_l": "a/clip.safetensors", "t5xxl": "b/t5.safetensors"}, "t5xxl", "not supported", {}),
        (FLUX | {"blocks_to_swap": 18, "gradient_checkpointing": True}, "blocks_to_swap", "imported", {
            "run.offload": 0.47}),
        (FLUX | {"blocks_to_swap": 18}, "blocks_to_swap", "not supported", {}),
        (FLUX | {"blocks_to_swap": 0}, "blocks_to_swap", "not needed", {}),
        ({"blocks_to_swap": 18}, "blocks_to_swap", "not needed", {}),
        ({"ss_vae_name": "fixed.safetensors"}, "ss_vae_name", "not supported", {}),
        ({"dim_from_weights": True}, "dim_from_weights", "not needed", {}),
    ],
)  # fmt: skip
def test_a_key_becomes_what_kohya_does_with_it(values, key, outcome, settings):
    finding = outcome_of(values, key)
    assert (finding.outcome, finding.settings) == (outcome, settings), finding.why
    assert finding.why or finding.outcome == "imported"


def test_options_hidden_in_one_text_come_into_the_open():
    result = import_values({"additional_parameters": "--min_snr_gamma 7 --debiased_estimation_loss_x --flip_aug"})
    outcomes = {finding.key: finding.outcome for finding in result.findings}
    assert result.config.loss.min_snr_gamma == 7
    assert outcomes["debiased_estimation_loss_x"] == "not known"


def test_a_file_without_noise_settings_trains_without_them_as_kohya_would():
    result = import_values({"network_dim": 8})
    assert result.config.noise.offset == 0 and result.config.loss.weighting == "none"
    assert result.assumed["noise.offset"] == 0 and "noise.offset=0.0" in result.describe()


def test_a_setting_that_needs_another_comes_over_wherever_that_stands():
    lokr = {"LoRA_type": "LyCORIS/LoKr"}
    config = import_values(lokr | {"conv_alpha": 4, "rank_dropout": 0.1, "conv_dim": 8}).config
    assert (config.adapter.conv_alpha, config.adapter.conv_rank, config.adapter.rank_dropout) == (4, 8, 0.1)


@pytest.mark.parametrize(
    ("values", "sampling"),
    [
        ({}, "uniform"),
        ({"weighting_scheme": "logit_normal"}, "sigmoid"),
        ({"timestep_sampling": "sigma", "weighting_scheme": "mode"}, "mode"),
        ({"timestep_sampling": "flux_shift", "weighting_scheme": "mode"}, "resolution_shift"),
    ],
)
def test_flux_draws_noise_levels_as_kohya_would(values, sampling):
    assert import_values(FLUX | values).config.noise.timestep_sampling == sampling


def test_every_key_that_a_setting_is_named_after_is_imported():
    """What a setting says to be called in Kohya is read, so that no setting is forgotten."""
    in_arguments = {"weight_decay", "step_rules"}  # of optimizer_args and lr_scheduler_args
    for name, field in list_settings():
        named = re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b", facts_of(field)["kohya"])
        for key in set(named) - in_arguments - {"cache_text_encoder_outputs_to_disk", "dim_from_weights"}:
            assert name_of(key) in RULES, f"{name}: {key}"


def test_every_rule_names_settings_that_exist_and_no_key_has_two_answers():
    assert RULES.keys() & load_reasons().keys() == set()
    known = {name for name, _ in list_settings()}
    for path in Path(__file__).parents[2].joinpath("lora_nb", "kohya").glob("*_rules.py"):
        sections = "|".join(TrainConfig.model_fields)
        named = set(re.findall(rf'"((?:{sections})\.\w+)"', path.read_text()))
        assert named - known == set()


def test_arguments_and_sizes_are_read_in_every_spelling():
    assert read_arguments("weight_decay=0.01 betas=0.9,0.99 decouple=True") == {
        "weight_decay": 0.01,
        "betas": (0.9, 0.99),
        "decouple": True,
    }
    assert read_arguments(["d_coef=2", "name=x"]) == {"d_coef": 2, "name": "x"}
    assert read_arguments("weight_decay=0.01, eps=1e-8") == {"weight_decay": 0.01, "eps": 1e-8}
    assert read_sides("(512, 768)") == read_sides("512,768") == read_sides([512, 768]) == (512, 768)
    assert read_sides(640) == (640, 640)
