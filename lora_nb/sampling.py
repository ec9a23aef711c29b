"""How is a picture drawn from a prompt? Samplers, and the one way to generate that training and grids share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image
from torch import Tensor, nn

from lora_nb.adapters.attached import attach_lora, detach_lora, set_lora_weight
from lora_nb.adapters.files import read_lora, stamp_of
from lora_nb.config import GenerationConfig
from lora_nb.errors import ConfigError, Problem
from lora_nb.models.base import DiffusionModel


def euler(config: dict[str, Any]) -> Any:
    """Straight steps down the noise levels: fast, and the one that the web UIs start with."""
    return EulerDiscreteScheduler.from_config(config)


def euler_a(config: dict[str, Any]) -> Any:
    """Euler that adds fresh noise at each step: the picture keeps changing with the number of steps."""
    return EulerAncestralDiscreteScheduler.from_config(config)


def dpmpp_2m(config: dict[str, Any]) -> Any:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095): looks back one step, so fewer steps do."""
    return DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=False)


def dpmpp_2m_karras(config: dict[str, Any]) -> Any:
    """The same with the noise levels of Karras et al. 2022 (arXiv:2206.00364): more steps for the fine detail."""
    return DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)


def ddim(config: dict[str, Any]) -> Any:
    """DDIM (Song et al. 2020, arXiv:2010.02502): the classic, without added noise."""
    return DDIMScheduler.from_config(config)


# to add one: write the function, name it here and in config.Sampler
SAMPLERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "euler": euler,
    "euler_a": euler_a,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_karras": dpmpp_2m_karras,
    "ddim": ddim,
}


def flow_euler(config: dict[str, Any]) -> Any:
    """Straight steps along the way that a flow model has learned, from noise to the picture."""
    return FlowMatchEulerDiscreteScheduler.from_config(config)


FLOW_SAMPLERS: dict[str, Callable[[dict[str, Any]], Any]] = {"euler": flow_euler}  # the same for flow models: Flux


@torch.no_grad()
def generate(model: DiffusionModel, settings: GenerationConfig) -> Image.Image:
    """Draw one picture with the model as it is: with the LoRA that is attached or being trained.

    The same settings give the same picture: its random numbers come from `settings.seed` alone, on the CPU, and the
    training's own are left as they are. Raises ConfigError for what the model cannot draw.
    """
    check_picture(model, settings)
    with _drawing(model):
        pipeline = model.pipeline(make_sampler(model, settings.sampler))
        reading = (settings.clip_skip, settings.max_tokens, settings.weighted_captions)
        conditioning = model.encode_captions([settings.prompt], *reading)
        negative = None
        takes_negative = model.takes_negative_prompt
        if takes_negative and settings.guidance_scale > 1:  # at 1, the prediction without the prompt has no say
            negative = model.encode_captions([settings.negative_prompt], *reading)
        latents: Tensor = pipeline(
            **model.pipeline_inputs(conditioning, negative, settings),
            num_inference_steps=settings.steps,
            width=settings.width,
            height=settings.height,
            generator=torch.Generator("cpu").manual_seed(settings.seed),
            output_type="latent",
        ).images
        return _to_image(model.decode_latents(model.latents_to_decode(latents, settings.height, settings.width)))


def generate_with_lora(model: DiffusionModel, settings: GenerationConfig) -> Image.Image:
    """Draw one picture with exactly the LoRA that the settings name, at their weight; without one, the base model.

    A file that is on the model already is not read again, unless it was written anew since.
    """
    if settings.lora is None:
        detach_lora(model)
        return generate(model, settings)
    attached = model.attached.file if model.attached else None
    if attached is None or attached.path != settings.lora or attached.stamp != stamp_of(settings.lora):
        attach_lora(model, read_lora(settings.lora))
    set_lora_weight(model, settings.lora_weight)
    return generate(model, settings)


def make_sampler(model: DiffusionModel, name: str) -> Any:
    """A sampler for the noise schedule that the model was trained with."""
    if model.objective.prediction == "flow":
        return FLOW_SAMPLERS[name](model.scheduler_config)
    # diffusers' pipelines demand these two, and say so at length if a checkpoint has them otherwise
    return SAMPLERS[name](model.scheduler_config | {"steps_offset": 1, "clip_sample": False})


def check_picture(model: DiffusionModel, settings: GenerationConfig) -> None:
    """Raise ConfigError for a size, a sampler or a negative prompt that this model has no use for."""
    step = model.size_step
    problems = [
        Problem(side, f"{size} is not a multiple of {step}.", f"Use {max(1, round(size / step)) * step}.")
        for side, size in (("width", settings.width), ("height", settings.height))
        if size % step
    ]
    if model.objective.prediction == "flow" and settings.sampler not in FLOW_SAMPLERS:
        fix = f"Use {' or '.join(FLOW_SAMPLERS)}."
        problems.append(Problem("sampler", f"A flow model cannot be drawn with {settings.sampler}.", fix))
    if settings.negative_prompt and not model.takes_negative_prompt:
        problems.append(Problem("negative_prompt", "This model has no use for a negative prompt.", "Leave it empty."))
    if problems:
        raise ConfigError(f"{model.base} cannot draw a picture with these settings.", problems)


def _to_image(pixels: Tensor) -> Image.Image:
    """(1, 3, H, W) in -1..1 => picture"""
    levels = ((pixels[0] / 2 + 0.5) * 255).round().to("cpu", torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


@contextmanager
def _drawing(model: DiffusionModel) -> Iterator[None]:
    """Everything in evaluation mode while a picture is drawn, so that dropout does not blur it; then as before."""
    parts: list[nn.Module] = [*model.trained_modules().values(), model.vae]
    training = [module for part in parts for module in part.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
