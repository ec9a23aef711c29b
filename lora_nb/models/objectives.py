"""What must the denoiser say? So far one answer: epsilon, the noise that was mixed in."""

from typing import Any

import torch
from torch import Tensor

from lora_nb.errors import ModelError


class EpsilonObjective:
    """Predict the noise (Ho et al. 2020, arXiv:2006.11239): how SD 1.x was trained.

    At timestep t a picture keeps the share sqrt(alphas_cumprod[t]) of itself; the rest is noise.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod  # (T,) float32, from almost 1 (clean) down to almost 0 (noise)
        self.num_timesteps = len(alphas_cumprod)

    def sample_timesteps(self, generators: list[torch.Generator]) -> Tensor:
        """(B,) How noisy each example gets, all levels alike; each drawn from the example's own generator."""
        return torch.stack([torch.randint(self.num_timesteps, (), generator=each) for each in generators])

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix noise into latents, (B, C, h, w) both, as strongly as timesteps (B,) say."""
        kept = self._alphas(timesteps).view(-1, *[1] * (latents.dim() - 1)).to(latents.dtype)  # (B, 1, 1, 1)
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The answer that the denoiser should give: the noise itself."""
        return noise

    def snr(self, timesteps: Tensor) -> Tensor:
        """(B,) Signal-to-noise ratio: above 1000 for an almost clean picture, below 0.01 for almost pure noise."""
        kept = self._alphas(timesteps)
        return kept / (1 - kept)

    def _alphas(self, timesteps: Tensor) -> Tensor:
        if self.alphas_cumprod.device != timesteps.device:
            self.alphas_cumprod = self.alphas_cumprod.to(timesteps.device)
        return self.alphas_cumprod[timesteps]


def make_objective(scheduler_config: dict[str, Any], model: str) -> EpsilonObjective:
    """Read the noise schedule from a checkpoint's scheduler config, as diffusers' DDPMScheduler does.

    Raises ModelError for a model that predicts something other than noise, rather than train it wrongly.
    """
    from diffusers import DDPMScheduler

    kind = scheduler_config.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise ModelError(
            f"{model} predicts {kind!r} (prediction_type in its scheduler_config.json). This version trains models "
            "that predict noise ('epsilon'): use an SD 1.x model of that kind."
        )
    if scheduler_config.get("rescale_betas_zero_snr"):
        raise ModelError(
            f"{model} was trained with rescale_betas_zero_snr (see its scheduler_config.json), which does not go with "
            "predicting noise and is not supported. Use a plain SD 1.x model."
        )
    alphas_cumprod: Tensor = DDPMScheduler.from_config(scheduler_config).alphas_cumprod
    return EpsilonObjective(alphas_cumprod.to(torch.float32))
