"""Flux.1 dev and schnell: a transformer that straightens the way from noise to picture, with CLIP and T5 to read."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast  # type: ignore[attr-defined]

from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.errors import ConfigError, ModelError, Problem
from lora_nb.models.base import Conditioning, Geometry, Objective
from lora_nb.models.clip import encode_clip
from lora_nb.models.flux_blocks import ADAPTED_BLOCKS, join_projections, original_name
from lora_nb.models.networks import Networks, Part, TextEncoders, explain_damage, read_later
from lora_nb.models.objectives import FlowObjective
from lora_nb.models.parts import (
    CLIP_BLOCKS,
    checkpoint_gradients,
    clip_key,
    decode_with_vae,
    encode_with_vae,
    latent_factor_of,
    linear_layers,
    vae_precision,
)
from lora_nb.models.sources import ModelSource

TRANSFORMER, CLIP = "lora_unet", "lora_te1"  # how LoRA files call the two parts; kohya keeps the U-Net's name
T5 = "t5"
COMPONENTS = ("scheduler", "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "transformer", "vae")


@dataclass(frozen=True)
class Parts:
    """What a Flux model is made of; its networks may be unread (see networks.py)."""

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
    denoiser: Any = Part("denoiser")
    vae: Any = Part("vae")
    takes_negative_prompt = False  # its guidance is a number that it was trained with, not a second prediction

    def __init__(self, config: ModelConfig, parts: Parts) -> None:
        self.base = config.base
        networks = {"denoiser": parts.transformer, "vae": parts.vae}
        self.networks = Networks(config.base, networks | {CLIP: parts.text_encoder, T5: parts.text_encoder_2})
        self.text_encoders = TextEncoders(self.networks, (CLIP,))
        self.frozen_text_encoders = TextEncoders(self.networks, (T5,))
        transformer = self.networks.shape("denoiser")
        join_projections(transformer)
        self.tokenizers: dict[str, Any] = {CLIP: parts.tokenizer, T5: parts.tokenizer_2}
        self.scheduler_config = parts.scheduler_config
        self.objective: Objective = FlowObjective()
        self.attached: Any = None
        self.latent_factor = latent_factor_of(self.networks.shape("vae"))
        self.size_step = 2 * self.latent_factor  # four cells of the latents make one token
        self.max_tokens = config.t5_tokens - 1  # the end takes one
        self.reading = f"{config.t5_tokens} tokens, mask {config.t5_attention_mask}"
        self.device, self.dtype = self.networks.device, transformer.dtype
        self.variant = "dev" if transformer.config.guidance_embeds else "schnell"
        if self.variant == "schnell" and config.guidance != 1:
            raise ModelError(f"{config.base} takes no guidance (it is Flux schnell). Set model.guidance to 1.")
        self._guidance, self._uses_mask = config.guidance, config.t5_attention_mask
        # Noted before any adapter wraps these layers and changes what they look like.
        self._targets = {
            TRANSFORMER: linear_layers(transformer, ADAPTED_BLOCKS),
            CLIP: linear_layers(self.networks.shape(CLIP), CLIP_BLOCKS),
        }

    def trained_modules(self) -> dict[str, nn.Module]:
        return {TRANSFORMER: self.denoiser, CLIP: self.networks.at_hand(CLIP)}

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

    def encode_captions(
        self, captions: list[str], clip_skip: int = 1, max_tokens: int = 75, weighted: bool = False
    ) -> Conditioning:
        """Captions => {"pooled": (B, P) from CLIP, "encoder_hidden_states": (B, T, D) from T5}.

        With the attention mask there is also "text_mask" (B, T): which of T5's tokens are words, not filling.
        """
        if clip_skip != 1:
            raise ModelError(f"clip_skip is {clip_skip}, but Flux reads only CLIP's last word on the whole caption.")
        if max_tokens != 75 or weighted:
            raise ModelError("max_tokens and weights are CLIP's. Flux reads with T5: set model.t5_tokens.")
        pooled = encode_clip(self._tokenizer(CLIP), self.text_encoders[CLIP], captions).pooled
        t5 = self.frozen_text_encoders[T5]
        tokens = self._tokenizer(T5)(
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
        return len(self._tokenizer(T5)(caption, truncation=False, verbose=False).input_ids) - 1

    def pipeline(self, scheduler: Any) -> Any:
        pipeline: Any = FluxPipeline(
            scheduler=scheduler,
            vae=self.vae,
            text_encoder=self.text_encoders[CLIP],
            tokenizer=self.tokenizers[CLIP],
            text_encoder_2=self.frozen_text_encoders[T5],
            tokenizer_2=self.tokenizers[T5],
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
        for name in ("denoiser", CLIP, T5):
            self.networks.move(name, device, dtype)
        self.networks.move("vae", device, vae_precision(self.networks.shape("vae").config, dtype))
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        return self

    def _tokenizer(self, part: str) -> Any:
        tokenizer = self.tokenizers[part]
        if tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        return tokenizer

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


def load(source: ModelSource, config: ModelConfig, dtype: torch.dtype) -> Flux:
    """Open a model, whose networks are read when they are first needed."""
    source.check(COMPONENTS)
    channels = source.config("transformer").get("in_channels", 64)
    if channels != 4 * source.config("vae")["latent_channels"]:
        raise ModelError(
            f"The transformer of {config.base} takes {channels} channels: it is made for filling in or for another "
            "task. Use Flux.1 dev or schnell."
        )
    vae_dtype = vae_precision(source.config("vae"), dtype) or dtype
    with explain_damage(config.base):
        parts = Parts(
            transformer=read_later(source, "transformer", FluxTransformer2DModel, dtype, join_projections),
            text_encoder=read_later(source, "text_encoder", CLIPTextModel, dtype),
            text_encoder_2=read_later(source, "text_encoder_2", T5EncoderModel, dtype),
            vae=read_later(source, "vae", AutoencoderKL, vae_dtype),
            tokenizer=source.load_tokenizer("tokenizer", CLIPTokenizer),
            tokenizer_2=source.load_tokenizer("tokenizer_2", T5TokenizerFast),
            scheduler_config=source.config("scheduler"),
        )
        return Flux(config, parts)
