"""What kind of model is in a single checkpoint file, as Civitai ships it, and where are its parts?

Told by the names and shapes of its weights, which stand in the file's header: no weight is read for it.
"""

from dataclasses import dataclass
from typing import Any

from lora_nb.errors import ModelError
from lora_nb.models.checkpoint import Checkpoint
from lora_nb.models.layouts import (
    Layout,
    Place,
    clip_layout,
    flux_layout,
    open_clip_layout,
    t5_layout,
    unet_layout,
    vae_layout,
)

Configs = dict[str, dict[str, Any]]  # by a part's name in diffusers: "unet", "vae", ...

FAMILY_NAMES = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "SDXL", "flux": "Flux"}

UNET = "model.diffusion_model."
FLUX_PREFIXES = (UNET, "")  # as saved by ComfyUI, and by Black Forest Labs
VAE_PREFIXES = ("first_stage_model.", "vae.")
CLIP_PREFIXES = (  # of Stable Diffusion 1, of SDXL, of a whole Flux
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.",
    "text_encoders.clip_l.transformer.",
)
OPEN_CLIP_PREFIXES = {"text_encoder": "cond_stage_model.model.", "text_encoder_2": "conditioner.embedders.1.model."}
T5_PREFIX = "text_encoders.t5xxl.transformer."

_WHOLE = "Use the whole checkpoint, with VAE and text encoders."
_KINDS_OF_LORA = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".hada_w1_a", ".lokr_w", ".oft_blocks", ".dora_")
_QUANTISED = (".scale_weight", "scaled_fp8", ".absmax", ".quant_map", ".weight_scale", ".qweight")


@dataclass(frozen=True)
class CheckpointKind:
    """What was found out about a checkpoint."""

    family: str  # as in config.model.family
    edition: str  # which of the package's configs describes it: "sdxl", "flux_dev", ...
    prediction: str  # "epsilon", "v_prediction" or "flow"
    zero_terminal_snr: bool = False  # whether its last timestep is pure noise


def detect_kind(checkpoint: Checkpoint) -> CheckpointKind:
    """Tell family, edition and prediction type. Raises ModelError for what a LoRA cannot be trained on."""
    quantised = [key for key in checkpoint.shapes if key.endswith(_QUANTISED)]
    if quantised:
        raise ModelError(
            f"{checkpoint.path} holds weights that another program has quantised ({quantised[0]}). Use an edition in "
            "fp16, bf16 or plain fp8; run.quantization makes it smaller while it is loaded."
        )
    if find_flux_prefix(checkpoint) is not None:
        return _detect_flux(checkpoint)
    if f"{UNET}input_blocks.0.0.weight" not in checkpoint:
        raise ModelError(f"{checkpoint.path} {_describe_other(checkpoint)}")
    channels = checkpoint.length(f"{UNET}input_blocks.0.0.weight", 1)
    if channels != 4:
        raise ModelError(
            f"The U-Net in {checkpoint.path} takes {channels} channels: it is made for inpainting or for another "
            "task. Use a plain text-to-image model."
        )
    family = _detect_family(checkpoint)
    if not any(checkpoint.starts(f"{prefix}decoder.") for prefix in VAE_PREFIXES):
        raise ModelError(f"{checkpoint.path} holds no VAE. {_WHOLE}")
    return CheckpointKind(family, family, _detect_prediction(checkpoint, family), "ztsnr" in checkpoint)


def find_layouts(checkpoint: Checkpoint, configs: Configs) -> dict[str, Layout]:
    """Where the weights of each part are, by the part's name in diffusers. A part that is not there is left out."""
    layouts: dict[str, Layout] = {}
    flux_prefix = find_flux_prefix(checkpoint)
    if flux_prefix is not None:
        layouts["transformer"] = flux_layout(flux_prefix)
    else:
        layouts["unet"] = unet_layout(configs["unet"], UNET)
    for prefix in VAE_PREFIXES:
        if checkpoint.starts(f"{prefix}decoder."):
            layouts["vae"] = vae_layout(configs["vae"], prefix)
    for prefix in CLIP_PREFIXES:
        if checkpoint.starts(f"{prefix}text_model."):
            layouts["text_encoder"] = clip_layout(prefix)
        elif checkpoint.starts(f"{prefix}embeddings."):  # merged by an old program, which left one level out
            layouts["text_encoder"] = clip_layout(prefix, wrapped=False)
    for part, prefix in OPEN_CLIP_PREFIXES.items():
        if checkpoint.starts(prefix):
            layouts[part] = open_clip_layout(prefix)
    if checkpoint.starts(T5_PREFIX):
        layouts["text_encoder_2"] = t5_layout(T5_PREFIX)
    return layouts


def find_vae_layout(checkpoint: Checkpoint, config: dict[str, Any]) -> Layout:
    """Where a VAE's weights are in a file that holds only that, or a whole model. Raises ModelError if nowhere."""
    if "decoder.up_blocks.0.resnets.0.conv1.weight" in checkpoint:
        return Place  # diffusers' own names
    for prefix in ("", *VAE_PREFIXES):
        if f"{prefix}decoder.conv_in.weight" in checkpoint:
            return vae_layout(config, prefix)
    raise ModelError(f"{checkpoint.path} holds no VAE: it has no weight named decoder.conv_in.weight.")


def find_flux_prefix(checkpoint: Checkpoint) -> str | None:
    """What the names of a Flux transformer start with, or None if there is none."""
    for prefix in FLUX_PREFIXES:
        if f"{prefix}double_blocks.0.img_attn.qkv.weight" in checkpoint and f"{prefix}vector_in.in_layer.weight" in (
            checkpoint
        ):
            return prefix
    return None


def _detect_flux(checkpoint: Checkpoint) -> CheckpointKind:
    prefix = find_flux_prefix(checkpoint) or ""
    out_channels = checkpoint.length(f"{prefix}final_layer.linear.weight", 0)
    in_channels = checkpoint.length(f"{prefix}img_in.weight", 1)
    if in_channels != out_channels:
        raise ModelError(
            f"The transformer in {checkpoint.path} takes {in_channels} channels and gives {out_channels}: it is made "
            "for filling, depth or another task. Use FLUX.1-dev, FLUX.1-schnell or a model made from them."
        )
    guided = f"{prefix}guidance_in.in_layer.weight" in checkpoint  # dev is told the guidance, schnell is not
    return CheckpointKind("flux", "flux_dev" if guided else "flux_schnell", "flow")


def _detect_family(checkpoint: Checkpoint) -> str:
    """Which text encoders are there? Each family of Stable Diffusion has its own, under its own names."""
    if checkpoint.starts("conditioner.embedders.1.model."):
        return "sdxl"
    if checkpoint.starts("conditioner.embedders.0.model."):
        raise ModelError(f"{checkpoint.path} is the SDXL refiner. A LoRA is trained on the SDXL base model.")
    if checkpoint.starts("cond_stage_model.model."):
        return "sd2"
    if checkpoint.starts("cond_stage_model.transformer."):
        return "sd1"
    raise ModelError(f"{checkpoint.path} holds no text encoder. {_WHOLE}")


def _detect_prediction(checkpoint: Checkpoint, family: str) -> str:
    """What the maker wrote into the file; else by the family. `model.prediction` overrides it.

    SDXL models that predict v (NoobAI's and those made from it) are marked by an empty weight named v_pred. Stable
    Diffusion 2 has two editions that cannot be told apart: the one for 768 px, which is used far more, predicts v.
    """
    written = checkpoint.metadata.get("modelspec.prediction_type", "").lower()
    if written in ("v", "v_prediction", "epsilon"):
        return "epsilon" if written == "epsilon" else "v_prediction"
    if "v_pred" in checkpoint:
        return "v_prediction"
    architecture = checkpoint.metadata.get("modelspec.architecture", "").lower()
    return "v_prediction" if family == "sd2" and "v2-512" not in architecture else "epsilon"


def _describe_other(checkpoint: Checkpoint) -> str:
    """What is in a file that is no checkpoint of a family known here."""
    keys = list(checkpoint.shapes)
    if any(kind in key for key in keys for kind in _KINDS_OF_LORA):
        return "is a LoRA, not a base model. Give the model that it was trained on; adapter.continue_from takes a LoRA."
    if any("control_model." in key or "controlnet" in key for key in keys):
        return "is a ControlNet, not a base model. Give a whole checkpoint."
    if any("joint_blocks." in key for key in keys):
        return "is a Stable Diffusion 3 model, which is not supported: the families are sd1, sd2, sdxl and flux."
    if checkpoint.starts("down_blocks.") or checkpoint.starts("transformer_blocks."):
        return "is one part of a model in diffusers format. Give the whole folder, which has a model_index.json."
    if any(key.endswith("decoder.conv_in.weight") for key in keys):
        return "holds only a VAE. Give a whole checkpoint as model.base; this file can be given as model.vae."
    if any("text_model.encoder." in key or key == "shared.weight" for key in keys):
        return "holds only a text encoder. Give a whole checkpoint."
    if len(keys) < 10:
        return (
            f"holds {len(keys)} weights ({', '.join(keys[:3])}), not a model: perhaps an embedding. Give a checkpoint."
        )
    return (
        f"holds a model of a kind that is not known here; its first weight is {keys[0]!r}. The families are sd1, sd2, "
        "sdxl and flux (FLUX.1-dev and -schnell)."
    )
