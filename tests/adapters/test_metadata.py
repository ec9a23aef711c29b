"""What a LoRA file says about itself, against a real file of kohya's."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_nb import __version__
from lora_nb.adapters.metadata import FAMILIES, PRECISION_NAMES, RunFacts, training_metadata
from lora_nb.config import TrainConfig
from lora_nb.config.optimizer import OPTIMIZER_CLASSES
from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.steps import BucketCount, StepPlan

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "metadata_sd1.json").read_text())
RUN = RunFacts("ref", 1, 12, 1795329586.5, 1795329660.25, "owner/sd15-random", 598024293)

# not the same by nature, or written otherwise on purpose
DIFFERENT = {
    "modelspec.date": "in UTC",
    "modelspec.implementation_version": "another program",
    "ss_session_id": "by chance",
    "ss_training_started_at": "the clock",
    "ss_training_finished_at": "the clock",
    "ss_sd_model_name": "here a hub name",
    "ss_training_comment": "names this package",
    "ss_optimizer": "with its weight decay, as kohya writes it if it is given",
    "ss_unet_lr": "kohya: None for 'as ss_learning_rate'",
    "ss_text_encoder_lr": "kohya: None for 'as ss_learning_rate'",
    "ss_huber_c": "l2 uses none",
    "ss_huber_scale": "l2 uses none",
    "ss_huber_schedule": "l2 uses none",
    "ss_multires_noise_discount": "there is no such noise",
    "sshs_model_hash": "added on saving",
    "sshs_legacy_hash": "added on saving",
}


@pytest.fixture
def config():
    """The settings that the reference file was trained with."""
    return TrainConfig.model_validate(
        {
            "data": {"resolution": 256, "min_bucket_size": 128, "max_bucket_size": 512, "keep_tokens": 1},
            "adapter": {"rank": 8, "alpha": 4},
            "optimizer": {"kind": "adamw", "lr_scheduler": "constant"},
            "run": {"epochs": 1, "batch_size": 1},
        }
    )


@pytest.fixture
def dataset(tmp_path):
    items = [
        ImageItem(
            path=tmp_path / "2_foo" / f"{number}.png",
            width=256,
            height=256,
            caption=f"Mochi, hat, background {number}, smile, sitting",
            has_caption=True,
            repeats=2,
            class_name="foo",
            root=tmp_path,
        )
        for number in range(6)
    ]
    return Dataset(tmp_path, tuple(items), ())


@pytest.fixture
def plan():
    sizes = {(128, 384): 1, (192, 320): 1, (256, 256): 3, (320, 192): 1}
    buckets = tuple(BucketCount(Bucket(*size), count, 2 * count, 2 * count) for size, count in sizes.items())
    return StepPlan(6, 12, buckets, 12, 12, 1, 12, 0, 0.09907407407407404)


def test_no_key_of_kohyas_is_missing(config, dataset, plan):
    metadata = training_metadata(config, dataset, plan, RUN)
    missing = REFERENCE.keys() - metadata.keys()
    assert missing == {"sshs_model_hash", "sshs_legacy_hash"}
    assert all(isinstance(value, str) for value in metadata.values())


def test_the_same_training_is_described_in_the_same_words(config, dataset, plan):
    metadata = training_metadata(config, dataset, plan, RUN)
    wrong = {
        key: (metadata[key], value)
        for key, value in REFERENCE.items()
        if key not in DIFFERENT and _parsed(metadata[key]) != _parsed(value)
    }
    assert wrong == {}


def _parsed(value):
    return json.loads(value) if value.startswith("{") else value


def test_what_is_off_is_not_claimed(config, dataset, plan):
    values = config.model_dump()
    values["loss"]["weighting"] = "min_snr"
    values["noise"] = {"offset": 0.0, "adaptive": 0.0}
    values["data"] |= {"enlarge_pictures": False}
    values["adapter"]["train_text_encoder"] = False
    metadata = training_metadata(TrainConfig.model_validate(values), dataset, plan, RUN)
    assert metadata["ss_debiased_estimation"] == "False"
    assert metadata["ss_min_snr_gamma"] == "5.0"
    assert metadata["ss_noise_offset"] == metadata["ss_adaptive_noise_scale"] == "None"
    assert metadata["ss_bucket_no_upscale"] == "True"
    assert metadata["ss_min_bucket_reso"] == "None"
    assert metadata["ss_text_encoder_lr"] == "None"
    assert metadata["ss_unet_lr"] == "0.0001"


def test_trigger_words_clip_skip_and_title_are_written(config, dataset, plan):
    values = config.model_dump()
    values["data"]["trigger_words"] = ("mochi", "cat ears")
    values["model"]["clip_skip"] = 2
    values["optimizer"]["warmup_ratio"] = 0.25
    metadata = training_metadata(TrainConfig.model_validate(values), dataset, plan, replace(RUN, output_name="mochi"))
    assert metadata["modelspec.trigger_phrase"] == "mochi, cat ears"
    assert metadata["modelspec.title"] == metadata["ss_output_name"] == "mochi"
    assert metadata["modelspec.encoder_layer"] == metadata["ss_clip_skip"] == "2"
    assert metadata["ss_lr_scheduler"] == "constant_with_warmup"
    assert metadata["ss_lr_warmup_steps"] == "3"
    assert metadata["ss_training_comment"] == f"made with lora_nb {__version__}"
    assert metadata["modelspec.date"] == "2026-11-22T06:41:00+00:00"


def test_no_folder_of_the_user_is_written(config, dataset, plan, tmp_path):
    (tmp_path / "my_model").mkdir()
    metadata = training_metadata(config, dataset, plan, replace(RUN, base_model=str(tmp_path / "my_model")))
    assert metadata["ss_sd_model_name"] == "my_model"
    assert not [key for key, value in metadata.items() if str(tmp_path.parent) in value]


def test_another_vae_is_named_with_its_hashes(config, dataset, plan, tmp_path):
    def about_vae(vae):
        with_vae = config.model_copy(update={"model": config.model.model_copy(update={"vae": vae})})
        metadata = training_metadata(with_vae, dataset, plan, RUN)
        return {key: value for key, value in metadata.items() if "_vae_" in key}

    content = bytes(range(256)) * 4500  # longer than the 1 MiB at which the old hash begins
    (tmp_path / "fixed.safetensors").write_bytes(content)
    assert about_vae(str(tmp_path / "fixed.safetensors")) == {
        "ss_vae_name": "fixed.safetensors",
        "ss_vae_hash": hashlib.sha256(content[2**20 : 2**20 + 2**16]).hexdigest()[:8],
        "ss_new_vae_hash": hashlib.sha256(content).hexdigest(),
    }
    assert about_vae("owner/vae") == {"ss_vae_name": "owner/vae"}, "what is not on this machine has no hash"
    assert about_vae("") == {}


def test_every_choice_has_its_kohya_name():
    from typing import get_args

    from lora_nb import config

    kinds = set(get_args(config.OptimizerConfig.model_fields["kind"].annotation))
    assert kinds == {*OPTIMIZER_CLASSES, "custom"}
    assert set(get_args(config.RunConfig.model_fields["precision"].annotation)) == set(PRECISION_NAMES)
    assert set(get_args(config.ModelConfig.model_fields["family"].annotation)) == set(FAMILIES)


@pytest.mark.parametrize("kind", sorted(OPTIMIZER_CLASSES))
def test_optimizers_are_called_what_they_are(kind):
    import torch

    from lora_nb.config import OptimizerConfig
    from lora_nb.training.optimizers import OPTIMIZERS

    optimizer = OPTIMIZERS[kind](
        [{"params": [torch.nn.Parameter(torch.zeros(3))], "lr": 1.0, "name": "a"}], OptimizerConfig(kind=kind)
    )
    assert OPTIMIZER_CLASSES[kind] == f"{type(optimizer).__module__}.{type(optimizer).__name__}"


# (family, what the model really is) => kohya's name for it, and Stability's
DESCRIBED = {
    ("sd1", "epsilon", ""): ("sd_v1", "stable-diffusion-v1/lora"),
    ("sd2", "epsilon", ""): ("sd_v2", "stable-diffusion-v2-512/lora"),
    ("sd2", "v", ""): ("sd_v2_v", "stable-diffusion-v2-768-v/lora"),
    ("sdxl", "v", ""): ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
    ("flux", "flow", "dev"): ("flux1", "flux-1-dev/lora"),
    ("flux", "flow", "schnell"): ("flux1", "flux-1-schnell/lora"),
}


@pytest.mark.parametrize(("family", "prediction", "variant"), DESCRIBED)
def test_each_family_is_called_what_other_programs_look_for(family, prediction, variant, dataset, plan):
    from lora_nb.config_file import make_config

    config = make_config({"model": {"family": family, "base": "x"}})
    run = replace(RUN, prediction=prediction, variant=variant, zero_terminal_snr=prediction == "v")
    metadata = training_metadata(config, dataset, plan, run)
    expected = DESCRIBED[family, prediction, variant]
    assert (metadata["ss_base_model_version"], metadata["modelspec.architecture"]) == expected
    assert metadata["ss_v2"] == str(family == "sd2")
    assert metadata["ss_zero_terminal_snr"] == str(prediction == "v")
    assert metadata.get("modelspec.prediction_type") == (None if family == "flux" else prediction)
    if family == "flux":
        assert metadata["ss_timestep_sampling"] == "flux_shift"
        assert metadata["ss_model_prediction_type"] == "raw"
        assert metadata["ss_guidance_scale"] == ("1.0" if variant == "dev" else "None")
        assert metadata["ss_debiased_estimation"] == "False" and metadata["ss_noise_offset"] == "None"


@pytest.mark.parametrize(
    ("adapter", "module", "arguments"),
    [
        ({}, "networks.lora", None),
        ({"kind": "locon", "conv_rank": 4, "conv_alpha": 2}, "networks.lora", {"conv_dim": "4", "conv_alpha": "2.0"}),
        ({"kind": "loha", "module_dropout": 0.1}, "lycoris.kohya", {"algo": "loha", "module_dropout": "0.1"}),
        ({"kind": "lokr", "lokr_factor": 8}, "lycoris.kohya", {"algo": "lokr", "factor": "8"}),
        ({"kind": "dora"}, "lycoris.kohya", {"algo": "lora", "dora_wd": "True"}),
        ({"rank_stabilized": True}, "networks.lora", {"rs_lora": "True"}),
        ({"block_ranks": {"mid_block": 4}}, "networks.lora", {"block_dims": '{"mid_block": 4}'}),
    ],
)
def test_the_adapter_is_called_what_it_is(config, dataset, plan, adapter, module, arguments):
    values = config.model_dump()
    values["adapter"] |= adapter
    metadata = training_metadata(TrainConfig.model_validate(values), dataset, plan, RUN)
    assert metadata["ss_network_module"] == module
    assert json.loads(metadata.get("ss_network_args", "null")) == arguments


def test_the_ranks_of_the_file_are_written_not_those_asked_for(config, dataset, plan):
    metadata = training_metadata(config, dataset, plan, replace(RUN, rank="Dynamic", alpha="2.0"))
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("Dynamic", "2.0")
