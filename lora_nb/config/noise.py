"""Settings of the noise."""

from lora_nb.config.base import Section, setting


class NoiseConfig(Section):
    """What is added to the noise, so that very dark and very bright pictures can be learned."""

    offset: float = setting(
        0.02,
        "Noise offset",
        "Shifts the noise of a whole channel, which lets the LoRA learn overall brightness. The tutorial uses 0.02.",
        kohya="noise_offset",
        ge=0,
        le=1,
    )
    adaptive: float = setting(
        0.002,
        "Adaptive noise",
        "Adds to the noise offset in proportion to the picture's own mean. The tutorial uses 0.002.",
        kohya="adaptive_noise_scale",
        advanced=True,
        ge=-1,
        le=1,
    )
