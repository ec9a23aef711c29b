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
from lora_nb.kohya.trained import for_flux, for_unets
from lora_nb.kohya.values import Values, is_on, read_number

SCHEMES = {"logit_normal": "sigmoid", "mode": "mode"}  # what weighting_scheme says of noise levels
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


def default_noise_levels(values: Values) -> dict[str, Any]:
    """How Kohya draws Flux's noise levels when the file does not say so."""
    return {"noise.timestep_sampling": SCHEMES.get(values.text("weighting_scheme"), "uniform")}


def _timesteps(value: Any, values: Values) -> Taken | Left:
    name = str(value).strip().lower()
    if name == "sigma":  # then the weighting scheme says it
        return Taken(default_noise_levels(values))
    if name in TIMESTEPS:
        return Taken({"noise.timestep_sampling": TIMESTEPS[name]})
    return not_supported("There is no such choice of noise levels here.")


def _scheme(scheme: str, rule: Rule) -> Rule:
    """Kohya only looks at it when timestep_sampling is sigma and weighting_scheme is this one."""
    used = lambda values: (  # noqa: E731
        values.text("timestep_sampling") in ("sigma", "") and values.text("weighting_scheme") == scheme
    )
    return when(used, f"Only used when timestep_sampling is sigma and weighting_scheme is {scheme}.", rule)


def _logit_mean(value: Any, values: Values) -> Taken | Left:
    why = "Kohya counts from noise to picture, so the sign is turned." if read_number(value) else ""
    return Taken({"noise.sigmoid_mean": 0.0 - read_number(value)}, why)


def _flow_weighting(value: Any, values: Values) -> Taken | Left:
    name = str(value).strip().lower()
    if name in ("sigma_sqrt", "cosmap"):
        return Taken({"loss.flow_weighting": name})
    return not_needed("It says which noise levels are drawn, and noise.timestep_sampling does that here.")


def _prediction_type(value: Any, values: Values) -> Taken | Left:
    if str(value).strip() == "raw":
        return not_needed("The raw prediction is what is always compared here.")
    return not_supported("Only the raw prediction fits what Flux is trained to say; it is taken.")


UNET_RULES: dict[str, Rule] = {  # Kohya's trainer for Flux does not look at these
    "noise_offset_type": _noise_type,
    "noise_offset": _noise("noise.offset", number("noise.offset")),
    "adaptive_noise_scale": _noise("noise.adaptive", _adaptive),
    "noise_offset_random_strength": _noise("noise.offset_random", flag("noise.offset_random")),
    "multires_noise_iterations": _multires(whole("noise.multires_iterations")),
    "multires_noise_discount": _multires(number("noise.multires_discount")),
    "min_timestep": whole("noise.min_timestep"),
    "max_timestep": whole("noise.max_timestep"),
    "min_snr_gamma": _min_snr,
    "debiased_estimation_loss": _debiased,
    "scale_v_pred_loss_like_noise_pred": flag("loss.v_like_noise"),
    "v_pred_like_loss": number("loss.v_pred_like"),
}
FLOW_RULES: dict[str, Rule] = {
    "timestep_sampling": _timesteps,
    "discrete_flow_shift": when(
        lambda values: values.text("timestep_sampling") == "shift",
        "Only used when timestep_sampling is shift.",
        number("noise.timestep_shift"),
    ),
    "sigmoid_scale": when(
        lambda values: values.text("timestep_sampling") in ("sigmoid", "shift", "flux_shift"),
        "Only used when timestep_sampling is sigmoid, shift or flux_shift.",
        number("noise.sigmoid_scale"),
    ),
    "logit_mean": _scheme("logit_normal", _logit_mean),
    "logit_std": _scheme("logit_normal", number("noise.sigmoid_scale")),
    "mode_scale": _scheme("mode", number("noise.mode_scale")),
    "weighting_scheme": _flow_weighting,
    "model_prediction_type": _prediction_type,
}
NOISE_RULES: dict[str, Rule] = {key: for_unets(rule) for key, rule in UNET_RULES.items()} | {
    **{key: for_flux(rule) for key, rule in FLOW_RULES.items()},
    "ip_noise_gamma": number("noise.input_perturbation"),
    "ip_noise_gamma_random_strength": flag("noise.input_perturbation_random"),
    "loss_type": choice("loss.kind", {name: name for name in ("l2", "l1", "huber", "smooth_l1")}),
    "huber_schedule": _huber(text("loss.huber_schedule")),
    "huber_c": _huber(number("loss.huber_c")),
    "huber_scale": _huber(number("loss.huber_scale")),
}
