"""Settings of the loss."""

from typing import Literal

from lora_nb.config.base import Section, setting


class LossConfig(Section):
    """How an error is measured, and how much each noise level counts."""

    kind: Literal["l2"] = setting("l2", "Loss", "l2 is the mean squared error.", kohya="loss_type", advanced=True)
    weighting: Literal["none", "min_snr", "debiased"] = setting(
        "debiased",
        "Loss weighting",
        "How much each noise level counts. debiased is the tutorial's choice (good colours), min_snr holds back the "
        "nearly clean ones, none treats all alike.",
        kohya="debiased_estimation_loss, min_snr_gamma",
        not_for={"flux": "Flux's noise levels are weighed by how often they are drawn (noise.timestep_sampling)."},
        off="none",
    )
    min_snr_gamma: float = setting(
        5.0,
        "Min-SNR gamma",
        "Where min_snr starts to hold back. Smaller holds back more; 5 is usual.",
        kohya="min_snr_gamma",
        not_for={"flux": "Flux knows no min_snr weighting."},
        only_with="loss.weighting=min_snr",
        advanced=True,
        gt=0,
        le=100,
    )
