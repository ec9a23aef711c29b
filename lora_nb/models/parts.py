"""What the families' files share: layers to adapt, the VAE's two ways, moving and casting."""

from typing import Any

import torch
from torch import Tensor, nn

# Text encoders get a LoRA on the linear layers inside these classes, as in kohya's networks/lora.py.
CLIP_BLOCKS = {"CLIPAttention", "CLIPSdpaAttention", "CLIPMLP"}


def linear_layers(model: nn.Module, blocks: set[str]) -> list[str]:
    """Names of the linear layers and 1x1 convolutions inside the given kinds of blocks, in the model's order."""
    names = [name for name, module in model.named_modules() if type(module).__name__ in blocks]
    inside = tuple(f"{name}." for name in names)
    return [name for name, module in model.named_modules() if name.startswith(inside) and _is_linear(module)]


def clip_key(prefix: str, module_name: str) -> str:
    """What a layer of a CLIP text encoder is called in LoRA files."""
    if not module_name.startswith("text_model."):
        module_name = f"text_model.{module_name}"  # transformers 5 dropped this level, LoRA files keep it
    return f"{prefix}_{module_name.replace('.', '_')}"


@torch.no_grad()
def encode_with_vae(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) in -1..1 => mean and standard deviation of the latents, each (B, C, H/f, W/f) in float32.

    Shifted and scaled so that latents have a mean of about 0 and a variance of about 1 over many pictures.
    """
    spread = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    return (spread.mean.float() - shift) * scale, spread.std.float() * scale


@torch.no_grad()
def decode_with_vae(vae: Any, latents: Tensor) -> Tensor:
    """Latents (B, C, H/f, W/f) => (B, 3, H, W) in -1..1 in float32."""
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    pixels: Tensor = vae.decode((latents / scale + shift).to(vae.device, vae.dtype)).sample
    return pixels.float().clamp(-1, 1)


def vae_precision(config: Any, dtype: torch.dtype | None) -> torch.dtype | None:
    """The precision a VAE can bear: one that overflows in fp16, as SDXL's own does, stays in fp32 there."""
    overflows = (config if isinstance(config, dict) else dict(config)).get("force_upcast", True)
    return torch.float32 if dtype == torch.float16 and overflows else dtype


def latent_factor_of(vae: Any) -> int:
    """How many pixels, in width and in height, one cell of the latents stands for."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def checkpoint_gradients(denoiser: Any, on: bool) -> None:
    """Whether the denoiser forgets what its forward pass computed: less memory, slower.

    The text encoders, 77 tokens long, have next to nothing to save.
    """
    if on:
        denoiser.enable_gradient_checkpointing()
    else:
        denoiser.disable_gradient_checkpointing()


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
