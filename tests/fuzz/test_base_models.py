"""Base models that are damaged, foreign or lie: recognised, or refused by name before a weight is read."""

import json

import pytest

from lora_nb.config import ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.checkpoint import open_checkpoint
from lora_nb.models.file_source import FileSource
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.single_file import detect_kind
from lora_nb.models.sources import find_model, open_source
from tests.fuzz.contract import attempt, run_cases
from tests.fuzz.spoiling import damage, no_file, odd_json, odd_text
from tests.fuzz.weights import FOREIGN, lie, make_file

KEYS = (
    *(
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.decoder.conv_in.weight",
        "vae.decoder.conv_in.weight",
    ),
    *(
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
        "cond_stage_model.model.ln_final.weight",
    ),
    *(
        "conditioner.embedders.1.model.ln_final.weight",
        "conditioner.embedders.0.transformer.text_model.x",
        "v_pred",
        "ztsnr",
    ),
    *("double_blocks.0.img_attn.qkv.weight", "vector_in.in_layer.weight", "final_layer.linear.weight", "img_in.weight"),
    *("guidance_in.in_layer.weight", "model.diffusion_model.joint_blocks.0.x", "control_model.x", "x.scale_weight"),
    *("down_blocks.0.x", "decoder.conv_in.weight", "shared.weight", "lora_unet_x.lora_down.weight", "emb_params", ""),
)
SHAPES = ([4, 4], [2, 9], [8, 4, 3, 3], [], [0], [3], [2, 4, 1, 1])


def test_odd_checkpoints_are_recognised_or_refused(tmp_path):
    def case(chance, folder):
        path = folder / f"odd{chance.choice(['.safetensors'] * 9 + ['.ckpt'])}"
        path.write_bytes(odd_checkpoint(chance))
        outcome = attempt(lambda: detect_kind(open_checkpoint(path)), names=path.name, untouched=folder)
        attempt(
            lambda: open_source(ModelConfig(base=str(path))).check(("unet", "vae", "text_encoder")), names=path.name
        )
        attempt(lambda: FileSource(path).config("vae"), names=path.name)
        vae = ModelConfig(base="workshop", vae=str(path))
        attempt(lambda: open_source(vae).check(("vae",)), names=path.name, untouched=folder)
        return outcome.word

    run_cases("checkpoints", 300, case, tmp_path)


def test_odd_folders_are_recognised_or_refused(tmp_path):
    usual = json.dumps({"_class_name": "StableDiffusionPipeline", "latent_channels": 4}).encode()

    def case(chance, folder):
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            (folder / part).mkdir()
            name = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}.get(part, "config.json")
            put(chance, folder / part / name, odd_json(chance, usual) if chance.random() < 0.2 else usual)
            whole = make_file(chance, {"conv_in.weight": ("F32", [2, 2])})
            put(chance, folder / part / "model.safetensors", lie(chance, whole) if chance.random() < 0.2 else whole)
        put(chance, folder / "model_index.json", odd_json(chance, usual) if chance.random() < 0.3 else usual)
        source = FolderSource(folder)
        outcome = attempt(lambda: source.family, names=str(folder), untouched=folder)
        attempt(lambda: source.check(("unet", "vae", "text_encoder", "tokenizer", "scheduler")), names=str(folder))
        attempt(lambda: [source.config(part) for part in ("unet", "vae") if source.has_config(part)], names=str(folder))
        return outcome.word

    run_cases("model folders", 150, case, tmp_path)


def test_odd_places_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def case(chance, folder):
        base = odd_text(chance).replace("/", "") + chance.choice(["", "\0", "x" * 300, "\udcff"])
        return attempt(lambda: find_model(base)).word

    run_cases("places", 60, case, tmp_path)


def test_a_header_that_lies_is_found_before_a_weight_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    header = {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
    from tests.fuzz.weights import join

    path.write_bytes(join(header, bytes(24)))
    with pytest.raises(ModelError, match="its header does not fit its content"):
        open_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_config_of_a_folder_is_named(tmp_path, content):
    (tmp_path / "model_index.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model_index\.json is damaged"):
        open_source(ModelConfig(base=str(tmp_path))).family.upper()


def put(chance, path, content):
    """A file, or now and then none, or what is no file."""
    way = chance.random()
    if way < 0.03:
        no_file(chance, path)
    elif way < 0.95:
        path.write_bytes(content)


def odd_checkpoint(chance):
    if chance.random() < 0.06:
        return chance.choice(FOREIGN)
    keys = chance.sample(KEYS, chance.randrange(len(KEYS)))
    if chance.random() < 0.4:
        keys = [*KEYS[:4], *chance.sample(KEYS[4:9], 2)]
    metadata = chance.choice([None, {"modelspec.prediction_type": odd_text(chance)}, {"modelspec.architecture": "x"}])
    content = make_file(chance, {key: ("F32", chance.choice(SHAPES)) for key in keys}, metadata)
    return chance.choice(
        [lambda: content, lambda: content, lambda: lie(chance, content), lambda: damage(chance, content)]
    )()
