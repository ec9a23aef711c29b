"""A single checkpoint file: what it holds is told, and every part comes out as it went in."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from lora_nb.errors import ModelError
from lora_nb.models.file_source import CONFIGS, FileSource
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.layouts import clip_layout, flux_layout, open_clip_layout, unet_layout, vae_layout
from lora_nb.workshop import MODEL_FOLDER
from tests.models.original_files import save_original

SD1_PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
MILLIONS = {  # of weights, as the models' papers and cards say
    "sd1": {"unet": 859.5, "vae": 83.7, "text_encoder": 123.1},
    "sd2": {"unet": 865.9, "vae": 83.7, "text_encoder": 340.4},
    "sdxl": {"unet": 2567.5, "vae": 83.7, "text_encoder": 123.1, "text_encoder_2": 694.7},
    "flux_dev": {"transformer": 11901.4, "vae": 83.8, "text_encoder": 123.1, "text_encoder_2": 4762.3},
    "flux_schnell": {"transformer": 11891.2},
}
NETWORKS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "transformer": FluxTransformer2DModel,
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
    "T5EncoderModel": T5EncoderModel,
}


def layouts_of(family, source):
    """Where the original programs keep each part of a family."""
    if family == "flux":
        return {"transformer": flux_layout("")}
    layouts = {"unet": unet_layout(source.config("unet")), "vae": vae_layout(source.config("vae"))}
    encoders = {
        "sd1": {"text_encoder": clip_layout("cond_stage_model.transformer.")},
        "sd2": {"text_encoder": open_clip_layout("cond_stage_model.model.")},
        "sdxl": {
            "text_encoder": clip_layout("conditioner.embedders.0.transformer."),
            "text_encoder_2": open_clip_layout("conditioner.embedders.1.model."),
        },
    }
    return layouts | encoders[family]


def save_as_file(folder, path, family="sd1", **extra):
    """A folder in diffusers format as one file, and beside it the settings that say how it is built."""
    layouts = layouts_of(family, FolderSource(folder))
    files = {part: next((folder / part).glob("*.safetensors")) for part in layouts}
    parts = {part: (load_file(files[part]), layouts[part]) for part in layouts}
    for part in layouts:
        (path.with_suffix("") / part).mkdir(parents=True)
        shutil.copy(folder / part / "config.json", path.with_suffix("") / part)
    return save_original(path, parts, **extra)


@pytest.fixture
def sd1_file(tiny_sd1_folder, tmp_path):
    return save_as_file(tiny_sd1_folder, tmp_path / "tiny.safetensors")


@pytest.mark.parametrize("model", ["tiny", "workshop"])
def test_a_file_holds_what_its_folder_held(model, tiny_sd1_folder, tmp_path):
    folder = tiny_sd1_folder if model == "tiny" else MODEL_FOLDER
    source = FileSource(save_as_file(folder, tmp_path / "model.safetensors"))
    assert source.family == "sd1"
    for part, network in SD1_PARTS.items():
        expected = FolderSource(folder).load(part, network, torch.float32).state_dict()
        found = source.load(part, network, torch.float32)
        assert found.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
        assert not any(tensor.is_meta for tensor in [*found.parameters(), *found.buffers()])


def test_weights_come_in_the_precision_asked_for(sd1_file):
    unet = FileSource(sd1_file).load("unet", UNet2DConditionModel, torch.float16)
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.float16}


def test_a_network_from_a_file_computes_what_the_folders_does(sd1_file, tiny_sd1_folder):
    tokens = torch.tensor([[5, 6, 7, 8]])
    encoders = [
        source.load("text_encoder", CLIPTextModel, torch.float32)
        for source in (FileSource(sd1_file), FolderSource(tiny_sd1_folder))
    ]
    first, second = (encoder(tokens).last_hidden_state for encoder in encoders)
    assert torch.allclose(first, second, atol=1e-6)


def test_the_tokenizer_is_openais(sd1_file):
    tokenizer = FileSource(sd1_file).load_tokenizer("tokenizer", CLIPTokenizer)
    tokens = tokenizer(["a photo of a cat"], padding="max_length", max_length=77).input_ids[0]
    assert tokens[:8] == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]  # as in every Stable Diffusion


@pytest.mark.parametrize("edition", MILLIONS)
def test_the_packages_configs_make_models_of_the_known_size(edition):
    configs = json.loads((CONFIGS / f"{edition}.json").read_text())
    for part, millions in MILLIONS[edition].items():
        config = configs[part]
        network = NETWORKS.get(part) or NETWORKS[config["architectures"][0]]
        with torch.device("meta"):
            text = {"t5": T5Config, "clip_text_model": CLIPTextConfig}.get(config.get("model_type"))
            module = network(text.from_dict(config)) if text else network.from_config(config)
        assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def with_keys(path, shapes, metadata=None):
    """A file of empty weights: only names and shapes count here."""
    save_file({key: torch.zeros(shape, dtype=torch.int8) for key, shape in shapes.items()}, path, metadata)
    return path


UNET = "model.diffusion_model."
WHOLE = {f"{UNET}input_blocks.0.0.weight": (8, 4, 3, 3), "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}
SD1 = WHOLE | {"cond_stage_model.transformer.text_model.final_layer_norm.weight": (8,)}
SD2 = WHOLE | {"cond_stage_model.model.ln_final.weight": (8,)}
SDXL = WHOLE | {
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (8,),
    "conditioner.embedders.1.model.ln_final.weight": (8,),
}
FLUX = {
    "double_blocks.0.img_attn.qkv.weight": (24, 8),
    "vector_in.in_layer.weight": (8, 8),
    "img_in.weight": (8, 64),
    "final_layer.linear.weight": (64, 8),
}


@pytest.mark.parametrize(
    ("shapes", "metadata", "family", "prediction", "zero_snr"),
    [
        (SD1, None, "sd1", "epsilon", False),
        (SD2, None, "sd2", "v_prediction", False),
        (SD2, {"modelspec.architecture": "stable-diffusion-v2-512"}, "sd2", "epsilon", False),
        (SD2, {"modelspec.prediction_type": "epsilon"}, "sd2", "epsilon", False),
        (SDXL, None, "sdxl", "epsilon", False),
        (SDXL | {"v_pred": (0,)}, None, "sdxl", "v_prediction", False),
        (SDXL | {"v_pred": (0,), "ztsnr": (0,)}, None, "sdxl", "v_prediction", True),
    ],
)
def test_family_and_prediction_are_told_from_the_keys(tmp_path, shapes, metadata, family, prediction, zero_snr):
    source = FileSource(with_keys(tmp_path / "model.safetensors", shapes, metadata))
    scheduler = source.config("scheduler")
    assert (source.family, scheduler["prediction_type"]) == (family, prediction)
    assert scheduler["rescale_betas_zero_snr"] is zero_snr


@pytest.mark.parametrize("prefix", ["", UNET])
@pytest.mark.parametrize("guided", [True, False])
def test_flux_dev_is_told_from_schnell(tmp_path, prefix, guided):
    shapes = FLUX | ({"guidance_in.in_layer.weight": (8, 8)} if guided else {})
    path = with_keys(tmp_path / "flux.safetensors", {prefix + key: shape for key, shape in shapes.items()})
    source = FileSource(path)
    assert source.family == "flux"
    assert source.config("transformer")["guidance_embeds"] is guided
    assert source.config("scheduler")["use_dynamic_shifting"] is guided


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({**SD1, f"{UNET}input_blocks.0.0.weight": (8, 9, 3, 3)}, "9 channels.*inpainting"),
        ({**FLUX, "img_in.weight": (8, 384)}, "384 channels.*filling"),
        ({**FLUX, "double_blocks.0.img_attn.qkv.scale_weight": (1,)}, "quantised"),
        ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (8, 8)}, "Stable Diffusion 3"),
        ({"lora_unet_down_blocks_0.lora_down.weight": (4, 8)}, "is a LoRA"),
        ({"control_model.time_embed.0.weight": (4, 8)}, "ControlNet"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3)}, r"only a VAE.*model\.vae"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}, "only a text encoder"),
        ({"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}, "diffusers format.*folder"),
        ({"emb_params": (8, 768)}, "embedding"),
        (WHOLE, "no text encoder"),
        ({key: shape for key, shape in SD1.items() if "stage_model.d" not in key}, "no VAE"),
        (WHOLE | {"conditioner.embedders.0.model.ln_final.weight": (8,)}, "refiner"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_a_clear_word(tmp_path, shapes, words):
    with pytest.raises(ModelError, match=words):
        FileSource(with_keys(tmp_path / "model.safetensors", shapes))


def test_what_flux_needs_besides_its_file_is_said(tmp_path):
    source = FileSource(with_keys(tmp_path / "flux.safetensors", FLUX))
    with pytest.raises(ModelError, match=r"no vae, no text_encoder, no text_encoder_2, no tokenizer_2.*other_parts"):
        source.check(("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Log in</html>", "web page"),
        (b"PK\x03\x04 whatever", "pickled"),
        (b"", "empty"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00not any JSON.....", "damaged"),
    ],
)
def test_files_that_are_no_models_are_explained(tmp_path, content, words):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        FileSource(path)


def test_a_file_that_was_cut_off_is_reported_before_it_is_read(sd1_file):
    sd1_file.write_bytes(sd1_file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="100 bytes are missing"):
        FileSource(sd1_file)


def test_a_model_of_an_unusual_shape_asks_for_its_configs(sd1_file):
    shutil.rmtree(sd1_file.with_suffix(""))
    with pytest.raises(ModelError, match=r"unusual shape.*folder named 'tiny' beside it"):
        FileSource(sd1_file).load("unet", UNet2DConditionModel, torch.float32)


def test_pickled_checkpoints_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "model.ckpt"
    path.touch()
    with pytest.raises(ModelError, match=r"pickled checkpoint.*\.safetensors"):
        FileSource(path)
