from pathlib import Path
from typing import Any, get_args

import pytest

from lora_nb.adapters.attached import attach_lora
from lora_nb.adapters.files import read_lora, save_lora
from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.config import AdapterConfig, GenerationConfig, Sampler
from lora_nb.evaluation.cells import SAMPLER_NAMES, Recipe, hash_file, model_fingerprint
from lora_nb.evaluation.grids import Cell, draw_grid, epoch_weight_plan
from tests.evaluation.painter import make_model


def train_nothing(model: Any, path: Path) -> Path:
    """A LoRA file of a model, with a visible effect."""
    for parameters in add_adapter(model, AdapterConfig(rank=2, alpha=2), seed=1).values():
        for parameter in parameters:
            parameter.data.fill_(0.3)
    save_lora(model, path, precision="fp32", metadata={"ss_epoch": "1"})
    remove_adapter(model)
    return path


def test_every_sampler_has_its_name_in_a1111() -> None:
    assert set(SAMPLER_NAMES) == set(get_args(Sampler))


def test_key_depends_on_everything_that_decides_the_picture() -> None:
    settings = GenerationConfig(prompt="a")
    words = {"prompt": "b", "negative_prompt": "b", "sampler": "ddim", "weighted_captions": True}
    numbers = {
        "steps": 3,
        "guidance_scale": 2.0,
        "width": 64,
        "height": 64,
        "seed": 9,
        "clip_skip": 2,
        "lora_weight": 0.5,
        "max_tokens": 150,
        "guidance_rescale": 0.7,
    }
    assert {*words, *numbers, "lora"} == set(GenerationConfig.model_fields)
    changed = [settings.model_copy(update={name: value}) for name, value in {**words, **numbers}.items()]
    facts = [("", "base", "f"), ("0f", "base", "f"), ("", "other", "f"), ("", "base", "g")]
    recipes = [Recipe(settings, *each) for each in facts] + [Recipe(each, *facts[0]) for each in changed]
    assert len({recipe.key for recipe in recipes}) == len(recipes)


def test_key_stays_the_same_from_one_process_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    recipe = Recipe(GenerationConfig(prompt="a", lora=Path("x.safetensors")), "0f", "base", "f")
    assert recipe.key == Recipe(GenerationConfig(prompt="a", lora=Path("y.safetensors")), "0f", "base", "f").key
    assert len(recipe.key) == 64


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("part", ["denoiser", "vae", "text_encoder"])
def test_fingerprint_sees_a_change_in_any_part(part: str) -> None:
    model = make_model()
    before = model_fingerprint(model)
    changed = model.text_encoders["lora_te"] if part == "text_encoder" else getattr(model, part)
    changed.weight.data += 0.001
    assert model_fingerprint(model) != before == model_fingerprint(make_model())


def test_fingerprint_is_blind_to_an_attached_lora_but_not_to_one_in_training(tiny_sd1: Any, tmp_path: Path) -> None:
    before = model_fingerprint(tiny_sd1)
    file = train_nothing(tiny_sd1, tmp_path / "a.safetensors")
    assert model_fingerprint(tiny_sd1) == before
    attach_lora(tiny_sd1, read_lora(file))
    assert model_fingerprint(tiny_sd1) == before
    add_adapter(tiny_sd1, AdapterConfig(rank=2, alpha=2), seed=1)
    assert model_fingerprint(tiny_sd1) != before


def test_a_real_model_draws_a_grid_in_which_the_lora_acts_by_its_weight(tiny_sd1: Any, tmp_path: Path) -> None:
    file = train_nothing(tiny_sd1, tmp_path / "mochi.safetensors")
    settings = GenerationConfig(width=64, height=64, steps=2)
    plan = epoch_weight_plan([file], [0.0, 0.5, 1.0], ["mochi"], settings)
    grid = draw_grid(tiny_sd1, plan, tmp_path)
    pictures = {cell: image.tobytes() for cell, image in grid.images.items()}
    assert pictures[Cell(0, 0, 1)] == pictures[Cell(0, 0, 0)]
    assert len(set(pictures.values())) == 3
