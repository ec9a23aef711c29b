"""Stable Diffusion 1.x and 2.x: a VAE that makes pictures small, CLIP that reads captions, a U-Net that denoises."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.base import Conditioning, Geometry, Objective
from lora_nb.models.clip import count_tokens, encode_clip
from lora_nb.models.networks import Networks, Part, TextEncoders, explain_damage, read_later
from lora_nb.models.objectives import make_objective, settle_schedule
from lora_nb.models.parts import (
    CLIP_BLOCKS,
    checkpoint_gradients,
    clip_key,
    decode_with_vae,
    encode_with_vae,
    latent_factor_of,
    linear_layers,
)
from lora_nb.models.sources import ModelSource

UNET, TEXT_ENCODER = "lora_unet", "lora_te"  # how LoRA files call the two parts
NETWORKS: dict[str, Any] = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel, "vae": AutoencoderKL}
COMPONENTS = ("scheduler", "tokenizer", *NETWORKS)
UNET_BLOCKS = {"Transformer2DModel"}  # what a LoRA sits in, as in kohya's networks/lora.py


@dataclass(frozen=True)
class Parts:
    """What a Stable Diffusion 1.x or 2.x model is made of; its networks may be unread (see networks.py)."""

    unet: Any  # UNet2DConditionModel; diffusers' and transformers' classes are hardly typed
    text_encoder: Any  # CLIPTextModel
    vae: Any  # AutoencoderKL
    tokenizer: CLIPTokenizer | None  # only captions need it
    scheduler_config: dict[str, Any]


class StableDiffusion:
    """A Stable Diffusion 1.x or 2.x model (see DiffusionModel in base.py for what each part promises)."""

    variant = ""
    takes_negative_prompt = True
    reading = ""
    denoiser: Any = Part("denoiser")
    vae: Any = Part("vae")

    def __init__(self, config: ModelConfig, parts: Parts) -> None:
        self.family, self.base = config.family, config.base
        networks = {"denoiser": parts.unet, TEXT_ENCODER: parts.text_encoder, "vae": parts.vae}
        self.networks = Networks(config.base, networks)
        self.text_encoders = TextEncoders(self.networks, (TEXT_ENCODER,))
        self.frozen_text_encoders: dict[str, Any] = {}
        self.tokenizers = {TEXT_ENCODER: parts.tokenizer}
        self.scheduler_config = settle_schedule(parts.scheduler_config, config)
        self.objective: Objective = make_objective(self.scheduler_config)
        self.attached: Any = None
        unet, text_encoder = self.networks.shape("denoiser"), self.networks.shape(TEXT_ENCODER)
        self.latent_factor = latent_factor_of(self.networks.shape("vae"))
        self.size_step = max(8, self.latent_factor)  # 8 is what diffusers' pipelines ask for, whatever the VAE
        self.max_tokens = text_encoder.config.max_position_embeddings - 2  # 75: start and end take two of 77
        self.device, self.dtype = self.networks.device, unet.conv_in.weight.dtype
        # Noted before any adapter wraps these layers and changes what they look like.
        self._targets = {
            UNET: linear_layers(unet, UNET_BLOCKS),
            TEXT_ENCODER: linear_layers(text_encoder, CLIP_BLOCKS),
        }

    def trained_modules(self) -> dict[str, nn.Module]:
        return {UNET: self.denoiser, TEXT_ENCODER: self.networks.at_hand(TEXT_ENCODER)}

    def target_modules(self, prefix: str) -> list[str]:
        return self._targets[prefix]

    def key_name(self, prefix: str, module_name: str) -> str:
        if prefix == TEXT_ENCODER:
            return clip_key(prefix, module_name)
        return f"{prefix}_{module_name.replace('.', '_')}"

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return encode_with_vae(self.vae, pixels)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_with_vae(self.vae, latents)

    def encode_captions(
        self, captions: list[str], clip_skip: int = 1, max_tokens: int = 75, weighted: bool = False
    ) -> Conditioning:
        """Captions => {"encoder_hidden_states": (B, 77, D)}, or 154 or 231 for more tokens.

        clip_skip counts layers from the end: 1 is the last, 2 the one before; both end in CLIP's final norm.
        """
        encoder = self.text_encoders[TEXT_ENCODER]
        text = encode_clip(
            self._tokenizer(),
            encoder,
            captions,
            layers_back=clip_skip - 1,
            max_tokens=max_tokens,
            weighted=weighted,
        )
        return {"encoder_hidden_states": text.hidden_states}

    def add_geometry(self, conditioning: Conditioning, geometry: list[Geometry]) -> Conditioning:
        return conditioning  # this family is not told how large the pictures were

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        hidden_states = conditioning["encoder_hidden_states"].to(self.dtype)
        prediction: Tensor = self.denoiser(noisy_latents.to(self.dtype), timesteps, hidden_states).sample
        return prediction

    def count_tokens(self, caption: str) -> int:
        return count_tokens(self._tokenizer(), caption)

    def pipeline(self, scheduler: Any) -> Any:
        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoders[TEXT_ENCODER],
            tokenizer=self.tokenizers[TEXT_ENCODER],
            unet=self.denoiser,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_inputs(
        self, conditioning: Conditioning, negative: Conditioning | None, settings: GenerationConfig
    ) -> dict[str, Any]:
        inputs = {
            "prompt_embeds": conditioning["encoder_hidden_states"],
            "guidance_scale": settings.guidance_scale,
            "guidance_rescale": settings.guidance_rescale,
        }
        return inputs | ({"negative_prompt_embeds": negative["encoder_hidden_states"]} if negative else {})

    def latents_to_decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        return latents

    def set_gradient_checkpointing(self, on: bool) -> None:
        checkpoint_gradients(self.denoiser, on)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        for name in ("denoiser", TEXT_ENCODER, "vae"):
            self.networks.move(name, device, dtype)
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        return self

    def _tokenizer(self) -> CLIPTokenizer:
        tokenizer = self.tokenizers[TEXT_ENCODER]
        if tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        return tokenizer


def load(source: ModelSource, config: ModelConfig, dtype: torch.dtype) -> StableDiffusion:
    """Open a model, whose networks are read when they are first needed."""
    source.check(COMPONENTS)
    scheduler_config = source.config("scheduler")
    settle_schedule(scheduler_config, config)  # refuse a model of the wrong kind before its gigabytes are read
    _check_unet(source.config("unet"), config)
    with explain_damage(config.base):
        parts = {part: read_later(source, part, network, dtype) for part, network in NETWORKS.items()}
        tokenizer = source.load_tokenizer("tokenizer", CLIPTokenizer)
        return StableDiffusion(config, Parts(tokenizer=tokenizer, scheduler_config=scheduler_config, **parts))


def _check_unet(unet: dict[str, Any], config: ModelConfig) -> None:
    """Refuse a U-Net for another task, or of the other of the two families."""
    if unet.get("in_channels", 4) != 4:
        raise ModelError(
            f"The U-Net of {config.base} takes {unet['in_channels']} channels: it is made for inpainting or for "
            "another task. Use a plain text-to-image model."
        )
    family = "sd2" if unet.get("use_linear_projection") else "sd1"
    if family != config.family:
        raise ModelError(
            f"{config.base} is a Stable Diffusion {family[2:]}.x model, but the model family is set to "
            f"{config.family}. Set model.family to {family}."
        )
