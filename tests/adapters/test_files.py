"""LoRA files: what we write, what we read of others, and what we refuse."""

import hashlib
import json
import re
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_nb.adapters.files import lora_summary, make_hashes, read_lora, save_lora
from lora_nb.adapters.layers import TRAINED
from lora_nb.errors import LoraFileError
from tests.adapters.helpers import add_trained, deltas_of, load_in_diffusers, save_trained

ONE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mochi.safetensors"


def small_file(path, changes=None, metadata=None):
    """A file with one layer, rank 4 and alpha 1, as another program may write it."""
    tensors = {
        f"{ONE}.lora_down.weight": torch.ones(4, 64),
        f"{ONE}.lora_up.weight": torch.ones(64, 4),
        f"{ONE}.alpha": torch.tensor(1.0),
    }
    tensors |= changes or {}
    save_file({key: value for key, value in tensors.items() if value is not None}, path, metadata)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_everything_is_stored_in_the_precision_asked_for(tiny_sd1, path, precision):
    save_trained(tiny_sd1, path, precision, alpha=3.0)
    tensors = load_file(path)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    alphas = [tensor for key, tensor in tensors.items() if key.endswith(".alpha")]
    assert len(alphas) == 48 + 18 == len(tensors) / 3
    assert all(alpha.shape == () and alpha == 3 for alpha in alphas)


def test_saved_file_reads_back_to_the_same_delta(tiny_sd1, path):
    add_trained(tiny_sd1, rank=4, alpha=3.0)
    expected = deltas_of(tiny_sd1, TRAINED)
    save_lora(tiny_sd1, path, precision="fp32", metadata={})
    modules = read_lora(path).modules
    assert modules.keys() == expected.keys()
    for key, module in modules.items():
        torch.testing.assert_close(module.delta(), expected[key].flatten(1), atol=1e-6, rtol=0)


def test_hashes_are_of_the_tensors_as_kohya_computes_them(tiny_sd1, path):
    metadata = {"ss_output_name": "mochi", "modelspec.title": "mochi"}
    save_trained(tiny_sd1, path, metadata=metadata)
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    found = read_lora(path).metadata
    assert found["sshs_model_hash"] == hashlib.sha256(content[start:]).hexdigest()
    assert re.fullmatch("[0-9a-f]{8}", found["sshs_legacy_hash"])
    assert found.items() >= metadata.items()


def test_hashes_do_not_depend_on_the_title():
    tensors = {"a.alpha": torch.zeros(300_000)}  # longer than 1 MiB, where the old hash begins
    plain = make_hashes(tensors, {"ss_epoch": "1"})
    assert make_hashes(tensors, {"ss_epoch": "1", "modelspec.title": "x"}) == plain
    assert (
        make_hashes({"a.alpha": torch.ones(300_000)}, {"ss_epoch": "1"})["sshs_model_hash"] != plain["sshs_model_hash"]
    )
    assert plain["sshs_legacy_hash"] != hashlib.sha256(b"").hexdigest()[:8]


def test_saving_without_an_adapter_is_refused(tiny_sd1, path):
    with pytest.raises(LoraFileError, match="add_adapter"):
        save_lora(tiny_sd1, path, precision="fp16", metadata={})
    assert not path.exists()


def test_missing_alpha_means_rank(path):
    assert read_lora(small_file(path, {f"{ONE}.alpha": None})).modules[ONE].alpha == 4


def test_half_precision_and_one_element_alpha_are_read(path):
    for dtype in (torch.float16, torch.bfloat16):
        small_file(
            path,
            {f"{ONE}.alpha": torch.tensor([2.0], dtype=dtype), f"{ONE}.lora_up.weight": torch.ones(64, 4).to(dtype)},
        )
        module = read_lora(path).modules[ONE]
        assert (module.alpha, module.rank) == (2, 4)
        assert module.delta().dtype == torch.float32
        assert torch.equal(module.delta(), torch.full((64, 64), 2.0))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("unet.down_blocks.0.attentions.0.proj_in.lora_A.weight", "diffusers"),
        ("unet.mid_block.attentions.0.to_q.lora.down.weight", "diffusers"),
        ("base_model.model.to_q.lora_A.weight", "diffusers"),
        (f"{ONE}.hada_t1", "Tucker"),
        (f"{ONE}.lokr_t2", "Tucker"),
        (f"{ONE}.lora_mid.weight", "Tucker"),
        (f"{ONE}.oft_blocks", "LyCORIS"),
        (f"{ONE}.diff", "LyCORIS"),
        ("base_model.model.to_q.lora_magnitude_vector", "DoRA"),
        ("model.diffusion_model.input_blocks.0.0.weight", "whole model"),
        ("emb_params", "textual inversion"),
        ("something.else", "something else"),
    ],
)
def test_other_formats_are_named(path, key, kind):
    with pytest.raises(LoraFileError, match=rf"(?s){re.escape(key)}.*{kind}"):
        read_lora(small_file(path, {key: torch.ones(4, 4)}))


def test_an_empty_file_is_refused(path):
    save_file({}, path)
    with pytest.raises(LoraFileError, match="empty"):
        read_lora(path)


def test_half_of_a_layer_is_refused(path):
    with pytest.raises(LoraFileError, match=f"lacks.*{ONE}"):
        read_lora(small_file(path, {f"{ONE}.lora_up.weight": None}))


@pytest.mark.parametrize(
    "change",
    [
        {f"{ONE}.lora_up.weight": torch.ones(64, 3)},
        {f"{ONE}.lora_down.weight": torch.ones(64)},
        {f"{ONE}.lora_down.weight": torch.ones(0, 64), f"{ONE}.lora_up.weight": torch.ones(64, 0)},
        {f"{ONE}.alpha": torch.ones(2)},
    ],
)
def test_matrices_that_do_not_fit_are_refused(path, change):
    with pytest.raises(LoraFileError, match="do not fit"):
        read_lora(small_file(path, change))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LoraFileError, match=r"no LoRA file.*nothing\.safetensors"):
        read_lora(tmp_path / "nothing.safetensors")


def test_damaged_files_are_refused(path):
    good = small_file(path).read_bytes()
    length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + length])
    header[f"{ONE}.alpha"]["data_offsets"] = [0, 10**9]  # says that there is more than there is
    lying = json.dumps(header).encode()
    broken = {
        "nothing": b"",
        "too short": good[:5],
        "cut in the header": good[: length // 2],
        "cut in the tensors": good[:-10],
        "a header longer than the file": struct.pack("<Q", 10**12) + good[8:],
        "offsets beyond the end": struct.pack("<Q", len(lying)) + lying + good[8 + length :],
        "not a header": b"\x10\0\0\0\0\0\0\0" + b"not json at all!" + good,
        "a pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.",
        "a web page": b"<!DOCTYPE html><html>Log in to download</html>",
    }
    for content in broken.values():
        path.write_bytes(content)
        with pytest.raises(LoraFileError, match="damaged"):
            read_lora(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LoraFileError):
        read_lora(path)


def test_summary_tells_what_is_inside(tiny_sd1, path):
    metadata = {"modelspec.trigger_phrase": "mochi, cat ears", "ss_epoch": "3"}
    save_trained(tiny_sd1, path, "fp16", metadata, rank=4, alpha=2)
    summary = lora_summary(read_lora(path))
    assert summary["modules"] == 66
    assert summary["modules_by_part"] == {"lora_te": 18, "lora_unet": 48}
    assert summary["ranks"] == {"4": 66}
    assert summary["alphas"] == {"2": 66}
    assert summary["precision"] == "float16"
    assert summary["trigger_words"] == ["mochi", "cat ears"]
    assert summary["family"] == "Stable Diffusion 1.x or 2.x"
    assert summary["metadata"]["ss_epoch"] == "3"
    assert summary["size_mb"] == round(path.stat().st_size / 1e6, 2)
    json.dumps(summary)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lora_unet_input_blocks_4_1_proj_in", "Stable Diffusion XL"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "Stable Diffusion XL"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "Flux"),
        ("lora_unet_strange", "unknown"),
    ],
)
def test_the_family_is_told_by_the_names(path, name, family):
    save_file({f"{name}.lora_down.weight": torch.ones(4, 8), f"{name}.lora_up.weight": torch.ones(8, 4)}, path)
    assert lora_summary(read_lora(path))["family"] == family


@pytest.mark.parametrize("both", [False, True], ids=["unet", "both parts"])
def test_plain_diffusers_loads_the_file_with_the_same_delta(tiny_sd1, tiny_sd1_folder, path, both):
    from diffusers import StableDiffusionPipeline
    from peft.tuners.lora import LoraLayer

    save_trained(tiny_sd1, path, rank=4, alpha=3.0, train_text_encoder=both)
    expected = {key: module.delta() for key, module in read_lora(path).modules.items()}
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd1_folder)
    load_in_diffusers(pipeline, path)
    found = {}
    for prefix, part in {"lora_unet": pipeline.unet, "lora_te": pipeline.text_encoder}.items():
        for name, layer in part.named_modules():
            if isinstance(layer, LoraLayer):
                found[tiny_sd1.key_name(prefix, name)] = layer.get_delta_weight("theirs").flatten(1)
    assert found.keys() == expected.keys()
    for key, delta in found.items():
        torch.testing.assert_close(delta, expected[key], atol=1e-6, rtol=0)


def test_the_file_is_open_to_any_reader_at_once(tiny_sd1, path):
    save_trained(tiny_sd1, path, metadata={"ss_tag_frequency": '{"12_möchi": {"帽子": 3}}'})
    with safe_open(path, framework="pt") as file:
        assert "möchi" in file.metadata()["ss_tag_frequency"]
