"""Kohya's settings come over key by key: imported, or left with a reason, and never dropped in silence."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_nb.config import list_settings, read_setting
from lora_nb.config.applicability import find_inapplicable, off_values
from lora_nb.config_file import load_config, make_config, save_config
from lora_nb.errors import ConfigError
from lora_nb.kohya.importing import import_kohya, import_values

DATA = Path(__file__).parent.parent / "data"
FILES = sorted((DATA / "kohya").glob("*.json"))
METADATA = json.loads((DATA / "metadata_sd1.json").read_text())
EXPECTED = {  # what a person reads in these files
    "SDXL - LoKR v1.0": {
        "model.family": "sdxl",
        "adapter.kind": "lokr",
        "adapter.rank": 64,
        "adapter.conv_rank": 64,
        "adapter.lokr_factor": 0,
        "adapter.module_dropout": 0.1,
        "adapter.rank_dropout": 0.1,
        "optimizer.kind": "prodigy",
        "optimizer.learning_rate": 1.0,
        "noise.offset": 0.0,
        "noise.multires_iterations": 8,
        "noise.multires_discount": 0.2,
        "loss.weighting": "min_snr",
        "loss.min_snr_gamma": 10,
        "run.seed": 12345,
        "run.batch_size": 8,
        "run.precision": "bf16",
    },
    "SDXL - LoRA AI_Now prodigy v1.0": {
        "optimizer.kind": "prodigy",
        "optimizer.weight_decay": 0.01,
        "adapter.scale_weight_norms": 5,
        "data.bucket_step": 32,
        "data.enlarge_pictures": False,
        "run.epochs": 160,
        "run.save_every_n_epochs": 10,
        "run.save_precision": "bf16",
    },
    "SDXL - LoRA AI_characters standard v1.1": {
        "run.epochs": 50,
        "data.caption_dropout": 0.05,
        "data.resolution": 1024,
        "optimizer.kind": "adamw",
        "optimizer.text_encoder_learning_rate": 3e-5,
        "run.precision": "fp16",
    },
    "flux1D - adamw8bit fp8": {
        "model.family": "flux",
        "model.guidance": 1,
        "model.t5_attention_mask": True,
        "adapter.kind": "lora",
        "adapter.rank": 16,
        "adapter.flux_blocks": "all",
        "adapter.train_text_encoder": False,
        "optimizer.learning_rate": 3e-4,
        "noise.timestep_sampling": "sigmoid",
        "run.quantization": "int8",
        "samples.width": 832,
        "samples.height": 1216,
        "samples.guidance_scale": 4,
        "samples.seed": 42,
    },
    "loha-sd15": {
        "model.family": "sd1",
        "adapter.kind": "loha",
        "adapter.rank": 32,
        "adapter.alpha": 16,
        "adapter.conv_rank": 8,
        "noise.multires_iterations": 8,
        "run.gradient_accumulation_steps": 4,
        "optimizer.lr_scheduler": "cosine",
    },
    "sd15 - EDG_LoraOptiSettings": {
        "model.clip_skip": 2,
        "data.resolution": 576,
        "data.enable_buckets": False,
        "noise.offset": 0.05,
        "loss.weighting": "none",
        "run.seed": 1234,
        "optimizer.text_encoder_learning_rate": 5e-5,
    },
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_of_a_saved_form_is_accounted_for(path, tmp_path):
    result = import_kohya(path)
    assert [finding.key for finding in result.findings] == list(json.loads(path.read_text()))
    assert result.count()["not known"] == 0
    assert sum(result.count().values()) == len(result.findings)
    assert all(finding.why or finding.settings for finding in result.findings), "each is imported or has a reason"
    save_config(result.config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == result.config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_values_are_those_that_a_person_reads(path):
    config = import_kohya(path).config
    wanted = EXPECTED[path.stem]
    assert {name: read_setting(config, name) for name in wanted} == wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_report_says_is_in_force(path):
    """Neither the report nor the settings know something that the other does not."""
    result = import_kohya(path)
    told = dict(result.assumed)
    for finding in result.findings:
        told |= finding.settings
    for name, value in told.items():
        found = read_setting(result.config, name)
        assert found == (tuple(value) if isinstance(value, list) else value), name
    default = make_config(
        {"model": {"family": result.config.model.family}, "adapter": {"kind": result.config.adapter.kind}}
    )
    for name, _ in list_settings():
        if name not in told:
            assert read_setting(result.config, name) == read_setting(default, name), name


def test_the_metadata_of_a_lora_file_is_read_without_its_tensors(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "old.safetensors", metadata=METADATA)
    result = import_kohya(tmp_path / "old.safetensors")
    assert {finding.key for finding in result.findings} == METADATA.keys()
    assert result.count()["not known"] == 0
    config = result.config
    assert (config.adapter.rank, config.adapter.alpha) == (8, 4)
    assert config.data.resolution == 256 and config.data.shuffle_tags and config.data.keep_tokens == 1
    assert (config.noise.offset, config.noise.adaptive, config.loss.weighting) == (0.02, 0.002, "debiased")
    assert (config.run.epochs, config.run.batch_size, config.run.seed) == (1, 1, 42)
    assert config.optimizer.kind == "adamw" and config.optimizer.learning_rate == 1e-4


def test_a_lora_that_was_made_here_gives_its_settings_back(tmp_path):
    from lora_nb.adapters.metadata import RunFacts, training_metadata
    from lora_nb.dataset.images import scan_images
    from lora_nb.dataset.steps import plan_steps
    from tests.config.observe import make_small_project, small_config

    project = make_small_project(tmp_path)
    values = {"adapter.rank": 8, "noise.offset": 0.1, "loss.weighting": "min_snr", "data.keep_tokens": 2}
    config = small_config(tmp_path, "sd1", values)
    dataset = scan_images(project.images)
    facts = RunFacts("x", epoch=1, steps=2, started_at=0, finished_at=1, base_model="m", session_id=1)
    metadata = training_metadata(config, dataset, plan_steps(dataset, config), facts)
    back = import_values(metadata).config
    for name in (*values, "optimizer.learning_rate", "data.resolution", "run.batch_size", "run.epochs"):
        assert read_setting(back, name) == read_setting(config, name), name


def test_a_toml_of_sd_scripts_is_read(tmp_path):
    (tmp_path / "a.toml").write_text(
        """
        [model]
        pretrained_model_name_or_path = "models/base.safetensors"
        [training]
        network_module = "networks.lora"
        network_dim = 8
        network_args = ["conv_dim=4", "conv_alpha=2"]
        optimizer_type = "AdamW8bit"
        learning_rate = 2e-4
        max_train_epochs = 7
        mixed_precision = "fp16"
        [[datasets]]
        resolution = [768, 512]
        batch_size = 3
          [[datasets.subsets]]
          image_dir = "pictures"
          num_repeats = 5
          keep_tokens = 2
        """
    )
    result = import_kohya(tmp_path / "a.toml")
    config = result.config
    assert config.model.base == "models/base.safetensors"
    assert (config.adapter.kind, config.adapter.rank, config.adapter.conv_rank) == ("locon", 8, 4)
    assert (config.optimizer.kind, config.optimizer.learning_rate) == ("adamw8bit", 2e-4)
    assert (config.run.epochs, config.run.batch_size, config.data.keep_tokens) == (7, 3, 2)
    assert result.count()["not known"] == 0


def test_the_report_counts_and_names_every_key():
    result = import_kohya(FILES[0])
    text = result.describe()
    assert all(f"  {finding.key} " in text for finding in result.findings)
    assert f"{len(result.findings)} keys: {result.count()['imported']} imported" in text
    assert "Set model.base" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", "{}"),
        ("a.toml", "= 3"),
        ("a.safetensors", "x" * 20),
        ("a.ckpt", ""),
    ],
)
def test_a_file_that_is_none_is_explained(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=name):
        import_kohya(tmp_path / name)


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="cannot be opened"):
        import_kohya(tmp_path / "nowhere.json")


def test_a_family_that_is_not_trained_here_is_refused():
    with pytest.raises(ConfigError, match="sd3"):
        import_values({"sd3_checkbox": True, "network_dim": 4})


def test_the_command_prints_the_account_and_fills_a_project(tmp_path):
    from typer.testing import CliRunner

    from lora_nb.__main__ import app
    from lora_nb.project import open_project

    project = open_project(tmp_path / "cats")
    path = DATA / "kohya" / "sd15 - EDG_LoraOptiSettings.json"
    result = CliRunner().invoke(app, ["import-kohya", str(path), "--into", str(project.root)], catch_exceptions=False)
    assert result.exit_code == 0 and "63 keys:" in result.output
    assert project.load_config() == import_kohya(path).config


def test_nothing_imported_is_switched_off_behind_the_users_back():
    for path in FILES:
        config = import_kohya(path).config
        for name in find_inapplicable(config.model.family, config.adapter.kind):
            assert read_setting(config, name) == off_values()[name]
