"""What do a Kohya file's settings train? The model family, the kind of adapter, and which parts of the model."""

from lora_nb.errors import ConfigError, Problem
from lora_nb.kohya.rules import Rule, when
from lora_nb.kohya.values import Values

KINDS = {  # LoRA_type of the form, or the algorithm that lycoris is asked for => ours
    "standard": "lora",
    "flux1": "lora",
    "kohya locon": "locon",
    "lycoris/locon": "locon",
    "kohya loha": "loha",
    "lycoris/loha": "loha",
    "kohya lokr": "lokr",
    "lycoris/lokr": "lokr",
    "networks.lora": "lora",
    "networks.lora_flux": "lora",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    "lora": "lora",
    "locon": "locon",
    "loha": "loha",
    "lokr": "lokr",
}
NOT_TRAINED = ("sd3", "chroma", "lumina", "hunyuan", "anima", "auraflow")


def find_family(values: Values) -> str:
    """Which of our families do these settings train? Raises ConfigError for one that is not trained here."""
    version = values.text("base_model_version").lower()
    kind = values.text("LoRA_type").lower() + values.text("network_module").lower()
    for name in NOT_TRAINED:
        if (
            name in version
            or name in kind
            or any(values.flag(key) for key in values if key.startswith(f"{name}_check"))
        ):
            fix = "Stable Diffusion 1.x, 2.x, SDXL and Flux can be."
            problem = Problem("model", f"They are for the family {name!r}, which is not trained here.", fix)
            raise ConfigError("These settings cannot be imported.", [problem])
    if values.flag("flux1_checkbox") or version.startswith("flux") or "flux" in kind:
        return "flux"
    if values.flag("sdxl") or version.startswith("sdxl"):
        return "sdxl"
    return "sd2" if values.flag("v2") or version.startswith("sd_v2") else "sd1"


def find_kind(values: Values) -> str:
    """Which adapter do they train? "" for one that is not here."""
    module = values.text("network_module").lower()
    asked = values.text("algo").lower() or ("locon" if module.startswith("lycoris") else module)
    if module == "networks.lora" and values.number("conv_dim"):
        asked = "locon"
    kind = KINDS.get(values.text("LoRA_type").lower() or asked or "standard", "")
    return "dora" if values.flag("dora_wd") and kind in ("lora", "locon") else kind


def trains_text_encoder(values: Values) -> bool:
    """Kohya leaves it alone when told so, when its outputs are cached, or when its rate alone is 0."""
    cached = values.flag("sdxl") and values.flag("sdxl_cache_text_encoder_outputs")
    if cached or values.flag("network_train_unet_only") or values.flag("cache_text_encoder_outputs"):
        return False
    return not ("text_encoder_lr" in values and not values.number("text_encoder_lr") and values.number("unet_lr"))


def trains_denoiser(values: Values) -> bool:
    only_text = "unet_lr" in values and not values.number("unet_lr") and values.number("text_encoder_lr") > 0
    return not (values.flag("network_train_text_encoder_only") or only_text)


def for_flux(rule: Rule) -> Rule:
    """A rule for a key that the form saves for every family, and that only Kohya's trainer for Flux looks at."""
    return when(lambda values: find_family(values) == "flux", "Kohya looks at it for Flux only.", rule)


def for_unets(rule: Rule) -> Rule:
    """A rule for a key that Kohya's trainer for Flux does not look at."""
    return when(lambda values: find_family(values) != "flux", "Kohya does not look at it for Flux.", rule)
