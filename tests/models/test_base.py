"""Finding and loading models: what is refused, and in which words."""

import json
import shutil

import pytest
import torch

from lora_nb.config import ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.base import load_model


@pytest.fixture
def folder(tiny_sd1_folder, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_sd1_folder, tmp_path / "model")


def load(folder, **options):
    return load_model(ModelConfig(base=str(folder)), **options)


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_every_missing_component_is_named(folder, name):
    shutil.rmtree(folder / name)
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(ModelError, match=rf"scheduler/scheduler_config.json.*{name}/config.json"):
        load(folder)


def test_missing_weights_are_named(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"unet/\*\.safetensors"):
        load(folder)


def test_pickled_weights_are_refused_with_the_way_out(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"(?i)pickle.*save_pretrained"):
        load(folder)


def test_damaged_weights_are_reported(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ModelError, match="damaged"):
        load(folder)


def test_what_a_model_predicts_is_read_from_it(folder):
    assert load(folder).objective.prediction == "epsilon"
    change_json(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert load(folder).objective.prediction == "v"
    change_json(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    with pytest.raises(ModelError, match="'sample'"):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "word"), [("StableDiffusionXLPipeline", "StableDiffusionXL"), ("FluxPipeline", "Flux")]
)
def test_another_family_is_refused_before_its_parts_are_looked_for(folder, kind, word):
    change_json(folder / "model_index.json", _class_name=kind)
    shutil.rmtree(folder / "unet")
    with pytest.raises(ModelError, match=rf"{word}.*sd1"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "word"), [({"in_channels": 9}, "inpainting"), ({"use_linear_projection": True}, "family to sd2")]
)
def test_another_kind_of_unet_is_refused(folder, change, word):
    change_json(folder / "unet" / "config.json", **change)
    with pytest.raises(ModelError, match=word):
        load(folder)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model_index\.json missing"):
        load(tmp_path)


def test_fp16_variant_files_are_found(folder):
    for name in ("unet", "vae", "text_encoder"):
        for file in (folder / name).glob("*.safetensors"):
            file.rename(file.with_suffix(".fp16.safetensors"))
    assert load(folder).denoiser.conv_in.weight.dtype == torch.float32


def test_each_part_has_the_precision_asked_for(folder):
    model = load(folder, precision="bf16")
    parts = (model.denoiser, model.vae, *model.text_encoders.values())
    assert {parameter.dtype for part in parts for parameter in part.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for part in parts for parameter in part.parameters())
    prediction = model.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), model.encode_captions(["a"]))
    assert prediction.dtype == torch.bfloat16
