"""LoRA files of any program, and what only claims to be one: applied rightly, or refused by name."""

import json
import math

import pytest
import torch

from lora_nb.adapters.files import lora_summary, read_lora
from lora_nb.errors import LoraFileError
from lora_nb.kohya.reading import read_kohya_file
from tests.fuzz.contract import attempt, run_cases
from tests.fuzz.spoiling import damage, no_file, odd_text
from tests.fuzz.weights import FOREIGN, lie, make_file

LAYERS = ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_te2_x")
OTHER_KEYS = (
    *("lora_unet_x.lora_mid.weight", "lora_unet_x.diff_b", "lora_unet_x.lora_A.weight", "emb_params", "x" * 5000),
    *("model.diffusion_model.input_blocks.0.0.weight", "unet.down_blocks.0.lora.up.weight", "", ".", "a.b", "é.alpha"),
)


def test_odd_lora_files_are_applied_or_refused(tmp_path):
    def case(chance, folder):
        path = folder / "odd.safetensors"
        path.write_bytes(odd_lora(chance))
        return tell_outcome(path)

    run_cases("lora files", 450, case, tmp_path)


def test_what_is_no_file_is_refused(tmp_path):
    def case(chance, folder):
        no_file(chance, folder / "odd.safetensors")
        return tell_outcome(folder / "odd.safetensors")

    run_cases("no lora files", 20, case, tmp_path)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 1j])
def test_an_alpha_that_is_no_strength_is_refused(tmp_path, alpha):
    from safetensors.torch import save_file

    tensors = {"lora_unet_x.lora_down.weight": torch.ones(2, 3), "lora_unet_x.lora_up.weight": torch.ones(3, 2)}
    save_file(tensors | {"lora_unet_x.alpha": torch.tensor(alpha)}, tmp_path / "a.safetensors")
    with pytest.raises(LoraFileError, match="the alpha of lora_unet_x"):
        read_lora(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_matrices_of_whole_numbers_are_refused(tmp_path, dtype):
    from safetensors.torch import save_file

    tensors = {"lora_unet_x.lora_down.weight": torch.ones(2, 3), "lora_unet_x.lora_up.weight": torch.ones(3, 2)}
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    with pytest.raises(LoraFileError, match="no real numbers"):
        read_lora(tmp_path / "a.safetensors")


def test_matrices_whose_product_has_another_size_are_refused(tmp_path):
    from safetensors.torch import save_file

    tensors = {"lora_unet_x.lora_down.weight": torch.ones(2, 3), "lora_unet_x.lora_up.weight": torch.ones(3, 2, 3, 3)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(LoraFileError, match="do not fit each other"):
        read_lora(tmp_path / "a.safetensors")


def tell_outcome(path):
    """What is read can be multiplied and summed up; a Kohya import of the same file keeps the contract, too."""
    outcome = attempt(lambda: read_lora(path), names=path.name, untouched=path.parent)
    attempt(lambda: read_kohya_file(path), names=path.name, untouched=path.parent)
    if outcome.result:
        for module in outcome.result.modules.values():
            assert module.delta(torch.ones(module.size)).shape == module.size
            assert math.isfinite(module.scale)
        json.dumps(lora_summary(outcome.result), allow_nan=False)
    return outcome.word


def odd_lora(chance):
    if chance.random() < 0.05:
        return chance.choice(FOREIGN)
    metadata = chance.choice(
        [None, {}, {"ss_network_dim": "4", "ss_tag_frequency": "{", odd_text(chance): odd_text(chance)}]
    )
    content = make_file(chance, odd_layers(chance), metadata)
    return chance.choice([lambda: content, lambda: lie(chance, content), lambda: damage(chance, content)])()


def odd_layers(chance):
    entries = {}
    for layer in chance.sample(LAYERS, chance.randrange(4)):
        entries |= {f"{layer}.{name}": entry for name, entry in odd_layer(chance).items()}
    if chance.random() < 0.15:
        entries[chance.choice(OTHER_KEYS)] = ("F32", [2])
    for name in list(entries):
        dtype, shape = entries[name]
        if chance.random() < 0.04:
            del entries[name]
        elif chance.random() < 0.04:
            entries[name] = (chance.choice(["F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "C64"]), shape)
        elif chance.random() < 0.06:
            entries[name] = (
                dtype,
                chance.choice([[], [1], [0], [3, 0], [*shape, 1], shape[1:], shape[::-1], [5, 5], [1, 2, 3]]),
            )
    return entries


def odd_layer(chance):
    """One layer of a random kind, whole."""
    rank, rows, columns = chance.randrange(1, 5), chance.randrange(1, 7), chance.randrange(1, 7)
    kernel, alpha = chance.choice([[], [1, 1], [3, 3]]), {"alpha": ("F32", chance.choice([[], [1]]))}
    plain = {
        "lora_down.weight": ("F32", [rank, columns, *kernel]),
        "lora_up.weight": ("F32", [rows, rank, *[1 for _ in kernel]]),
    }
    kinds = [
        plain,
        plain | {"dora_scale": ("F32", [rows, 1, *[1 for _ in kernel]])},
        {
            name: ("F32", [rows, rank] if name.endswith("a") else [rank, columns])
            for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        },
        {"lokr_w1": ("F32", [rows, columns]), "lokr_w2": ("F32", [columns, rows, *kernel])},
        {
            "lokr_w1": ("F32", [rows, columns]),
            "lokr_w2_a": ("F32", [columns, rank]),
            "lokr_w2_b": ("F32", [rank, rows]),
        },
    ]
    return chance.choice(kinds) | (alpha if chance.random() < 0.7 else {})
