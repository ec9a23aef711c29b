"""Kohya's keys about noise and loss."""

from typing import Any

from lora_nb.kohya.rules import (
    OFF,
    Left,
    Rule,
    Taken,
    choice,
    flag,
    not_needed,
    not_supported,
    number,
    text,
    when,
    whole,
)
from lora_nb.kohya.values import Values, is_on, read_number

TIMESTEPS = {"uniform": "uniform", "sigmoid": "sigmoid", "shift": "shift", "flux_shift": "resolution_shift"}
MULTIRES = "noise_offset_type is Multires, so Kohya does not look at it."
ORIGINAL = "noise_offset_type is Original, so Kohya does not look at it."


def _noise(setting: str, rule: Rule) -> Rule:
    return when(lambda values: values.text("noise_offset_type") != "Multires", MULTIRES, rule)


def _adaptive(value: Any, values: Values) -> Taken | Left:
    if read_number(value) and not values.number("noise_offset"):
        return not_needed("noise_offset is 0, and then Kohya does not look at it.")
    return Taken({"noise.adaptive": read_number(value)})


def _multires(rule: Rule) -> Rule:
    asked = lambda values: values.number("multires_noise_iterations") > 0  # noqa: E731
    inner = when(asked, "multires_noise_iterations is 0, so it is not looked at.", rule)
    return when(lambda values: values.text("noise_offset_type") != "Original", ORIGINAL, inner)


def _noise_type(value: Any, values: Values) -> Taken | Left:
    return not_needed("It only says which of the two kinds of noise below is looked at, and that was heeded.")


def _min_snr(value: Any, values: Values) -> Taken | Left:
    gamma = read_number(value)
    if not gamma:
        return not_needed("0 turns it off.")
    if values.flag("debiased_estimation_loss"):
        return not_supported("Kohya multiplies it with the debiased weight; here the debiased weight alone is taken.")
    return Taken({"loss.weighting": "min_snr", "loss.min_snr_gamma": gamma})


def _debiased(value: Any, values: Values) -> Taken | Left:
    return Taken({"loss.weighting": "debiased"}) if is_on(value) else OFF


def _huber(rule: Rule) -> Rule:
    used = lambda values: values.text("loss_type") in ("huber", "smooth_l1")  # noqa: E731
    return when(used, "This loss does not use it.", rule)


def _timesteps(value: Any, values: Values) -> Taken | Left:
    name = str(value).strip().lower()
    if name in TIMESTEPS:
        return Taken({"noise.timestep_sampling": TIMESTEPS[name]})
    if name == "sigma" and values.text("weighting_scheme") in ("logit_normal", ""):
        if not values.text("weighting_scheme"):
            return Taken({"noise.timestep_sampling": "uniform"})
        if not values.number("logit_mean"):
            scale = values.number("logit_std") or 1.0
            return Taken({"noise.timestep_sampling": "sigmoid", "noise.sigmoid_scale": scale})
    if name == "sigma" and values.text("weighting_scheme") != "mode":
        return Taken({"noise.timestep_sampling": "uniform"})
    return not_supported("There is no such choice of noise levels here.")


def _flow_weighting(value: Any, values: Values) -> Taken | Left:
    name = str(value).strip().lower()
    if name in ("sigma_sqrt", "cosmap"):
        return Taken({"loss.flow_weighting": name})
    return not_needed("It chooses noise levels, which timestep_sampling does here.")


def _prediction_type(value: Any, values: Values) -> Taken | Left:
    if str(value).strip() == "raw":
        return not_needed("The raw prediction is what is always compared here.")
    return not_supported("Only the raw prediction fits what Flux is trained to say; it is taken.")


NOISE_RULES: dict[str, Rule] = {
    "noise_offset_type": _noise_type,
    "noise_offset": _noise("noise.offset", number("noise.offset")),
    "adaptive_noise_scale": _noise("noise.adaptive", _adaptive),
    "noise_offset_random_strength": _noise("noise.offset_random", flag("noise.offset_random")),
    "multires_noise_iterations": _multires(whole("noise.multires_iterations")),
    "multires_noise_discount": _multires(number("noise.multires_discount")),
    "ip_noise_gamma": number("noise.input_perturbation"),
    "ip_noise_gamma_random_strength": flag("noise.input_perturbation_random"),
    "min_timestep": whole("noise.min_timestep"),
    "max_timestep": whole("noise.max_timestep"),
    "timestep_sampling": _timesteps,
    "discrete_flow_shift": when(
        lambda values: values.text("timestep_sampling") == "shift",
        "Only used when timestep_sampling is shift.",
        number("noise.timestep_shift"),
    ),
    "sigmoid_scale": number("noise.sigmoid_scale"),
    "weighting_scheme": _flow_weighting,
    "model_prediction_type": _prediction_type,
    "loss_type": choice("loss.kind", {name: name for name in ("l2", "l1", "huber", "smooth_l1")}),
    "huber_schedule": _huber(text("loss.huber_schedule")),
    "huber_c": _huber(number("loss.huber_c")),
    "huber_scale": _huber(number("loss.huber_scale")),
    "min_snr_gamma": _min_snr,
    "debiased_estimation_loss": _debiased,
    "scale_v_pred_loss_like_noise_pred": flag("loss.v_like_noise"),
    "v_pred_like_loss": number("loss.v_pred_like"),
}
