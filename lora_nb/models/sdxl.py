"""Stable Diffusion XL: two text encoders, a larger U-Net, and pictures that are told their size and crop."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_nb.config import GenerationConfig, ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.base import Conditioning, Geometry, Objective
from lora_nb.models.clip import count_tokens, encode_clip
from lora_nb.models.layer_names import sgm_name
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
    vae_precision,
)
from lora_nb.models.sources import ModelSource

UNET, TEXT_ENCODER_1, TEXT_ENCODER_2 = "lora_unet", "lora_te1", "lora_te2"  # how LoRA files call the three parts
NETWORKS: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "vae": AutoencoderKL,
}
COMPONENTS = ("scheduler", "tokenizer", "tokenizer_2", *NETWORKS)
UNET_BLOCKS = {"Transformer2DModel"}  # what a LoRA sits in, as in kohya's networks/lora.py


@dataclass(frozen=True)
class Parts:
    """What an SDXL model is made of; its networks may be unread (see networks.py)."""

    unet: Any  # UNet2DConditionModel; diffusers' and transformers' classes are hardly typed
    text_encoder: Any  # CLIPTextModel, CLIP ViT-L
    text_encoder_2: Any  # CLIPTextModelWithProjection, OpenCLIP ViT-bigG
    vae: Any  # AutoencoderKL
    tokenizer: CLIPTokenizer | None  # only captions need them
    tokenizer_2: CLIPTokenizer | None
    scheduler_config: dict[str, Any]


class StableDiffusionXL:
    """An SDXL model (see DiffusionModel in base.py for what each part promises)."""

    family, variant = "sdxl", ""
    takes_negative_prompt = True
    reading = ""
    denoiser: Any = Part("denoiser")
    vae: Any = Part("vae")

    def __init__(self, config: ModelConfig, parts: Parts) -> None:
        self.base = config.base
        networks = {"denoiser": parts.unet, "vae": parts.vae}
        encoders = {TEXT_ENCODER_1: parts.text_encoder, TEXT_ENCODER_2: parts.text_encoder_2}
        self.networks = Networks(config.base, networks | encoders)
        self.text_encoders = TextEncoders(self.networks, tuple(encoders))
        self.tokenizers = {TEXT_ENCODER_1: parts.tokenizer, TEXT_ENCODER_2: parts.tokenizer_2}
        self.frozen_text_encoders: dict[str, Any] = {}
        self.scheduler_config = settle_schedule(parts.scheduler_config, config)
        self.objective: Objective = make_objective(self.scheduler_config)
        self.attached: Any = None
        unet = self.networks.shape("denoiser")
        self.latent_factor = latent_factor_of(self.networks.shape("vae"))
        self.size_step = max(8, self.latent_factor)  # 8 is what diffusers' pipelines ask for, whatever the VAE
        clip = self.networks.shape(TEXT_ENCODER_1)
        self.max_tokens = clip.config.max_position_embeddings - 2  # 75: start and end take two of 77
        self.device, self.dtype = self.networks.device, unet.conv_in.weight.dtype
        self._crop_of = CROPS[config.crop_conditioning]
        # Noted before any adapter wraps these layers and changes what they look like.
        self._targets = {UNET: linear_layers(unet, UNET_BLOCKS)} | {
            prefix: linear_layers(self.networks.shape(prefix), CLIP_BLOCKS) for prefix in encoders
        }

    def trained_modules(self) -> dict[str, nn.Module]:
        return {UNET: self.denoiser} | {prefix: self.networks.at_hand(prefix) for prefix in self.text_encoders}

    def target_modules(self, prefix: str) -> list[str]:
        return self._targets[prefix]

    def key_name(self, prefix: str, module_name: str) -> str:
        if prefix in self.text_encoders:
            return clip_key(prefix, module_name)
        return f"{prefix}_{sgm_name(module_name, self.denoiser.config.layers_per_block).replace('.', '_')}"

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return encode_with_vae(self.vae, pixels)

    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_with_vae(self.vae, latents)

    def encode_captions(
        self, captions: list[str], clip_skip: int = 1, max_tokens: int = 75, weighted: bool = False
    ) -> Conditioning:
        """Captions => {"encoder_hidden_states": (B, 77, D1 + D2), "text_embeds": (B, P)}, or 154 or 231.

        Both encoders are read at the layer before their last, without the final norm, as SDXL was trained; the
        second also says one thing about the whole caption.
        """
        if clip_skip != 1:
            raise ModelError(f"clip_skip is {clip_skip}, but SDXL was trained with one layer of its text encoders.")
        texts = [
            encode_clip(
                self._tokenizer(prefix),
                encoder,
                captions,
                layers_back=1,
                final_norm=False,
                max_tokens=max_tokens,
                weighted=weighted,
            )
            for prefix, encoder in self.text_encoders.items()
        ]
        hidden_states = torch.cat([text.hidden_states for text in texts], dim=-1)
        return {"encoder_hidden_states": hidden_states, "text_embeds": texts[1].pooled}

    def add_geometry(self, conditioning: Conditioning, geometry: list[Geometry]) -> Conditioning:
        """Add "time_ids" (B, 6): original height and width, crop from the top and left, height and width."""
        rows = [[*_flipped(each.original), *_flipped(self._crop_of(each)), *_flipped(each.size)] for each in geometry]
        return conditioning | {"time_ids": torch.tensor(rows, dtype=torch.float32, device=self.device)}

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        # sizes stay in float32: bf16 could not tell 1496 pixels from 1500
        added = {"text_embeds": conditioning["text_embeds"].to(self.dtype), "time_ids": conditioning["time_ids"]}
        hidden_states = conditioning["encoder_hidden_states"].to(self.dtype)
        latents = noisy_latents.to(self.dtype)
        prediction: Tensor = self.denoiser(latents, timesteps, hidden_states, added_cond_kwargs=added).sample
        return prediction

    def count_tokens(self, caption: str) -> int:
        return count_tokens(self._tokenizer(TEXT_ENCODER_1), caption)

    def pipeline(self, scheduler: Any) -> Any:
        pipeline: Any = StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=self.text_encoders[TEXT_ENCODER_1],
            text_encoder_2=self.text_encoders[TEXT_ENCODER_2],
            tokenizer=self.tokenizers[TEXT_ENCODER_1],
            tokenizer_2=self.tokenizers[TEXT_ENCODER_2],
            unet=self.denoiser,
            scheduler=scheduler,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_inputs(
        self, conditioning: Conditioning, negative: Conditioning | None, settings: GenerationConfig
    ) -> dict[str, Any]:
        names = {"encoder_hidden_states": "prompt_embeds", "text_embeds": "pooled_prompt_embeds"}
        inputs = {name: conditioning[ours] for ours, name in names.items()}
        inputs |= {f"negative_{name}": negative[ours] for ours, name in names.items()} if negative else {}
        return inputs | {
            "guidance_scale": settings.guidance_scale,
            "guidance_rescale": settings.guidance_rescale,
        }

    def latents_to_decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        return latents

    def set_gradient_checkpointing(self, on: bool) -> None:
        checkpoint_gradients(self.denoiser, on)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        for name in ("denoiser", *self.text_encoders):
            self.networks.move(name, device, dtype)
        self.networks.move("vae", device, vae_precision(self.networks.shape("vae").config, dtype))
        self.device = torch.device(device) if device is not None else self.device
        self.dtype = dtype or self.dtype
        return self

    def _tokenizer(self, prefix: str) -> CLIPTokenizer:
        tokenizer = self.tokenizers[prefix]
        if tokenizer is None:
            raise ModelError(f"{self.base} has no tokenizer, so captions cannot be read.")
        return tokenizer


def true_crop(geometry: Geometry) -> tuple[int, int]:
    """What was really cut off at the left and the top, in pixels of the resized picture."""
    return geometry.crop


def kohya_crop(geometry: Geometry) -> tuple[int, int]:
    """What kohya's trainer tells the model: the margins of a picture that fits inside its bucket.

    The pixels are resized to cover the bucket, so these are often on the other axis than the real crop. LoRAs were
    trained that way for years (kohya-ss/sd-scripts issue 1443), so it can be chosen.
    """
    (width, height), (bucket_width, bucket_height) = geometry.original, geometry.size
    aspect = width / height
    if bucket_width / bucket_height > aspect:
        return int((bucket_width - bucket_height * aspect) // 2), 0
    return 0, int((bucket_height - bucket_width / aspect) // 2)


CROPS = {"true": true_crop, "kohya": kohya_crop}


def load(source: ModelSource, config: ModelConfig, dtype: torch.dtype) -> StableDiffusionXL:
    """Open a model, whose networks are read when they are first needed."""
    source.check(COMPONENTS)
    scheduler_config = source.config("scheduler")
    settle_schedule(scheduler_config, config)  # refuse a model of the wrong kind before its gigabytes are read
    channels = source.config("unet").get("in_channels", 4)
    if channels != 4:
        raise ModelError(
            f"The U-Net of {config.base} takes {channels} channels: it is made for inpainting or for another task. "
            "Use a plain text-to-image SDXL model."
        )
    precisions = {"vae": vae_precision(source.config("vae"), dtype)}
    with explain_damage(config.base):
        parts: dict[str, Any] = {
            part: read_later(source, part, network, precisions.get(part) or dtype) for part, network in NETWORKS.items()
        }
        for part in ("tokenizer", "tokenizer_2"):
            parts[part] = source.load_tokenizer(part, CLIPTokenizer)
        return StableDiffusionXL(config, Parts(scheduler_config=scheduler_config, **parts))


def _flipped(pair: tuple[int, int]) -> tuple[int, int]:
    """(width, height) => (height, width)"""
    return pair[1], pair[0]
