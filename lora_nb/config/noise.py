"""Settings of the noise."""

from typing import Literal

from lora_nb.config.base import Section, setting

_NOT_FOR_FLOW = {"flux": "Flux is trained down to pure noise and chooses brightness by itself."}
_FLOW_ONLY = dict.fromkeys(("sd1", "sd2", "sdxl"), "Stable Diffusion is trained at every noise level alike.")


class NoiseConfig(Section):
    """What noise is mixed into the pictures, and how much of it."""

    offset: float = setting(
        0.02,
        "Noise offset",
        "Shifts the noise of a whole channel, which lets the LoRA learn overall brightness. The tutorial uses 0.02; "
        "above 0.1 pictures become too dark or too bright.",
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
    timestep_sampling: Literal["uniform", "sigmoid", "shift", "resolution_shift", "mode"] = setting(
        "resolution_shift",
        "Noise levels",
        "How noisy Flux's training pictures get. resolution_shift follows the picture's size as Flux itself does when "
        "it draws; shift does so by a fixed amount; sigmoid looks most at half-noisy pictures (logit_normal); "
        "mode prefers the middle less sharply; uniform looks at all alike.",
        kohya="timestep_sampling, weighting_scheme",
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
    sigmoid_mean: float = setting(
        0.0,
        "Sigmoid mean",
        "Where most noise levels are, before any shift: 0 is half noise, above it more. Elsewhere it is the mean of "
        "logit_normal, and the scale its deviation.",
        kohya="logit_mean",
        not_for=_FLOW_ONLY,
        only_with="noise.timestep_sampling=sigmoid|shift|resolution_shift",
        advanced=True,
        ge=-5,
        le=5,
    )
    mode_scale: float = setting(
        1.29,
        "Mode scale",
        "How much more the middle noise levels are drawn than the ends; below 0, less. 1.29 is the SD3 paper's.",
        kohya="mode_scale",
        not_for=_FLOW_ONLY,
        only_with="noise.timestep_sampling=mode",
        advanced=True,
        ge=-1,
        le=1.75,
    )
    offset_random: bool = setting(
        False,
        "Noise offset of random strength",
        "Draws the strength anew for every example, between 0 and the noise offset, so that plain noise is seen, too.",
        kohya="noise_offset_random_strength",
        advanced=True,
        not_for=_NOT_FOR_FLOW,
    )
    multires_iterations: int = setting(
        0,
        "Multi-resolution noise",
        "Adds noise of this many coarser sizes (pyramid noise): another way to learn brightness and large shapes. 6 to "
        "10 is usual; use it or the noise offset, not both. 0 turns it off.",
        kohya="multires_noise_iterations",
        advanced=True,
        not_for=_NOT_FOR_FLOW,
        ge=0,
        le=64,
    )
    multires_discount: float = setting(
        0.3,
        "Share of coarser noise",
        "How strong each coarser size is, beside the finer one before it. 0.1 to 0.3 for LoRAs.",
        kohya="multires_noise_discount",
        advanced=True,
        not_for=_NOT_FOR_FLOW,
        ge=0,
        le=1,
    )
    input_perturbation: float = setting(
        0.0,
        "Input perturbation",
        "Mixes this much more noise into the picture than the model is asked for, which makes it less sure of small "
        "errors (arXiv:2301.11706). 0.1 is usual; 0 turns it off.",
        kohya="ip_noise_gamma",
        advanced=True,
        ge=0,
        le=1,
    )
    input_perturbation_random: bool = setting(
        False,
        "Input perturbation of random strength",
        "Draws the strength anew for every example, between 0 and the input perturbation.",
        kohya="ip_noise_gamma_random_strength",
        advanced=True,
    )
    min_timestep: int = setting(
        0,
        "Lowest noise level",
        "Trains at no less noise than this: of 1000 levels, 0 is a clean picture. Low levels hold the details.",
        kohya="min_timestep",
        advanced=True,
        ge=0,
        le=999,
    )
    max_timestep: int = setting(
        1000,
        "Highest noise level",
        "Trains at less noise than this: 1000 is noise alone. High levels hold composition and colours.",
        kohya="max_timestep",
        advanced=True,
        ge=1,
        le=1000,
    )
