"""Pictures: the same from the same settings, and the same as from plain diffusers."""

import logging
import random
import warnings

import numpy as np
import pytest
import torch

from lora_nb.adapters.attached import attach_lora
from lora_nb.adapters.files import read_lora
from lora_nb.config import GenerationConfig
from lora_nb.errors import ConfigError
from lora_nb.sampling import SAMPLERS, generate, generate_with_lora
from tests.adapters.helpers import add_trained, load_in_diffusers, save_trained

SETTINGS = GenerationConfig(prompt="a red cat", negative_prompt="blurry", steps=4, width=64, height=96, seed=5)


def draw(model, **changes):
    return np.asarray(generate(model, SETTINGS.model_copy(update=changes)), dtype=int)


def difference(one, other):
    return abs(one - other).max()


@pytest.fixture
def lora(tiny_sd1, tmp_path):
    return save_trained(tiny_sd1, tmp_path / "mochi.safetensors", rank=4, alpha=3.0, size=1.0)


def plain_pipeline(folder, sampler):
    """diffusers without any of our code, but for the choice of sampler."""
    import diffusers

    kinds = {
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
        "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
        "dpmpp_2m_karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        "ddim": (diffusers.DDIMScheduler, {}),
    }
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    kind, options = kinds[sampler]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    return pipeline


def draw_plain(pipeline, guidance_scale=7.0):
    picture = pipeline(
        SETTINGS.prompt,
        negative_prompt=SETTINGS.negative_prompt,
        num_inference_steps=SETTINGS.steps,
        guidance_scale=guidance_scale,
        width=SETTINGS.width,
        height=SETTINGS.height,
        generator=torch.Generator("cpu").manual_seed(SETTINGS.seed),
    ).images[0]
    return np.asarray(picture, dtype=int)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_equals_plain_diffusers(tiny_sd1, tiny_sd1_folder, sampler):
    expected = draw_plain(plain_pipeline(tiny_sd1_folder, sampler))
    assert expected.shape == (96, 64, 3)
    assert difference(draw(tiny_sd1, sampler=sampler), expected) <= 1


@pytest.mark.parametrize("both", [False, True], ids=["unet", "both parts"])
def test_a_lora_looks_the_same_as_in_plain_diffusers(tiny_sd1, tiny_sd1_folder, tmp_path, both):
    options = {"rank": 4, "alpha": 3.0, "size": 1.0, "train_text_encoder": both}
    lora = save_trained(tiny_sd1, tmp_path / "mochi.safetensors", **options)
    pipeline = plain_pipeline(tiny_sd1_folder, "euler")
    base = draw_plain(pipeline)
    load_in_diffusers(pipeline, lora)
    for weight in (0.5, 1.0):
        pipeline.set_adapters("theirs", weight)
        expected = draw_plain(pipeline)
        settings = SETTINGS.model_copy(update={"lora": lora, "lora_weight": weight})
        ours = np.asarray(generate_with_lora(tiny_sd1, settings), dtype=int)
        assert difference(ours, expected) <= 2
        assert difference(expected, base) > 10  # else this test would say nothing


def test_the_same_settings_give_the_same_picture(tiny_sd1):
    pictures = [draw(tiny_sd1, sampler="euler_a") for _ in range(2)]
    assert difference(*pictures) == 0
    assert difference(pictures[0], draw(tiny_sd1, sampler="euler_a", seed=6)) > 10


@pytest.mark.parametrize("changes", [{"prompt": "zebra"}, {"negative_prompt": "x"}, {"clip_skip": 2}, {"steps": 5}])
def test_every_setting_acts(tiny_sd1, changes):
    assert difference(draw(tiny_sd1), draw(tiny_sd1, **changes)) > 0


def test_guidance_1_does_without_the_negative_prompt(tiny_sd1, tiny_sd1_folder):
    sizes = []
    tiny_sd1.denoiser.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    picture = draw(tiny_sd1, guidance_scale=1.0)
    assert sizes == [1] * SETTINGS.steps
    assert difference(picture, draw(tiny_sd1, guidance_scale=1.0, negative_prompt="x")) == 0
    expected = draw_plain(plain_pipeline(tiny_sd1_folder, "euler"), guidance_scale=1.0)
    assert difference(picture, expected) <= 1


def test_drawing_leaves_all_chance_and_modes_as_they_were(tiny_sd1):
    def chance():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    add_trained(tiny_sd1)
    evaluating = draw(tiny_sd1)
    tiny_sd1.denoiser.train()
    tiny_sd1.denoiser.mid_block.eval()
    modes = [module.training for module in tiny_sd1.denoiser.modules()]
    tiny_sd1.denoiser.up_blocks[0].resnets[0].dropout.p = 0.9
    before = chance()
    training = draw(tiny_sd1, sampler="euler_a")
    assert chance() == before
    assert modes == [module.training for module in tiny_sd1.denoiser.modules()]
    assert difference(evaluating, draw(tiny_sd1)) == 0
    assert difference(training, draw(tiny_sd1, sampler="euler_a")) == 0
    assert torch.is_grad_enabled()


def test_the_trained_adapter_shows_in_full(tiny_sd1, lora):
    base = draw(tiny_sd1)
    attach_lora(tiny_sd1, read_lora(lora))
    attached = draw(tiny_sd1)
    generate_with_lora(tiny_sd1, SETTINGS)  # without a LoRA: takes it off again
    assert difference(draw(tiny_sd1), base) == 0
    add_trained(tiny_sd1, rank=4, alpha=3.0, size=1.0)
    assert difference(draw(tiny_sd1), attached) == 0
    assert all(parameter.grad is None for parameter in tiny_sd1.denoiser.parameters())


def test_a_lora_file_is_read_once_and_again_when_written_anew(tiny_sd1, lora, monkeypatch):
    from lora_nb import sampling

    reads = []
    monkeypatch.setattr(sampling, "read_lora", lambda path: reads.append(path) or read_lora(path))

    def draw_with(weight):
        settings = SETTINGS.model_copy(update={"lora": lora, "lora_weight": weight})
        return np.asarray(generate_with_lora(tiny_sd1, settings), dtype=int)

    pictures = [draw_with(weight) for weight in (0.0, 0.5, 1.0, 0.5)]
    assert reads == [lora]
    assert difference(pictures[0], draw_with(0.0)) == 0
    assert difference(pictures[1], pictures[3]) == 0
    assert difference(pictures[1], pictures[2]) > 0

    generate_with_lora(tiny_sd1, SETTINGS)
    save_trained(tiny_sd1, lora, rank=2, alpha=2.0, size=1.0, seed=3)
    assert difference(draw_with(1.0), pictures[2]) > 0
    assert len(reads) == 2


def test_weight_0_is_the_base_model(tiny_sd1, lora):
    base = draw(tiny_sd1)
    settings = SETTINGS.model_copy(update={"lora": lora, "lora_weight": 0.0})
    assert difference(np.asarray(generate_with_lora(tiny_sd1, settings), dtype=int), base) == 0


def test_a_size_that_the_model_cannot_draw_is_refused(tiny_sd1):
    tiny_sd1.size_step = 16
    with pytest.raises(ConfigError, match=r"width: 72 is not a multiple of 16\. Use (64|80)") as error:
        draw(tiny_sd1, width=72, height=88)
    assert len(error.value.problems) == 2


def test_drawing_says_nothing(tiny_sd1, capfd, caplog):
    tiny_sd1.scheduler_config |= {"steps_offset": 0, "clip_sample": True}  # diffusers deprecates both, at length
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__")  # between numpy and torch, shown to nobody
        for sampler in SAMPLERS:
            draw(tiny_sd1, sampler=sampler, prompt="x " * 100)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_draws_too(tiny_sd1, lora, precision):
    tiny_sd1.to(dtype=precision)
    settings = SETTINGS.model_copy(update={"lora": lora, "steps": 2})
    assert generate_with_lora(tiny_sd1, settings).size == (64, 96)
