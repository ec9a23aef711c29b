"""Flux.1 dev and schnell: a transformer that straightens the way from noise to picture, with CLIP and T5 to read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast  # type: ignore[attr-defined]

from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.errors import ConfigError, ModelError, Problem
from lora_nb.models.base import Conditioning, Geometry, Objective, explain_damage
from lora_nb.models.clip import encode_clip
from lora_nb.models.flux_blocks import ADAPTED_BLOCKS, join_projections, original_name
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.objectives import FlowObjective
from lora_nb.models.parts import (
    CLIP_BLOCKS,
    checkpoint_gradients,
    clip_key,
    decode_with_vae,
    encode_with_vae,
    freeze,
    latent_factor_of,
    linear_layers,
    move,
    vae_precision,
)

TRANSFORMER, CLIP = "lora_unet", "lora_te1"  # how LoRA files call the two parts; kohya keeps the U-Net's name
PARTS = ("scheduler", "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "transformer", "vae")


@dataclass(frozen=True)
class Parts:
    """What a Flux folder holds."""

    transformer: Any  # FluxTransformer2DModel; diffusers' and transformers' classes are hardly typed
    text_encoder: Any  # CLIPTextModel, CLIP ViT-L: says one thing about the whole caption
    text_encoder_2: Any  # T5EncoderModel, T5 XXL: says something about each token
    vae: Any  # AutoencoderKL
    tokenizer: CLIPTokenizer | None  # only captions need them
    tokenizer_2: Any  # T5TokenizerFast, or None
    scheduler_config: dict[str, Any]


class Flux:
    """A Flux.1 model (see DiffusionModel in base.py for what each part promises)."""

    family = "flux"
    takes_negative_prompt = False  # its guidance is a number that it was trained with, not a second prediction

    def __init__(self, config: ModelConfig, parts: Parts) -> None:
        self.base = config.base
        join_projections(parts.transformer)
        self.denoiser: Any = parts.transformer
        self.text_encoders: dict[str, Any] = {CLIP: parts.text_encoder}
        self.frozen_text_encoders: dict[str, Any] = {"t5": parts.text_encoder_2}
        self.tokenizer, self.t5_tokenizer = parts.tokenizer, parts.tokenizer_2
        self.vae: Any = parts.vae
        self.scheduler_config = parts.scheduler_config
        self.objective: Objective = FlowObjective()
        self.attached: Any = None
        self.latent_factor = latent_factor_of(parts.vae)
        self.size_step = 2 * self.latent_factor  # four cells of the latents make one token
        self.max_tokens = config.t5_tokens - 1  # the end takes one
        self.reading = f"{config.t5_tokens} tokens, mask {config.t5_attention_mask}"
        self.device, self.dtype = parts.transformer.device, parts.transformer.dtype
        self.variant = "dev" if parts.transformer.config.guidance_embeds else "schnell"
        if self.variant == "schnell" and config.guidance != 1:
            raise ModelError(f"{config.base} takes no guidance (it is Flux schnell). Set model.guidance to 1.")
        self._guidance, self._uses_mask = config.guidance, config.t5_attention_mask
        # Noted before any adapter wraps these layers and changes what they look like.
        self._targets = {
            TRANSFORMER: linear_layers(parts.transformer, ADAPTED_BLOCKS),
            CLIP: linear_layers(parts.text_encoder, CLIP_BLOCKS),
        }
        freeze((parts.transformer, parts.text_encoder, parts.text_encoder_2, parts.vae))

    def trained_modules(self) -> dict[str, nn.Module]:
        return {TRANSFORMER: self.denoiser, **self.text_encoders}

    def target_modules(self, prefix: str) -> list[str]:
        return self._targets[prefix]

    def key_name(self, prefix: str, module_name: str) -> str:
        if prefix == CLIP:
            return clip_key(prefix, module_name)
        return f"{prefix}_{original_name(module_name).replace('.', '_')}"

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return encode_with_vae(self.vae, pixels)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_with_vae(self.vae, latents)

    def encode_captions(self, captions: list[str], clip_skip: int = 1) -> Conditioning:
        """Captions => {"pooled": (B, P) from CLIP, "encoder_hidden_states": (B, T, D) from T5}.

        With the attention mask there is also "text_mask" (B, T): which of T5's tokens are words, not filling.
        """
        if clip_skip != 1:
            raise ModelError(f"clip_skip is {clip_skip}, but Flux reads only CLIP's last word on the whole caption.")
        if self.tokenizer is None or self.t5_tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        pooled = encode_clip(self.tokenizer, self.text_encoders[CLIP], captions).pooled
        t5 = self.frozen_text_encoders["t5"]
        tokens = self.t5_tokenizer(
            captions, padding="max_length", max_length=self.max_tokens + 1, truncation=True, return_tensors="pt"
        )
        mask = tokens.attention_mask.to(t5.device) if self._uses_mask else None
        with torch.no_grad():  # T5 never learns
            hidden_states = t5(tokens.input_ids.to(t5.device), attention_mask=mask).last_hidden_state
        conditioning = {"pooled": pooled, "encoder_hidden_states": hidden_states}
        return conditioning | ({} if mask is None else {"text_mask": mask.bool()})

    def add_geometry(self, conditioning: Conditioning, geometry: list[Geometry]) -> Conditioning:
        return conditioning  # Flux sees the picture's size by its tokens' places

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        batch, _, height, width = noisy_latents.shape
        hidden_states = conditioning["encoder_hidden_states"].to(self.dtype)  # (B, T, D)
        guidance = None
        if self.variant == "dev":
            guidance = torch.full((batch,), self._guidance, device=noisy_latents.device)
        prediction: Tensor = self.denoiser(
            hidden_states=pack(noisy_latents).to(self.dtype),
            timestep=timesteps,  # shares of noise in 0..1
            guidance=guidance,
            pooled_projections=conditioning["pooled"].to(self.dtype),
            encoder_hidden_states=hidden_states,
            txt_ids=torch.zeros(hidden_states.shape[1], 3, device=noisy_latents.device),
            img_ids=place_ids(height // 2, width // 2, noisy_latents.device),
            joint_attention_kwargs=self._attention(conditioning, height // 2 * (width // 2)),
        ).sample
        return unpack(prediction, height, width)

    def count_tokens(self, caption: str) -> int:
        if self.t5_tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        return len(self.t5_tokenizer(caption, truncation=False, verbose=False).input_ids) - 1

    def pipeline(self, scheduler: Any) -> Any:
        pipeline: Any = FluxPipeline(
            scheduler=scheduler,
            vae=self.vae,
            text_encoder=self.text_encoders[CLIP],
            tokenizer=self.tokenizer,
            text_encoder_2=self.frozen_text_encoders["t5"],
            tokenizer_2=self.t5_tokenizer,
            transformer=self.denoiser,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_inputs(
        self, conditioning: Conditioning, negative: Conditioning | None, settings: GenerationConfig
    ) -> dict[str, Any]:
        if self.variant == "schnell" and settings.guidance_scale != 1:
            problem = Problem("guidance_scale", f"{self.base} (Flux schnell) takes no guidance.", "Set it to 1.")
            raise ConfigError("This model cannot draw with these settings.", [problem])
        tokens = settings.height // self.size_step * (settings.width // self.size_step)
        return {
            "prompt_embeds": conditioning["encoder_hidden_states"],
            "pooled_prompt_embeds": conditioning["pooled"],
            "guidance_scale": settings.guidance_scale,
            "joint_attention_kwargs": self._attention(conditioning, tokens),
        }

    def latents_to_decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        return unpack(latents, height // self.latent_factor, width // self.latent_factor)

    def set_gradient_checkpointing(self, on: bool) -> None:
        checkpoint_gradients(self.denoiser, on)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        move((self.denoiser, *self.text_encoders.values(), *self.frozen_text_encoders.values()), device, dtype)
        move((self.vae,), device, vae_precision(self.vae.config, dtype))
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        return self

    def _attention(self, conditioning: Conditioning, tokens: int) -> dict[str, Any] | None:
        """What keeps the filling of short captions from being looked at: a mask over text and picture tokens."""
        if "text_mask" not in conditioning:
            return None
        text = conditioning["text_mask"]  # (B, T)
        mask = torch.cat([text, text.new_ones(len(text), tokens)], dim=1)
        return {"attention_mask": mask[:, None, None, :]}  # (B, heads, from, to), alike for all heads and places


def pack(latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) => tokens (B, h/2 * w/2, 4 C): each holds a square of four cells."""
    batch, channels, height, width = latents.shape
    squares = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * (width // 2), 4 * channels)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, h/2 * w/2, 4 C) => latents (B, C, h, w)."""
    batch, _, size = tokens.shape
    squares = tokens.reshape(batch, height // 2, width // 2, size // 4, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(batch, size // 4, height, width)


def place_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """Where each token of a picture is: (rows * columns, 3) with 0, its row and its column."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3).float().to(device)


def load(folder: Path, config: ModelConfig, dtype: torch.dtype) -> Flux:
    """Read a model, each part directly in its final precision, safetensors only."""
    source = FolderSource(folder)
    if source.family != "flux":
        raise ModelError(
            f"{config.base} is a {source.pipeline.removesuffix('Pipeline')} model, but the model family is set to "
            "flux. Choose another model, or the family that fits."
        )
    source.check(PARTS)
    channels = source.config("transformer").get("in_channels", 64)
    if channels != 4 * source.config("vae")["latent_channels"]:
        raise ModelError(
            f"The transformer of {config.base} takes {channels} channels: it is made for filling in or for another "
            "task. Use Flux.1 dev or schnell."
        )
    with explain_damage(folder, config.base):
        parts = Parts(
            transformer=source.load("transformer", FluxTransformer2DModel, dtype),
            text_encoder=source.load("text_encoder", CLIPTextModel, dtype),
            text_encoder_2=source.load("text_encoder_2", T5EncoderModel, dtype),
            vae=source.load("vae", AutoencoderKL, vae_precision(source.config("vae"), dtype) or dtype),
            tokenizer=source.load_tokenizer("tokenizer", CLIPTokenizer),
            tokenizer_2=source.load_tokenizer("tokenizer_2", T5TokenizerFast),
            scheduler_config=source.config("scheduler"),
        )
        return Flux(config, parts)
