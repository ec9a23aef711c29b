"""What training and sampling need from a model, whatever its family; and how a model is found and loaded."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lora_nb.config import GenerationConfig, ModelConfig, NoiseConfig
from lora_nb.errors import ModelError
from lora_nb.models.networks import Networks, quiet_libraries
from lora_nb.models.single_file import FAMILY_NAMES
from lora_nb.models.sources import ModelSource, open_source

Conditioning = dict[str, Tensor]  # everything that the denoiser takes besides latents and time; first axis is B

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

MODELS = {  # to add a family: one file with `load`, one line here
    "sd1": "lora_nb.models.stable_diffusion:load",
    "sd2": "lora_nb.models.stable_diffusion:load",
    "sdxl": "lora_nb.models.sdxl:load",
    "flux": "lora_nb.models.flux:load",
}


class Objective(Protocol):
    """What the denoiser must say: the answer to learn, and how noise is mixed in (see objectives.py)."""

    prediction: Literal["epsilon", "v", "flow"]
    zero_terminal_snr: bool  # the last timestep is noise alone, by a changed schedule
    num_timesteps: int  # timesteps go from 0 (a clean picture) to num_timesteps - 1; those of a flow from 0 to 1

    def sample_timesteps(self, latents: Tensor, config: NoiseConfig, generators: list[torch.Generator]) -> Tensor: ...
    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor: ...
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor: ...
    def clean(self, noisy_latents: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor: ...
    def snr(self, timesteps: Tensor) -> Tensor: ...
    def noise_share(self, timesteps: Tensor) -> Tensor: ...


class Geometry(NamedTuple):
    """How a training picture was cut from its file; SDXL is told. All in pixels, (width, height) or (left, top)."""

    original: tuple[int, int]  # the file's size
    resized: tuple[int, int]  # after resizing, before the crop
    crop: tuple[int, int]  # how much was cut off at the left and at the top, of the resized picture
    size: tuple[int, int]  # what is left: the bucket


class DiffusionModel(Protocol):
    """What training and sampling need from a model family. To add one: one file, one entry in MODELS."""

    family: str  # "sd1", the value of config.model.family
    variant: str  # which of the family's models, where they differ in use ("schnell"); else empty
    base: str  # what the user called this model, for the LoRA file's metadata
    latent_factor: int  # one cell of the latents stands for this many pixels, in width and in height
    size_step: int  # pictures have sides of a multiple of this many pixels
    reading: str  # how captions are read, where that is a setting of the model: with what it draws, too
    max_tokens: int  # captions are cut after this many tokens
    device: torch.device
    dtype: torch.dtype  # of the weights; what is being trained may be finer

    networks: Networks  # the three below: each is read when it is first asked for, and may be put to sleep
    denoiser: nn.Module  # the part that removes noise: U-Net or transformer
    text_encoders: Mapping[str, nn.Module]  # by their prefix in LoRA files, such as "lora_te"
    frozen_text_encoders: Mapping[str, nn.Module]  # those that no LoRA is made for: Flux's T5
    tokenizers: Mapping[str, Any]  # what cuts captions for each text encoder into tokens; None where there is none
    vae: nn.Module
    takes_negative_prompt: bool
    objective: Objective  # read from the checkpoint's scheduler, unless the settings say otherwise
    scheduler_config: dict[str, Any]  # the same noise schedule, from which samplers are made
    attached: Any  # the LoRA file that adapters.attached has put on this model, or None

    def trained_modules(self) -> dict[str, nn.Module]:
        """The parts that a LoRA may change, by their prefix in LoRA files. One that sleeps goes on sleeping."""

    def target_modules(self, prefix: str) -> list[str]:
        """Names of the layers in that part that get an adapter."""

    def key_name(self, prefix: str, module_name: str) -> str:
        """What that layer is called in LoRA files."""

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in -1..1 => mean and standard deviation of the latents, each (B, C, H/f, W/f) in float32.

        Latents are drawn as mean + std * normal noise, and have a variance of about one over many pictures.
        """

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents (B, C, H/f, W/f) => (B, 3, H, W) in -1..1."""

    def encode_captions(
        self, captions: list[str], clip_skip: int = 1, max_tokens: int = 75, weighted: bool = False
    ) -> Conditioning:
        """Captions => what the denoiser listens to; gradients flow where something is trained.

        max_tokens: 75, 150 or 225; what comes after is cut off. weighted: whether (brackets:1.3) say how much words
        count. Training and drawing must agree on all three.
        """

    def add_geometry(self, conditioning: Conditioning, geometry: list[Geometry]) -> Conditioning:
        """Add what the denoiser wants to know of the pictures' size and crop, one geometry an example."""

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """What the denoiser says about (B, C, H/f, W/f) at timesteps (B,)."""

    def count_tokens(self, caption: str) -> int:
        """How many tokens a caption has, to be compared with max_tokens."""

    def pipeline(self, scheduler: Any) -> Any:
        """diffusers' pipeline on these very weights, to generate with the given sampler."""

    def pipeline_inputs(
        self, conditioning: Conditioning, negative: Conditioning | None, settings: GenerationConfig
    ) -> dict[str, Any]:
        """One prompt's conditioning, the negative prompt's if it has a say, and the guidance, for that pipeline."""

    def latents_to_decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        """That pipeline's latents of a picture of height x width => (B, C, H/f, W/f), as decode_latents takes them."""

    def set_gradient_checkpointing(self, on: bool) -> None:
        """Whether to forget what the forward pass computed and compute it again: less memory, slower."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "DiffusionModel":
        """Move and cast all weights; those being trained keep their precision. Returns the model itself."""


def load_model(
    config: ModelConfig,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
    quantization: str = "none",
    offload: float = 0.0,
) -> DiffusionModel:
    """Open the base model, ready to train and to draw. Its weights are frozen.

    Each network is read from disk when it is first needed, directly in its final precision.
    quantization: "int8" or "nf4" puts its linear layers in fewer bits (see quantization.py).
    offload: this share of the denoiser's blocks waits in main memory (see offloading.py).
    Raises ModelError when the model cannot be found or fetched, is incomplete, or is of another family.
    """
    with quiet_libraries():
        source = open_source(config, half=precision != "fp32")
        if source.family != config.family:
            raise ModelError(_wrong_family(source, config))
        model = find_loader(config.family)(source, config, PRECISIONS[precision])
        if quantization != "none":
            from lora_nb.models.quantization import quantize

            quantize(model, quantization, device)
        if offload:
            from lora_nb.models.offloading import offload_blocks

            offload_blocks(model, offload)
        return model.to(device=device)


def find_loader(family: str) -> Callable[[ModelSource, ModelConfig, torch.dtype], DiffusionModel]:
    """The function that makes a model of this family from its parts."""
    module, _, function = MODELS[family].partition(":")
    load: Callable[[ModelSource, ModelConfig, torch.dtype], DiffusionModel]
    load = getattr(importlib.import_module(module), function)
    return load


@contextmanager
def putting_back_to_sleep(model: DiffusionModel) -> Iterator[None]:
    """Networks that sleep before, and wake up in between, are put to sleep again afterwards."""
    asleep = model.networks.sleeping()
    try:
        yield
    finally:
        model.networks.sleep(*asleep)


def _wrong_family(source: ModelSource, config: ModelConfig) -> str:
    kind = FAMILY_NAMES.get(source.family, source.family)
    found = f"{config.base} is a {kind} model ({source.pipeline}), but the model family is set to {config.family}."
    if source.family in MODELS:
        return f"{found} Set model.family to {source.family}, or choose another model."
    return f"{found} The families are {', '.join(MODELS)}: choose another model."
