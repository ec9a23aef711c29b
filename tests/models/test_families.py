"""The whole road with a tiny model of every family: train, save, read back, load in plain diffusers, draw."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_nb.adapters.attached import attach_lora, detach_lora
from lora_nb.adapters.files import read_lora
from lora_nb.adapters.layers import ATTACHED, TRAINED
from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.config_file import make_config
from lora_nb.models.base import load_model
from lora_nb.sampling import SAMPLERS, generate, generate_with_lora
from lora_nb.training.runs import train_project
from tests.adapters.helpers import add_trained, deltas_of, load_in_diffusers, save_trained
from tests.training.conftest import project  # noqa: F401

FAMILIES = ["sd2", "sdxl", "flux"]
MODEL_OPTIONS = {"flux": {"t5_tokens": 32}}


@pytest.fixture(params=FAMILIES)
def folder(request) -> Path:
    return request.getfixturevalue(f"tiny_{request.param}_folder")


@pytest.fixture
def family(folder):
    return folder.name.removeprefix("tiny_")


@pytest.fixture
def model(folder, family):
    return load_model(ModelConfig(family=family, base=str(folder), **MODEL_OPTIONS.get(family, {})))


def settings_for(family, **changes):
    settings = {"prompt": "a red cat", "steps": 4, "width": 64, "height": 96, "seed": 5}
    if family == "flux":
        settings |= {"guidance_scale": 3.5}
    else:
        settings |= {"negative_prompt": "blurry", "guidance_scale": 5.0}
    return GenerationConfig(**(settings | changes))


def draw_plain(pipeline, settings):
    """diffusers without any of our code."""
    is_flux = type(pipeline).__name__ == "FluxPipeline"
    options = {"max_sequence_length": 32} if is_flux else {"negative_prompt": settings.negative_prompt}
    options |= {} if is_flux else {"guidance_rescale": settings.guidance_rescale}
    picture = pipeline(
        settings.prompt,
        **options,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        width=settings.width,
        height=settings.height,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
    ).images[0]
    return np.asarray(picture, dtype=int)


def plain_pipeline(folder, family):
    import diffusers

    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if family != "flux":
        pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    return pipeline


@pytest.fixture(autouse=True)
def converter_for_small_flux(monkeypatch):
    """diffusers' reader of Flux LoRAs has the real model's width written into it: put the tiny one's there."""
    from diffusers.loaders import lora_conversion_utils, lora_pipeline

    source = inspect.getsource(lora_conversion_utils._convert_kohya_flux_lora_to_diffusers)
    assert "[3072, 3072, 3072, 12288]" in source
    scope = vars(lora_conversion_utils).copy()
    exec(source.replace("[3072, 3072, 3072, 12288]", "[32, 32, 32, 128]"), scope)
    monkeypatch.setattr(
        lora_pipeline, "_convert_kohya_flux_lora_to_diffusers", scope["_convert_kohya_flux_lora_to_diffusers"]
    )


def difference(one, other):
    return abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()


def test_a_lora_looks_the_same_as_in_plain_diffusers(model, family, folder, tmp_path):
    settings = settings_for(family)
    lora = save_trained(model, tmp_path / "mochi.safetensors", rank=4, alpha=3.0, size=1.0)
    pipeline = plain_pipeline(folder, family)
    base = draw_plain(pipeline, settings)
    assert difference(generate(model, settings), base) <= 1
    load_in_diffusers(pipeline, lora)
    for weight in (0.5, 1.0):
        pipeline.set_adapters("theirs", weight)
        expected = draw_plain(pipeline, settings)
        ours = generate_with_lora(model, settings.model_copy(update={"lora": lora, "lora_weight": weight}))
        assert difference(ours, expected) <= 2
        assert difference(expected, base) > 10  # else this test would say nothing


def test_a_training_runs_and_its_file_holds_what_was_learned(family, folder, project, tmp_path):  # noqa: F811
    config = make_config(
        {
            "model": {"family": family, "base": str(folder), **MODEL_OPTIONS.get(family, {})},
            "data": {"resolution": 64, "bucket_step": 16, "min_bucket_size": 32, "max_bucket_size": 128},
            "adapter": {"rank": 4, "alpha": 2},
            "optimizer": {"kind": "adamw", "learning_rate": 1e-3},
            "run": {"epochs": 2, "batch_size": 2, "save_precision": "fp32"},
            "samples": {"prompts": ["mochi"], "steps": 2, "width": 64, "height": 64}
            | ({"guidance_scale": 1.0} if family == "flux" else {}),
        }
    )
    events = []
    run = train_project(project, config, on_event=events.append)
    losses = [event.loss for event in events if event.kind == "step_done"]
    assert len(losses) == 10 and np.isfinite(losses).all()
    assert len(list((run / "samples").glob("*.png"))) == 3
    first, last = (read_lora(run / "loras" / name) for name in ("mochi-000001.safetensors", "mochi.safetensors"))
    learned = {name: module.delta() for name, module in last.modules.items()}
    assert any((delta - first.modules[name].delta()).abs().max() > 1e-6 for name, delta in learned.items())

    model = load_model(config.model)
    prefixes = model.trained_modules()
    assert set(learned) == {
        model.key_name(prefix, name) for prefix in prefixes for name in model.target_modules(prefix)
    }
    attach_lora(model, last)
    for name, delta in deltas_of(model, ATTACHED).items():
        torch.testing.assert_close(delta.flatten(1), learned[name], rtol=1e-5, atol=1e-7)


def test_what_is_saved_is_what_was_trained(model, tmp_path):
    from lora_nb.adapters.files import save_lora

    add_trained(model, rank=4, alpha=3.0)
    expected = deltas_of(model, TRAINED)
    save_lora(model, tmp_path / "mochi.safetensors", precision="fp32", metadata={})
    again = read_lora(tmp_path / "mochi.safetensors").modules
    assert again.keys() == expected.keys()
    for name, delta in expected.items():
        torch.testing.assert_close(again[name].delta(), delta.flatten(1), rtol=1e-5, atol=1e-6)
    detach_lora(model)


def test_every_sampler_of_the_family_draws(model, family):
    for sampler in SAMPLERS:
        if family == "flux" and sampler != "euler":
            continue
        assert generate(model, settings_for(family, sampler=sampler, steps=2)).size == (64, 96)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_draws_and_gives_finite_numbers(family, folder, precision):
    config = ModelConfig(family=family, base=str(folder), **MODEL_OPTIONS.get(family, {}))
    model = load_model(config, precision=precision)
    mean, _ = model.encode_pictures(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert torch.isfinite(mean).all()
    assert generate(model, settings_for(family, steps=2)).size == (64, 96)


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_models_that_predict_v_are_drawn_as_in_plain_diffusers(tiny_sd2_folder, sampler, zero_snr):
    import diffusers

    kinds = {
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
        "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
        "dpmpp_2m_karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        "ddim": (diffusers.DDIMScheduler, {}),
    }
    pipeline = plain_pipeline(tiny_sd2_folder, "sd2")
    kind, options = kinds[sampler]
    if zero_snr:  # what diffusers' own guide asks for with such a model
        options = options | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    config = ModelConfig(family="sd2", base=str(tiny_sd2_folder), zero_terminal_snr="on" if zero_snr else "off")
    settings = settings_for("sd2", sampler=sampler)
    assert difference(generate(load_model(config), settings), draw_plain(pipeline, settings)) <= 1
    assert not zero_snr or pipeline.scheduler.timesteps[0] == 999  # it starts from pure noise


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_guidance_is_rescaled_as_in_plain_diffusers(family, request):
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    settings = settings_for(family, guidance_rescale=0.7)
    pipeline = plain_pipeline(folder, family)
    expected = draw_plain(pipeline, settings)
    model = load_model(ModelConfig(family=family, base=str(folder)))
    assert difference(generate(model, settings), expected) <= 1
    assert difference(expected, generate(model, settings_for(family))) > 1
