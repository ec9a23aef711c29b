"""How wrong was the prediction, and how much does that noise level count?"""

from collections.abc import Callable

from torch import Tensor

from lora_nb.config import LossConfig


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error. (B, C, h, w) => (B, C, h, w)"""
    return (prediction - target).square()


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
    return snr.clamp(max=config.min_snr_gamma) / (snr + 1 if prediction == "v" else snr)


def weigh_debiased(snr: Tensor, config: LossConfig, prediction: str) -> Tensor:
    """Let the noisy pictures count more, which settles colours and large shapes. (B,) => (B,) about 0.03..15

    1 / sqrt(SNR) for a model that predicts noise: Yu et al. 2023, arXiv:2310.08442; 1 / (SNR + 1) for v. SNR is
    capped at 1000 as kohya does, so that the cleanest timestep does not vanish. The mean over all timesteps is 3.02:
    the weighted loss is not comparable with others.
    """
    snr = snr.clamp(max=1000)
    return 1 / (snr + 1) if prediction == "v" else snr.rsqrt()


# to add one: write the function, name it here and in config.LossConfig
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l2": l2}
LOSS_WEIGHTS: dict[str, Callable[[Tensor, LossConfig, str], Tensor]] = {
    "none": weigh_all_alike,
    "min_snr": weigh_min_snr,
    "debiased": weigh_debiased,
}
