"""What must the denoiser say? The noise (epsilon), a mix of noise and picture (v), or the way between them (flow)."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lora_nb.config import ModelConfig, NoiseConfig
from lora_nb.errors import ModelError
from lora_nb.models.timesteps import TIMESTEP_SAMPLINGS

Prediction = Literal["epsilon", "v", "flow"]

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v"}  # diffusers' names => ours


def epsilon_target(latents: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """The noise itself (Ho et al. 2020, arXiv:2006.11239): how SD 1.x, SDXL and most SD 2.x models were trained."""
    return noise


def velocity_target(latents: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """Where noise is headed, v (Salimans & Ho 2022, arXiv:2202.00512): sqrt(kept) * noise - sqrt(1 - kept) * latents.

    Where almost only noise is left it asks for the picture, so that a model can learn to start from pure noise.
    """
    return kept.sqrt() * noise - (1 - kept).sqrt() * latents


def clean_of_epsilon(noisy: Tensor, answer: Tensor, kept: Tensor) -> Tensor:
    """The clean latents that follow if the answer is all the noise that is in the noisy ones."""
    return (noisy - (1 - kept).sqrt() * answer) / kept.sqrt()


def clean_of_velocity(noisy: Tensor, answer: Tensor, kept: Tensor) -> Tensor:
    """The clean latents that follow if the answer is v."""
    return kept.sqrt() * noisy - (1 - kept).sqrt() * answer


# (latents, noise, kept) => target, and (noisy latents, answer, kept) => clean latents; kept is alphas_cumprod[t]
TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"epsilon": epsilon_target, "v": velocity_target}
CLEAN: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"epsilon": clean_of_epsilon, "v": clean_of_velocity}


class DiffusionObjective:
    """Learn from pictures at one of a thousand noise levels: Stable Diffusion 1.x, 2.x and XL.

    At timestep t a picture keeps the share sqrt(alphas_cumprod[t]) of itself; the rest is noise. `prediction` says
    which answer is learned.
    """

    def __init__(self, alphas_cumprod: Tensor, prediction: Prediction = "epsilon") -> None:
        self.alphas_cumprod = alphas_cumprod  # (T,) float32, from almost 1 (clean) down to almost 0 (noise)
        self.num_timesteps = len(alphas_cumprod)
        self.prediction = prediction
        self.zero_terminal_snr = float(alphas_cumprod[-1]) == 0

    def sample_timesteps(self, latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
        """(B,) How noisy each example gets, all levels alike; each drawn from the example's own generator."""
        lowest, end = config.min_timestep, min(config.max_timestep, self.num_timesteps)
        return torch.stack([torch.randint(lowest, end, (), generator=each) for each in generators])

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix noise into latents, (B, C, h, w) both, as strongly as timesteps (B,) say."""
        kept = self._kept(latents, timesteps)  # (B, 1, 1, 1)
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The answer that the denoiser should give."""
        return TARGETS[self.prediction](latents, noise, self._kept(latents, timesteps))

    def clean(self, noisy_latents: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that an answer amounts to."""
        return CLEAN[self.prediction](noisy_latents, prediction, self._kept(noisy_latents, timesteps))

    def snr(self, timesteps: Tensor) -> Tensor:
        """(B,) Signal-to-noise ratio: above 1000 for an almost clean picture, below 0.01 for almost pure noise.

        With zero-terminal SNR it is that of the changed schedule, and 0 at the last timestep (kohya keeps using the
        unchanged one: sd-scripts issue 1905).
        """
        kept = self._alphas(timesteps)
        return kept / (1 - kept)

    def noise_share(self, timesteps: Tensor) -> Tensor:
        """(B,) How far along the way to noise, from 0 (the picture) to 1."""
        return timesteps / self.num_timesteps

    def _kept(self, like: Tensor, timesteps: Tensor) -> Tensor:
        return self._alphas(timesteps).view(-1, *[1] * (like.dim() - 1)).to(like.dtype)

    def _alphas(self, timesteps: Tensor) -> Tensor:
        if self.alphas_cumprod.device != timesteps.device:
            self.alphas_cumprod = self.alphas_cumprod.to(timesteps.device)
        return self.alphas_cumprod[timesteps]


class FlowObjective:
    """Learn the straight way from a picture to noise (Liu et al. 2022, arXiv:2209.03003): Flux.

    A "timestep" is sigma, the share of noise: a number from 0 (the picture) to 1 (noise alone).
    """

    num_timesteps = 1000  # how many steps older interfaces count from sigma 0 to 1
    prediction: Prediction = "flow"
    zero_terminal_snr = False  # its last step is pure noise by nature; there is nothing to rescale

    def sample_timesteps(self, latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor:
        """(B,) The share of noise that each example gets; each drawn from the example's own generator."""
        tokens = latents.shape[-2] // 2 * (latents.shape[-1] // 2)  # four cells of the latents make one
        draw = TIMESTEP_SAMPLINGS[config.timestep_sampling]
        return within_range(torch.stack([draw(each, config, tokens) for each in generators]), config)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix noise into latents, (B, C, h, w) both: timesteps (B,) are the shares of noise."""
        sigma = timesteps.view(-1, *[1] * (latents.dim() - 1)).to(latents.dtype)  # (B, 1, 1, 1)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The answer that the denoiser should give: the direction from the picture to the noise."""
        return noise - latents

    def clean(self, noisy_latents: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that an answer amounts to."""
        return noisy_latents - timesteps.view(-1, *[1] * (noisy_latents.dim() - 1)) * prediction

    def snr(self, timesteps: Tensor) -> Tensor:
        """(B,) Signal-to-noise ratio, ((1 - sigma) / sigma) ** 2. At sigma 0 it is infinite."""
        return ((1 - timesteps) / timesteps).square()

    def noise_share(self, timesteps: Tensor) -> Tensor:
        """(B,) How far along the way to noise: a flow's timesteps say just that."""
        return timesteps


def within_range(sigma: Tensor, config: NoiseConfig) -> Tensor:
    """Squeeze a flow's noise levels (B,) into the range that the settings allow, in thousandths of noise."""
    lowest, end = config.min_timestep / 1000, config.max_timestep / 1000
    return lowest + (end - lowest) * sigma


def settle_schedule(scheduler_config: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """A checkpoint's scheduler config with the answers that the user gave in place of the ones it has.

    Objective and samplers are both made from the result, so that they cannot disagree. Raises ModelError for a kind
    of model that is not known, or for zero-terminal SNR with a model that predicts noise: at pure noise that answer
    holds nothing of the picture, and nothing could be learned.
    """
    kind = scheduler_config.get("prediction_type", "epsilon")
    if config.prediction != "auto":
        kind = next(name for name, ours in PREDICTIONS.items() if ours == config.prediction)
    if kind not in PREDICTIONS:
        raise ModelError(
            f"{config.base} predicts {kind!r} (prediction_type in its scheduler_config.json), which is not known here. "
            "Models that predict 'epsilon' or 'v_prediction' can be trained; if this is one of them, set "
            "model.prediction to epsilon or v."
        )
    asked = config.zero_terminal_snr
    rescale = bool(scheduler_config.get("rescale_betas_zero_snr")) if asked == "auto" else asked == "on"
    if rescale and PREDICTIONS[kind] == "epsilon":
        raise ModelError(
            f"{config.base} predicts noise (epsilon), and zero-terminal SNR only works with models that predict v: "
            "where a picture is noise alone, its noise says nothing of it. Set model.zero_terminal_snr to off, or "
            "model.prediction to v if this is a v-prediction model."
        )
    settled = scheduler_config | {"prediction_type": kind, "rescale_betas_zero_snr": rescale}
    # Such a model is meant to start from the very last timestep (Lin et al. 2024, arXiv:2305.08891).
    return settled | ({"timestep_spacing": "trailing"} if rescale else {})


def make_objective(scheduler_config: dict[str, Any]) -> DiffusionObjective:
    """The objective of a settled scheduler config, with the noise levels as diffusers' DDPMScheduler computes them."""
    from diffusers import DDPMScheduler

    alphas_cumprod: Tensor = DDPMScheduler.from_config(scheduler_config).alphas_cumprod
    return DiffusionObjective(alphas_cumprod.to(torch.float32), PREDICTIONS[scheduler_config["prediction_type"]])
