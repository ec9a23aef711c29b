"""What training and sampling need from a model, whatever its family; and how a model is found and loaded."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lora_nb.config import WORKSHOP_MODEL, GenerationConfig, ModelConfig, NoiseConfig
from lora_nb.errors import ModelError

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

    denoiser: nn.Module  # the part that removes noise: U-Net or transformer
    text_encoders: dict[str, nn.Module]  # by their prefix in LoRA files, such as "lora_te"
    frozen_text_encoders: dict[str, nn.Module]  # those that no LoRA is made for: Flux's T5
    vae: nn.Module
    takes_negative_prompt: bool
    objective: Objective  # read from the checkpoint's scheduler, unless the settings say otherwise
    scheduler_config: dict[str, Any]  # the same noise schedule, from which samplers are made
    attached: Any  # the LoRA file that adapters.attached has put on this model, or None

    def trained_modules(self) -> dict[str, nn.Module]:
        """The parts that a LoRA may change, by their prefix in LoRA files."""

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

    def encode_captions(self, captions: list[str], clip_skip: int = 1) -> Conditioning:
        """Captions => what the denoiser listens to; gradients flow where something is trained."""

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
) -> DiffusionModel:
    """Load the base model, ready to train and to draw, directly in its final precision. Its weights are frozen.

    quantization: "int8" or "nf4" puts its linear layers in fewer bits (see quantization.py).
    Raises ModelError when the model cannot be found, is incomplete, or is of another family.
    """
    folder = find_model(config.base)
    with quiet_libraries():
        module, _, function = MODELS[config.family].partition(":")
        load = getattr(importlib.import_module(module), function)
        model: DiffusionModel = load(folder, config, PRECISIONS[precision])
        if quantization != "none":
            from lora_nb.models.quantization import quantize

            quantize(model, quantization, device)
        return model.to(device=device)


def find_model(base: str) -> Path:
    """The folder that holds a model: the small one of this package, the user's own, or one from the hub."""
    if base == WORKSHOP_MODEL:
        return _workshop_folder()
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(_single_file_advice(folder))
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base) and folder.suffix not in (".safetensors", ".ckpt", ".pt"):
        return _download(base)
    raise ModelError(
        f"There is no model at {base!r}. Give {WORKSHOP_MODEL!r}, a folder in diffusers format (with a "
        "model_index.json), or a name on the Hugging Face hub such as 'owner/name'."
    )


def check_folder(folder: Path, components: tuple[str, ...]) -> None:
    """Make sure that all parts of a diffusers folder are there, in safetensors. Raises ModelError naming the missing.

    `components` are files such as "scheduler/scheduler_config.json", or folders of weights such as "unet".
    """
    missing: list[str] = []
    pickled: list[str] = []
    for component in components:
        place = folder / component
        if place.suffix == ".json":
            missing += [component] if not place.is_file() else []
        elif not (place / "config.json").is_file():
            missing.append(f"{component}/config.json")
        elif not list(place.glob("*.safetensors")):
            (pickled if _pickles(place) else missing).append(f"{component}/*.safetensors")
    if missing:
        raise ModelError(
            f"{folder} is not a complete model: {', '.join(missing)} missing. Copy or download the whole folder again; "
            "it must be in diffusers format."
        )
    if pickled:
        raise ModelError(
            f"{folder} holds pickled weights and no {', '.join(pickled)}. Pickle files can run any program when they "
            "are opened, so they are not read here. Use an edition of the model that has .safetensors files; or, if "
            "you trust where it comes from, convert it once: DiffusionPipeline.from_pretrained(folder, "
            "use_safetensors=False).save_pretrained(new_folder)."
        )


def find_variant(place: Path) -> str | None:
    """The precision named in a component's file names ("fp16"), where there is no plain file beside it."""
    names = [file.name for file in place.glob("*.safetensors")]
    if any(re.fullmatch(r"(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors", name) for name in names):
        return None
    variants = [name.split(".")[1].split("-")[0] for name in names if name.count(".") == 2]
    return min(variants, default=None)


@contextmanager
def explain_damage(folder: Path, base: str) -> Iterator[None]:
    """Turn what the libraries raise over a damaged model into a ModelError that says what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"{base} could not be read: {error}. Some file in {folder} is damaged or does not fit the others: copy or "
            "download the model again."
        ) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what diffusers and transformers say while they are imported and read files out of the notebook."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, had_progress_bar in before:
            log.set_verbosity(verbosity)
            if had_progress_bar:
                log.enable_progress_bar()


def _pickles(place: Path) -> list[Path]:
    return [file for file in place.iterdir() if file.suffix in (".bin", ".ckpt", ".pt", ".pth")]


def _workshop_folder() -> Path:
    from lora_nb.workshop import MODEL_FOLDER

    folder = Path(MODEL_FOLDER)
    if not folder.is_dir():
        raise ModelError(
            f"The small model that ships with this package is not in {folder}. Install the package again, or build it "
            "with: python -m lora_nb.workshop.build"
        )
    return folder


def _single_file_advice(file: Path) -> str:
    if file.suffix == ".safetensors":
        return (
            f"{file} is a single-file checkpoint. Turn it into a diffusers folder once, and give that: "
            f"StableDiffusionPipeline.from_single_file({str(file)!r}).save_pretrained({file.stem!r})"
        )
    return (
        f"{file} is not a model folder. Pickled checkpoints (.ckpt, .pt, .bin) can run any program when they are "
        "opened, so they are not read here: use an edition in .safetensors."
    )


def _download(name: str) -> Path:
    """Fetch a model from the hub into its cache, without pickles and without the safety checker."""
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(name, use_safetensors=True, safety_checker=None, feature_extractor=None))
    except Exception as error:  # the hub's client raises many kinds, which differ between its versions
        raise ModelError(
            f"The model {name!r} could not be fetched from the Hugging Face hub ({_first_line(error)}). Check the "
            f"spelling and the internet connection; a gated model needs `hf auth login` and its licence accepted on "
            f"huggingface.co/{name}. If you meant a folder: there is none of that name in {Path.cwd()}."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
