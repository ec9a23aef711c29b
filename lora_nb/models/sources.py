"""Where is a model? The small one of this package, the user's folder or file, one from the hub or from Civitai."""

import os
from pathlib import Path
from typing import Any, Protocol

import torch

from lora_nb.config import WORKSHOP_MODEL, ModelConfig
from lora_nb.errors import ModelError
from lora_nb.models.checkpoint import open_checkpoint
from lora_nb.models.civitai import FORMS, fetch_from_civitai, is_civitai
from lora_nb.models.file_source import FileSource
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.hub import PARTS, fetch_from_hub, is_hub_name
from lora_nb.models.networks import load_network
from lora_nb.models.single_file import find_vae_layout

OTHER_PARTS = tuple(part for part in PARTS if part not in ("unet", "transformer"))  # beside a single file


class ModelSource(Protocol):
    """The parts of a model, by their names in diffusers: "unet", "vae", "text_encoder", "tokenizer", ..."""

    where: Path

    @property
    def family(self) -> str:
        """As in config.model.family; another name where it is none of those."""

    @property
    def pipeline(self) -> str:
        """The class of diffusers' pipeline."""

    def check(self, parts: tuple[str, ...]) -> None:
        """Raise ModelError naming every part that is missing or cannot be read."""

    def config(self, part: str) -> dict[str, Any]:
        """How a network or the scheduler is built."""

    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any:
        """Read a network, of the given class, directly in its final precision."""

    def load_tokenizer(self, part: str, tokenizer: Any) -> Any:
        """Read a tokenizer, of the given class."""


class OtherVae:
    """A model with another VAE than its own (see ModelSource): from a file, or from a folder in diffusers format."""

    def __init__(self, source: ModelSource, vae: Path) -> None:
        self._source = source
        self.where, self.family, self.pipeline = source.where, source.family, source.pipeline
        own = source.config("vae")
        if vae.is_dir():  # of a whole model, or of a VAE alone
            self._folder, self._part = (vae, "vae") if (vae / "vae").is_dir() else (vae.parent, vae.name)
            self._config = FolderSource(self._folder).config(self._part)
        else:
            self._file = open_checkpoint(vae)
            self._layout = find_vae_layout(self._file, own)
            self._config = own
        self._is_folder = vae.is_dir()
        if self._config.get("latent_channels", 4) != own.get("latent_channels", 4):
            raise ModelError(
                f"The VAE {vae} makes latents of {self._config.get('latent_channels', 4)} channels, but this model "
                f"takes {own.get('latent_channels', 4)}: it is made for another model family."
            )

    def check(self, parts: tuple[str, ...]) -> None:
        if self._is_folder:
            FolderSource(self._folder).check((self._part,))
        self._source.check(tuple(part for part in parts if part != "vae"))

    def config(self, part: str) -> dict[str, Any]:
        return self._config if part == "vae" else self._source.config(part)

    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any:
        if part != "vae":
            return self._source.load(part, network, dtype)
        if self._is_folder:
            return FolderSource(self._folder).load(self._part, network, dtype)
        return load_network(network, self._config, self._file, self._layout, dtype)

    def load_tokenizer(self, part: str, tokenizer: Any) -> Any:
        return self._source.load_tokenizer(part, tokenizer)


def open_source(config: ModelConfig, half: bool = False) -> ModelSource:
    """Find a model, download it if need be, and see what is in it. half: whether 16-bit weights are enough.

    Raises ModelError when it cannot be found or fetched, and for files that are no models.
    """
    place = find_model(config.base, half=half)
    source: ModelSource
    if place.is_file():
        other = find_model(config.other_parts, OTHER_PARTS, half) if config.other_parts else None
        source = FileSource(place, other)
    else:
        source = FolderSource(place)
    return OtherVae(source, find_model(config.vae, ("vae",), half)) if config.vae else source


def find_model(base: str, parts: tuple[str, ...] = PARTS, half: bool = False) -> Path:
    """The folder or the file that holds a model, after fetching it if it is on the internet."""
    if base == WORKSHOP_MODEL:
        return _workshop_folder()
    place = Path(os.path.expanduser(base))
    if os.path.isdir(place) or os.path.isfile(place):  # unlike Path's own questions, these never fail
        return place
    if is_civitai(base):
        return fetch_from_civitai(base)
    if is_hub_name(base):
        return fetch_from_hub(base, parts, half)
    raise ModelError(
        f"There is no model at {base!r}. Give {WORKSHOP_MODEL!r}, a folder in diffusers format (with a "
        "model_index.json), a single .safetensors checkpoint, a name on the Hugging Face hub such as 'owner/name', or "
        f"a model on Civitai: {FORMS}."
    )


def _workshop_folder() -> Path:
    from lora_nb.workshop import MODEL_FOLDER

    folder = Path(MODEL_FOLDER)
    if not folder.is_dir():
        raise ModelError(
            f"The small model that ships with this package is not in {folder}. Install the package again, or build it "
            "with: python -m lora_nb.workshop.build"
        )
    return folder
