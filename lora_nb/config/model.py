"""Settings of the base model."""

from typing import Literal, Self

from pydantic import model_validator

from lora_nb.config.base import Section, setting

WORKSHOP_MODEL = "workshop"  # the value of `model.base` that means the small model inside this package

_FLUX_ONLY = dict.fromkeys(("sd1", "sd2", "sdxl"), "Only Flux has it.")


class ModelConfig(Section):
    """Which model the LoRA is trained for."""

    family: Literal["sd1", "sd2", "sdxl", "flux"] = setting(
        "sd1",
        "Model family",
        "The architecture of the base model: sd1 is Stable Diffusion 1.x, sd2 is 2.x, sdxl is Stable "
        "Diffusion XL, flux is Flux.1 dev or schnell.",
        kohya="v2, sdxl, flux1_checkbox",
    )
    base: str = setting(
        WORKSHOP_MODEL,
        "Base model",
        "The model to start from: 'workshop' for the small one that ships with this package, a folder in "
        "diffusers format, a single .safetensors checkpoint, a name on the Hugging Face hub, or a model on Civitai "
        "(its address, or civitai:VERSION). A LoRA works best on the model it was trained on.",
        kohya="pretrained_model_name_or_path",
        min_length=1,
    )
    vae: str = setting(
        "",
        "Other VAE",
        "A VAE to use in place of the model's own: a .safetensors file, a folder, or a name on the hub. Empty: the "
        "model's own. Needed for checkpoints with a broken VAE, and useful for SDXL in fp16.",
        kohya="vae",
        advanced=True,
    )
    other_parts: str = setting(
        "",
        "Other parts",
        "Where the text encoders and the VAE are that a single Flux file lacks: a folder or a name on the hub in "
        "diffusers format, or a folder with clip_l, t5xxl and ae as .safetensors and T5's tokenizer.json. Empty: a "
        "folder beside the file that is named like it.",
        kohya="clip_l, t5xxl, ae",
        advanced=True,
        not_for=dict.fromkeys(("sd1", "sd2", "sdxl"), "a checkpoint of this family holds all parts"),
    )
    clip_skip: int = setting(
        1,
        "Clip skip",
        "Which layer of the text encoder to read, counted from its end. The tutorial uses 2 for anime models, which "
        "were trained that way, and 1 for everything else.",
        kohya="clip_skip",
        not_for={
            "sdxl": "SDXL was trained with one layer of its text encoders, and is always read there.",
            "flux": "Flux takes only CLIP's last word on the whole caption.",
        },
        ge=1,
        le=12,
    )
    prediction: Literal["auto", "epsilon", "v"] = setting(
        "auto",
        "Prediction",
        "What the base model was trained to say: the noise (epsilon), or v, a mix of noise and picture. auto reads it "
        "from the model; a wrong value ruins the LoRA, so change it only for a model that does not say.",
        kohya="v_parameterization",
        not_for={"flux": "Flux always predicts the way from picture to noise."},
        advanced=True,
    )
    zero_terminal_snr: Literal["auto", "on", "off"] = setting(
        "auto",
        "Zero-terminal SNR",
        "Train down to pure noise, as some v-prediction models were: lets pictures be very dark or very bright. auto "
        "reads it from the model. Only for models that predict v.",
        kohya="zero_terminal_snr",
        not_for={"flux": "Flux is trained down to pure noise anyway."},
        advanced=True,
    )
    crop_conditioning: Literal["true", "kohya"] = setting(
        "true",
        "Crop conditioning",
        "SDXL is told how much was cut off each picture, so that it learns not to cut heads off. true: what was "
        "really cut off. kohya: the values that kohya's trainer gives, often on the other axis.",
        kohya="(always its own)",
        not_for=dict.fromkeys(("sd1", "sd2", "flux"), "Only SDXL is told how its pictures were cropped."),
        advanced=True,
    )
    guidance: float = setting(
        1.0,
        "Guidance in training",
        "The guidance number that Flux dev is told while it learns. 1 lets the LoRA work at any guidance later. Flux "
        "schnell takes none.",
        kohya="guidance_scale",
        not_for=_FLUX_ONLY,
        advanced=True,
        ge=0,
        le=10,
    )
    t5_tokens: int = setting(
        512,
        "T5 tokens",
        "How long a caption may be for Flux's second text encoder: 512 for dev, 256 for schnell. Fewer is faster and "
        "takes less memory.",
        kohya="t5xxl_max_token_length",
        not_for=_FLUX_ONLY,
        advanced=True,
        ge=16,
        le=512,
    )
    t5_attention_mask: bool = setting(
        False,
        "T5 attention mask",
        "Keep Flux from looking at the filling behind short captions. Other programs draw without it, so leave it off "
        "unless yours masks too.",
        kohya="apply_t5_attn_mask",
        not_for=_FLUX_ONLY,
        advanced=True,
    )

    @model_validator(mode="after")
    def zero_snr_needs_v(self) -> Self:
        if self.zero_terminal_snr == "on" and self.prediction == "epsilon":
            raise ValueError("zero_terminal_snr is on and prediction is epsilon: it only works with v")
        return self
