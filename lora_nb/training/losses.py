"""How wrong was the prediction, and how much does that noise level count?"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lora_nb.config import LossConfig, NoiseConfig
from lora_nb.errors import Problem
from lora_nb.models.base import Objective

SNR_CAP = 1000  # as kohya does: else the cleanest timestep would vanish
SNR_FLOOR = 1e-4  # below the noisiest timestep of any schedule but 0, where nothing may become infinite
SIGMA_FLOOR = 1e-3  # the cleanest of a flow's thousand steps


def l2(prediction: Tensor, target: Tensor, threshold: Tensor) -> Tensor:
    """Squared error. All losses: (B, C, H, W) twice and threshold (B, 1, 1, 1) => (B, C, H, W)"""
    return (prediction - target).square()


def l1(prediction: Tensor, target: Tensor, threshold: Tensor) -> Tensor:
    """Absolute error."""
    return (prediction - target).abs()


def huber(prediction: Tensor, target: Tensor, threshold: Tensor) -> Tensor:
    """Squared for errors below the threshold, linear above: smooth everywhere ("pseudo-Huber", as in kohya)."""
    return threshold * smooth_l1(prediction, target, threshold)


def smooth_l1(prediction: Tensor, target: Tensor, threshold: Tensor) -> Tensor:
    """The same curve with slope 2 for large errors, whatever the threshold."""
    return 2 * (((prediction - target).square() + threshold.square()).sqrt() - threshold)


def constant_threshold(objective: Objective, timesteps: Tensor, config: LossConfig) -> Tensor:
    """The same at every noise level. All thresholds: timesteps (B,) => (B,)"""
    return torch.full_like(timesteps, config.huber_c, dtype=torch.float32)


def exponential_threshold(objective: Objective, timesteps: Tensor, config: LossConfig) -> Tensor:
    """From 1 for a clean picture down to huber_c for noise, by the same factor at every step."""
    return (math.log(config.huber_c) * objective.noise_share(timesteps)).exp()


def snr_threshold(objective: Objective, timesteps: Tensor, config: LossConfig) -> Tensor:
    """From 1 down to huber_c as the noise outgrows the picture: (1 - c) / (1 + noise / signal)^2 + c."""
    noise_to_signal = objective.snr(timesteps).rsqrt()
    return (1 - config.huber_c) / (1 + noise_to_signal).square() + config.huber_c


def mean_over(error: Tensor, mask: Tensor | None) -> Tensor:
    """The mean error of each example, over the part of it that counts. (B, C, h, w), (B, 1, h, w) => (B,)

    Divided by the mask's area: a small mask gives as large a loss as a large one (kohya divides by the whole picture).
    """
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    mask = mask.to(error)
    area = mask.sum(dim=(1, 2, 3)).clamp(min=1)  # in latent cells; less than one has nothing to say
    return (error * mask).sum(dim=(1, 2, 3)) / (area * error.shape[1])


def weigh_all_alike(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """Every noise level counts the same, as in the original diffusion paper. (B,) => (B,)"""
    return snr.new_ones(snr.shape)


def weigh_min_snr(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """Hold back the nearly clean pictures, which are easy and loud. (B,) => (B,) in 0..1

    min(SNR, gamma) / SNR for a model that predicts noise, / (SNR + 1) for v: Hang et al. 2023, arXiv:2303.09556,
    section 3.4.
    """
    if prediction == "v":
        return snr.clamp(max=config.min_snr_gamma) / (snr + 1)
    return (config.min_snr_gamma / snr).clamp(max=1)


def weigh_debiased(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """Let the noisy pictures count more, which settles colours and large shapes. (B,) => (B,) about 0.03..15

    1 / sqrt(SNR) for a model that predicts noise: Yu et al. 2023, arXiv:2310.08442; 1 / (SNR + 1) for v. The mean
    over all timesteps is 3.02 for noise: the weighted loss is not comparable with others.
    """
    if prediction == "v":
        return 1 / (snr.clamp(max=SNR_CAP) + 1)
    return snr.clamp(SNR_FLOOR, SNR_CAP).rsqrt()


def weigh_sigma_sqrt(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """1 / sigma^2, sigma being a flow's share of noise: nearly clean pictures count up to a million times (SD3 paper,
    Esser et al. 2024, arXiv:2403.03206)."""
    return _sigma(snr).clamp(min=SIGMA_FLOOR).pow(-2)


def weigh_cosmap(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """The noise levels that a cosine diffusion schedule would see, for a flow: most in the middle (same paper)."""
    sigma = _sigma(snr)
    return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma.square()))


# to add one: write the function, name it here and in config.LossConfig
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "l2": l2,
    "l1": l1,
    "huber": huber,
    "smooth_l1": smooth_l1,
}
HUBER_SCHEDULES: dict[str, Callable[[Objective, Tensor, LossConfig], Tensor]] = {
    "constant": constant_threshold,
    "exponential": exponential_threshold,
    "snr": snr_threshold,
}
LOSS_WEIGHTS: dict[str, Callable[[Tensor, LossConfig, str], Tensor]] = {
    "none": weigh_all_alike,
    "min_snr": weigh_min_snr,
    "debiased": weigh_debiased,
}
FLOW_WEIGHTS: dict[str, Callable[[Tensor, LossConfig, str], Tensor]] = {
    "none": weigh_all_alike,
    "sigma_sqrt": weigh_sigma_sqrt,
    "cosmap": weigh_cosmap,
}


def measure_error(
    prediction: Tensor, target: Tensor, objective: Objective, timesteps: Tensor, config: LossConfig
) -> Tensor:
    """The error of every number in the prediction. (B, C, H, W) twice => (B, C, H, W)"""
    threshold = HUBER_SCHEDULES[config.huber_schedule](objective, timesteps, config) * config.huber_scale
    threshold = threshold.view(-1, *[1] * (prediction.dim() - 1))
    return LOSSES[config.kind](prediction.float(), target.float(), threshold)


def loss_weight(objective: Objective, timesteps: Tensor, config: LossConfig, noise: NoiseConfig) -> Tensor:
    """How much each example counts, by its noise level. (B,) => (B,)"""
    weight = _weigh(objective, timesteps, config)
    if config.normalize_weighting:
        levels = torch.arange(noise.min_timestep, noise.max_timestep, device=timesteps.device)
        weight = weight / _weigh(objective, levels, config).mean()
    return weight


def check_prediction(config: LossConfig, prediction: str) -> list[Problem]:
    """What only acts on models that predict v, or only on those that predict noise."""
    problems = []
    if config.v_like_noise and prediction != "v":
        what = f"True would do nothing: this model predicts {prediction}, not v."
        problems.append(Problem("loss.v_like_noise", what, "Set it to false."))
    if config.v_pred_like and prediction != "epsilon":
        what = f"{config.v_pred_like} is for models that predict noise (epsilon); this one predicts {prediction}."
        problems.append(Problem("loss.v_pred_like", what, "Set it to 0."))
    return problems


def _weigh(objective: Objective, timesteps: Tensor, config: LossConfig) -> Tensor:
    snr, prediction = objective.snr(timesteps), objective.prediction
    if prediction == "flow":
        return FLOW_WEIGHTS[config.flow_weighting](snr, config, prediction)
    weight = LOSS_WEIGHTS[config.weighting](snr, config, prediction)
    capped = snr.clamp(max=SNR_CAP)
    if config.v_like_noise:
        weight = weight * capped / (capped + 1)
    if config.v_pred_like:
        weight = weight * (1 + config.v_pred_like * (capped + 1) / capped.clamp(min=SNR_FLOOR))
    return weight


def _sigma(snr: Tensor) -> Tensor:
    """A flow's share of noise: SNR is ((1 - sigma) / sigma)^2."""
    return 1 / (1 + snr.sqrt())
