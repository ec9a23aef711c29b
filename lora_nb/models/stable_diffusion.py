"""Stable Diffusion 1.x: a VAE that makes pictures small, CLIP that reads captions, a U-Net that removes noise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lora_nb.errors import ModelError
from lora_nb.models.base import Conditioning, check_folder, find_variant
from lora_nb.models.objectives import EpsilonObjective, make_objective

UNET, TEXT_ENCODER = "lora_unet", "lora_te"  # how LoRA files call the two parts
COMPONENTS = ("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json", "text_encoder", "unet", "vae")

# A LoRA sits on the linear layers inside these classes, as in kohya's networks/lora.py.
UNET_BLOCKS = {"Transformer2DModel"}
TEXT_ENCODER_BLOCKS = {"CLIPAttention", "CLIPSdpaAttention", "CLIPMLP"}


@dataclass(frozen=True)
class Parts:
    """What a Stable Diffusion 1.x folder holds."""

    unet: Any  # UNet2DConditionModel; diffusers' and transformers' classes are hardly typed
    text_encoder: Any  # CLIPTextModel
    vae: Any  # AutoencoderKL
    tokenizer: CLIPTokenizer | None  # only captions need it
    scheduler_config: dict[str, Any]


class StableDiffusion:
    """A Stable Diffusion 1.x model (see DiffusionModel in base.py for what each part promises)."""

    family = "sd1"

    def __init__(self, base: str, parts: Parts) -> None:
        self.base = base
        self.denoiser: Any = parts.unet
        self.text_encoders: dict[str, Any] = {TEXT_ENCODER: parts.text_encoder}
        self.vae: Any = parts.vae
        self.tokenizer = parts.tokenizer
        self.scheduler_config = parts.scheduler_config
        self.objective: EpsilonObjective = make_objective(parts.scheduler_config, base)
        self.attached: Any = None
        self.latent_factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)
        self.max_tokens = parts.text_encoder.config.max_position_embeddings - 2  # 75: start and end take two of 77
        self.device, self.dtype = parts.unet.conv_in.weight.device, parts.unet.conv_in.weight.dtype
        # Noted before any adapter wraps these layers and changes what they look like.
        self._targets = {
            UNET: _linear_layers(parts.unet, UNET_BLOCKS),
            TEXT_ENCODER: _linear_layers(parts.text_encoder, TEXT_ENCODER_BLOCKS),
        }
        for module in (parts.unet, parts.text_encoder, parts.vae):
            module.requires_grad_(False).eval()

    def trained_modules(self) -> dict[str, nn.Module]:
        return {UNET: self.denoiser, **self.text_encoders}

    def target_modules(self, prefix: str) -> list[str]:
        return self._targets[prefix]

    def key_name(self, prefix: str, module_name: str) -> str:
        if prefix == TEXT_ENCODER and not module_name.startswith("text_model."):
            module_name = f"text_model.{module_name}"  # transformers 5 dropped this level, LoRA files keep it
        return f"{prefix}_{module_name.replace('.', '_')}"

    @torch.no_grad()
    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        spread = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        scale = self.vae.config.scaling_factor  # 0.18215: about one over the latents' standard deviation
        return spread.mean.float() * scale, spread.std.float() * scale

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        latents = (latents / self.vae.config.scaling_factor).to(self.device, self.vae.dtype)
        pixels: Tensor = self.vae.decode(latents).sample
        return pixels.float().clamp(-1, 1)

    def encode_captions(self, captions: list[str], clip_skip: int = 1) -> Conditioning:
        """Captions => {"encoder_hidden_states": (B, 77, D)}. Tokens after the 75th are cut off.

        clip_skip counts layers from the end: 1 is the last, 2 the one before; both end in CLIP's final norm.
        """
        encoder = self.text_encoders[TEXT_ENCODER]
        layers = encoder.config.num_hidden_layers
        if not 1 <= clip_skip <= layers:
            raise ModelError(f"clip_skip is {clip_skip}, but the text encoder of {self.base} has {layers} layers.")
        tokens = self._tokenizer()(  # (B, 77): start, up to 75 tokens, end, filled up with end
            captions, padding="max_length", max_length=self.max_tokens + 2, truncation=True, return_tensors="pt"
        )
        output = encoder(tokens.input_ids.to(self.device), output_hidden_states=clip_skip > 1)
        if clip_skip == 1:
            return {"encoder_hidden_states": output.last_hidden_state}
        inner = getattr(encoder, "text_model", encoder)  # transformers before 5 wraps the encoder once more
        return {"encoder_hidden_states": inner.final_layer_norm(output.hidden_states[-clip_skip])}

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        hidden_states = conditioning["encoder_hidden_states"].to(self.dtype)
        prediction: Tensor = self.denoiser(noisy_latents.to(self.dtype), timesteps, hidden_states).sample
        return prediction

    def count_tokens(self, caption: str) -> int:
        return len(self._tokenizer()(caption, truncation=False, verbose=False).input_ids) - 2

    def pipeline(self, scheduler: Any) -> Any:
        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoders[TEXT_ENCODER],
            tokenizer=self.tokenizer,
            unet=self.denoiser,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def set_gradient_checkpointing(self, on: bool) -> None:
        # of the U-Net only: the text encoder, 77 tokens long, has next to nothing to save
        if on:
            self.denoiser.enable_gradient_checkpointing()
        else:
            self.denoiser.disable_gradient_checkpointing()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move and cast all weights; those being trained keep their precision, or small steps would be lost."""
        for module in (self.denoiser, *self.text_encoders.values(), self.vae):
            if device is not None:
                module.to(device=device)
            for parameter in module.parameters() if dtype is not None else ():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        return self

    def _tokenizer(self) -> CLIPTokenizer:
        if self.tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        return self.tokenizer


def load(folder: Path, base: str, dtype: torch.dtype) -> StableDiffusion:
    """Read a diffusers folder, each part directly in its final precision, safetensors only."""
    check_folder(folder, ("model_index.json",))
    kind = str(StableDiffusionPipeline.load_config(folder).get("_class_name"))
    if not kind.startswith("StableDiffusion") or "XL" in kind or kind.startswith("StableDiffusion3"):
        raise ModelError(
            f"{base} is a {kind.removesuffix('Pipeline')} model, but the model family is set to sd1 (Stable Diffusion "
            "1.x). Choose an SD 1.x model, or the family that fits."
        )
    check_folder(folder, COMPONENTS)
    scheduler_config = DDPMScheduler.load_config(folder, subfolder="scheduler")
    make_objective(scheduler_config, base)  # refuse a model of the wrong kind before its gigabytes are read
    _check_unet(UNet2DConditionModel.load_config(folder, subfolder="unet"), base)
    try:
        return StableDiffusion(base, _load_parts(folder, dtype, scheduler_config))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"{base} could not be read: {error}. Some file in {folder} is damaged or does not fit the others: copy or "
            "download the model again."
        ) from error


def _load_parts(folder: Path, dtype: torch.dtype, scheduler_config: dict[str, Any]) -> Parts:
    networks: dict[str, Any] = {}
    for name, network in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        variant = find_variant(folder / name)
        networks[name] = network.from_pretrained(
            folder, subfolder=name, variant=variant, torch_dtype=dtype, use_safetensors=True
        )
    place = folder / "text_encoder"
    text_encoder = CLIPTextModel.from_pretrained(place, variant=find_variant(place), dtype=dtype, use_safetensors=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    return Parts(text_encoder=text_encoder, tokenizer=tokenizer, scheduler_config=scheduler_config, **networks)


def _check_unet(config: dict[str, Any], base: str) -> None:
    if config.get("in_channels", 4) != 4:
        raise ModelError(
            f"The U-Net of {base} takes {config['in_channels']} channels: it is made for inpainting or for another "
            "task. Use a plain text-to-image SD 1.x model."
        )
    if config.get("use_linear_projection"):
        raise ModelError(f"{base} is a Stable Diffusion 2.x model, but the model family is set to sd1 (1.x).")


def _linear_layers(model: nn.Module, blocks: set[str]) -> list[str]:
    """Names of the linear layers and 1x1 convolutions inside the given kinds of blocks, in the model's order."""
    names = [name for name, module in model.named_modules() if type(module).__name__ in blocks]
    inside = tuple(f"{name}." for name in names)
    return [name for name, module in model.named_modules() if name.startswith(inside) and _is_linear(module)]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
