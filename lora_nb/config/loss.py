"""Settings of the loss."""

from typing import Literal

from lora_nb.config.base import Section, setting

WEIGHTED_BY_SNR = {"flux": "It weighs a flow's errors by the signal-to-noise ratio of a diffusion schedule."}
ONLY_FLOWS = dict.fromkeys(("sd1", "sd2", "sdxl"), "It belongs to flow models such as Flux.")


class LossConfig(Section):
    """How an error is measured, and how much each noise level counts."""

    kind: Literal["l2", "l1", "huber", "smooth_l1"] = setting(
        "l2",
        "Loss",
        "l2 is the mean squared error, which the models were trained with. l1 counts large errors less; huber and "
        "smooth_l1 are l2 for small errors and l1 for large ones, so that odd pictures do less harm.",
        kohya="loss_type",
        advanced=True,
    )
    huber_schedule: Literal["snr", "exponential", "constant"] = setting(
        "snr",
        "Huber schedule",
        "Where the loss turns from l2 to l1: the same at every noise level (constant), or earlier the more noise there "
        "is, as an exponential or after the signal-to-noise ratio.",
        kohya="huber_schedule",
        only_with="loss.kind=huber|smooth_l1",
        advanced=True,
    )
    huber_c: float = setting(
        0.1,
        "Huber threshold",
        "The error at which l2 turns to l1 when all is noise, or everywhere when the schedule is constant.",
        kohya="huber_c",
        only_with="loss.kind=huber|smooth_l1",
        advanced=True,
        gt=0,
        le=1,
    )
    huber_scale: float = setting(
        1.0,
        "Huber scale",
        "Multiplies the threshold of every schedule (Kohya ignores it when the schedule is snr).",
        kohya="huber_scale",
        only_with="loss.kind=huber|smooth_l1",
        advanced=True,
        gt=0,
        le=100,
    )
    weighting: Literal["none", "min_snr", "debiased"] = setting(
        "debiased",
        "Loss weighting",
        "How much each noise level counts. debiased is the tutorial's choice (good colours), min_snr holds back the "
        "nearly clean ones, none treats all alike.",
        kohya="debiased_estimation_loss, min_snr_gamma",
        not_for=WEIGHTED_BY_SNR,
        off="none",
    )
    min_snr_gamma: float = setting(
        5.0,
        "Min-SNR gamma",
        "Where min_snr starts to hold back. Smaller holds back more; 5 is usual.",
        kohya="min_snr_gamma",
        only_with="loss.weighting=min_snr",
        advanced=True,
        not_for=WEIGHTED_BY_SNR,
        gt=0,
        le=100,
    )
    normalize_weighting: bool = setting(
        False,
        "Weights with mean 1",
        "Divides the weights by their mean, so that the weighting does not also change the size of the gradients: "
        "debiased triples it, which gradient clipping and some optimizers feel. Kohya does not do this.",
        advanced=True,
        not_for=WEIGHTED_BY_SNR,
    )
    v_like_noise: bool = setting(
        False,
        "Weigh v like noise",
        "For v-prediction models: weighs the noise levels as if the model predicted noise.",
        kohya="scale_v_pred_loss_like_noise_pred",
        advanced=True,
        not_for=WEIGHTED_BY_SNR,
    )
    v_pred_like: float = setting(
        0.0,
        "Weigh noise like v",
        "For models that predict noise: adds this much of the weighting that a v-prediction model has, which favours "
        "the noisy levels. 0 turns it off.",
        kohya="v_pred_like_loss",
        advanced=True,
        not_for=WEIGHTED_BY_SNR,
        ge=0,
        le=10,
    )
    flow_weighting: Literal["none", "sigma_sqrt", "cosmap"] = setting(
        "none",
        "Flow loss weighting",
        "How much each noise level of a flow counts: all alike (none), the nearly clean ones very much (sigma_sqrt), "
        "or the middle somewhat more (cosmap).",
        kohya="weighting_scheme",
        advanced=True,
        not_for=ONLY_FLOWS,
    )
