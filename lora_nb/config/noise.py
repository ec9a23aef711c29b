"""Settings of the noise."""

from typing import Literal

from lora_nb.config.base import Section, setting

_NOT_FOR_FLOW = {"flux": "Flux is trained down to pure noise and chooses brightness by itself."}
_FLOW_ONLY = dict.fromkeys(("sd1", "sd2", "sdxl"), "Stable Diffusion is trained at every noise level alike.")


class NoiseConfig(Section):
    """What is added to the noise, so that very dark and very bright pictures can be learned."""

    offset: float = setting(
        0.02,
        "Noise offset",
        "Shifts the noise of a whole channel, which lets the LoRA learn overall brightness. The tutorial uses 0.02.",
        kohya="noise_offset",
        not_for=_NOT_FOR_FLOW,
        off=0.0,
        ge=0,
        le=1,
    )
    adaptive: float = setting(
        0.002,
        "Adaptive noise",
        "Adds to the noise offset in proportion to the picture's own mean. The tutorial uses 0.002.",
        kohya="adaptive_noise_scale",
        not_for=_NOT_FOR_FLOW,
        off=0.0,
        advanced=True,
        ge=-1,
        le=1,
    )
    timestep_sampling: Literal["uniform", "sigmoid", "shift", "resolution_shift"] = setting(
        "resolution_shift",
        "Noise levels",
        "How noisy Flux's training pictures get. resolution_shift follows the picture's size as Flux itself does when "
        "it draws; shift does so by a fixed amount; sigmoid looks most at half-noisy pictures; uniform at all alike.",
        kohya="timestep_sampling",
        not_for=_FLOW_ONLY,
    )
    timestep_shift: float = setting(
        3.0,
        "Shift",
        "How far noise levels are moved towards noise: 1 not at all, 3 is usual for 1024 pixels.",
        kohya="discrete_flow_shift",
        not_for=_FLOW_ONLY,
        only_with="noise.timestep_sampling=shift",
        advanced=True,
        gt=0,
        le=100,
    )
    sigmoid_scale: float = setting(
        1.0,
        "Sigmoid scale",
        "How widely noise levels are spread: less stays nearer to half noise.",
        kohya="sigmoid_scale",
        not_for=_FLOW_ONLY,
        only_with="noise.timestep_sampling=sigmoid|shift|resolution_shift",
        advanced=True,
        gt=0,
        le=10,
    )
