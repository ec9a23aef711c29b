"""Where models are looked for, and which of their parts come from where."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_nb.config import ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.base import load_model
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.layouts import vae_layout
from lora_nb.models.sources import find_model
from lora_nb.workshop import MODEL_FOLDER
from tests.models.original_files import save_original
from tests.models.stub_server import Stub
from tests.models.test_file_source import save_as_file


def load(base, **settings):
    return load_model(ModelConfig(base=str(base), **settings))


def weights(module):
    return module.state_dict()


def same(first, second):
    first, second = weights(first), weights(second)
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_makes_the_same_model_as_its_folder(family, request, tmp_path):
    place = request.getfixturevalue(f"tiny_{family}_folder")
    folder = load(place, family=family)
    file = load(save_as_file(place, tmp_path / "tiny.safetensors", family), family=family)
    assert all(same(getattr(file, part), getattr(folder, part)) for part in ("denoiser", "vae"))
    assert file.text_encoders.keys() == folder.text_encoders.keys()
    assert all(same(file.text_encoders[prefix], folder.text_encoders[prefix]) for prefix in folder.text_encoders)
    assert file.objective.prediction == folder.objective.prediction
    assert torch.equal(file.objective.alphas_cumprod, folder.objective.alphas_cumprod)


def test_a_single_flux_file_takes_its_other_parts_from_a_folder(tiny_flux_folder, tmp_path):
    path = save_as_file(tiny_flux_folder, tmp_path / "tiny.safetensors", "flux")
    file = load(path, family="flux", other_parts=str(tiny_flux_folder))
    folder = load(tiny_flux_folder, family="flux")
    assert all(same(getattr(file, part), getattr(folder, part)) for part in ("denoiser", "vae"))
    assert same(file.text_encoders["lora_te1"], folder.text_encoders["lora_te1"])
    assert same(file.frozen_text_encoders["t5"], folder.frozen_text_encoders["t5"])
    assert file.variant == folder.variant


def test_noobais_marks_make_an_sdxl_predict_v_down_to_pure_noise(tiny_sdxl_folder, tmp_path):
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    model = load(save_as_file(tiny_sdxl_folder, tmp_path / "noob.safetensors", "sdxl", **marks), family="sdxl")
    assert model.objective.prediction == "v" and model.objective.zero_terminal_snr


def test_another_family_is_named_with_the_setting_that_mends_it(tiny_sd1_folder, tmp_path):
    with pytest.raises(ModelError, match=r"Stable Diffusion 1\.x.*Set model\.family to sd1"):
        load(save_as_file(tiny_sd1_folder, tmp_path / "tiny.safetensors"), family="sd2")


@pytest.fixture
def other_vae(tiny_sd1_folder, tmp_path):
    """A folder of a VAE alone, with all weights changed."""
    folder = shutil.copytree(tiny_sd1_folder / "vae", tmp_path / "other_vae")
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    return folder


@pytest.mark.parametrize("form", ["folder", "model", "diffusers file", "original file"])
def test_another_vae_takes_the_place_of_the_models_own(form, tiny_sd1_folder, other_vae, tmp_path):
    place = other_vae
    if form == "model":
        place = shutil.copytree(other_vae, tmp_path / "model" / "vae").parent
    elif form == "diffusers file":
        place = other_vae / "diffusion_pytorch_model.safetensors"
    elif form == "original file":
        tensors = load_file(other_vae / "diffusion_pytorch_model.safetensors")
        layout = vae_layout(FolderSource(tiny_sd1_folder).config("vae"), "")
        place = save_original(tmp_path / "vae.safetensors", {"vae": (tensors, layout)})
    model, plain = load(tiny_sd1_folder, vae=str(place)), load(tiny_sd1_folder)
    expected = load_file(other_vae / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in weights(model.vae).items())
    assert same(model.denoiser, plain.denoiser)


def test_a_vae_of_another_kind_is_refused(tiny_sd1_folder, tmp_path):
    path = tmp_path / "vae.safetensors"
    save_file({"unrelated": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="holds no VAE"):
        load(tiny_sd1_folder, vae=str(path))


def test_what_is_nowhere_is_said_with_all_that_can_be_given(tmp_path):
    with pytest.raises(ModelError, match=r"no model at.*folder.*\.safetensors checkpoint.*hub.*civitai"):
        find_model(str(tmp_path / "nothing" / "here"))
    with pytest.raises(ModelError, match="no model at"):
        find_model("models/missing.safetensors")


def test_pickled_checkpoints_are_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.touch()
    with pytest.raises(ModelError, match=r"pickled.*edition of the model in \.safetensors"):
        load(path)


def test_the_small_model_is_found():
    assert find_model("workshop") == MODEL_FOLDER


@pytest.fixture
def stub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    stub = Stub()
    monkeypatch.setenv("HF_ENDPOINT", stub.url)
    monkeypatch.setenv("CIVITAI_ENDPOINT", stub.url)
    monkeypatch.setenv("LORA_NB_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield stub
    stub.close()


def test_a_model_on_the_hub_is_loaded_by_its_name(stub, tiny_sd1_folder):
    files = {str(path.relative_to(tiny_sd1_folder)): path for path in tiny_sd1_folder.rglob("*") if path.is_file()}
    stub.add_hub_model("owner/name", {name: path.read_bytes() for name, path in files.items()})
    model = load("owner/name")
    assert model.base == "owner/name"
    assert same(model.denoiser, load(tiny_sd1_folder).denoiser)


def test_a_model_on_civitai_is_loaded_by_its_address(stub, tiny_sd1_folder, tmp_path):
    stub.add_civitai_model(12, save_as_file(tiny_sd1_folder, tmp_path / "tiny.safetensors").read_bytes())
    shutil.copytree(tmp_path / "tiny", tmp_path / "models" / "civitai" / "12" / "good model")  # how it is built
    model = load("https://civitai.com/models/7?modelVersionId=12")
    assert same(model.denoiser, load(tiny_sd1_folder).denoiser)
