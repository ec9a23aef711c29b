"""A model from a folder in diffusers format: one folder a part, safetensors only."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from lora_nb.errors import ModelError
from lora_nb.files import read_text
from lora_nb.models.checkpoint import PICKLES, open_checkpoint

LARGEST_JSON = 10 << 20  # bytes
FAMILIES = {  # by the pipeline that a folder names; the U-Net tells Stable Diffusion 1 from 2
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "FluxPipeline": "flux",
}


class FolderSource:
    """The parts of a model in a folder in diffusers format (see ModelSource in sources.py)."""

    def __init__(self, where: Path) -> None:
        self.where = where

    @property
    def pipeline(self) -> str:
        """The class that the folder was saved from."""
        check_folder(self.where, ("model_index.json",))
        return str(read_json(self.where / "model_index.json").get("_class_name"))

    @property
    def family(self) -> str:
        """As in config.model.family. A name of diffusers where it is none of them."""
        pipeline = self.pipeline
        family = FAMILIES.get(pipeline, pipeline.removesuffix("Pipeline"))
        if family == "sd1" and self.has_config("unet") and self.config("unet").get("use_linear_projection"):
            return "sd2"
        return family

    def check(self, parts: tuple[str, ...]) -> None:
        """Raise ModelError naming all parts that are missing or pickled."""
        files = {"scheduler": "scheduler/scheduler_config.json"}
        check_folder(
            self.where,
            tuple(
                f"{part}/tokenizer_config.json" if part.startswith("tokenizer") else files.get(part, part)
                for part in parts
            ),
        )
        for part in parts:
            for file in (self.where / part).glob("*.safetensors"):
                open_checkpoint(file)  # only its header: is it all there?

    def has(self, part: str) -> bool:
        """Whether there is a folder of that name with something in it but settings."""
        place = self.where / part
        return place.is_dir() and any(file.name not in ("config.json",) for file in place.iterdir())

    def has_config(self, part: str) -> bool:
        return self._config_file(part).is_file()

    def config(self, part: str) -> dict[str, Any]:
        """How a network or the scheduler is built."""
        return read_json(self._config_file(part))

    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any:
        """Read a network, of the given class of diffusers or transformers."""
        self.check((part,))
        place = self.where / part
        precision = {"dtype" if hasattr(network, "config_class") else "torch_dtype": dtype}
        return network.from_pretrained(place, variant=find_variant(place), use_safetensors=True, **precision)

    def load_tokenizer(self, part: str, tokenizer: Any) -> Any:
        """Read a tokenizer, of the given class of transformers."""
        return tokenizer.from_pretrained(self.where / part)

    def _config_file(self, part: str) -> Path:
        return self.where / part / ("scheduler_config.json" if part == "scheduler" else "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """How something is built, as diffusers writes it. Raises ModelError for a file that is damaged."""
    try:
        found = json.loads(read_text(path, LARGEST_JSON))
    except OSError as error:
        raise ModelError(f"{path} cannot be opened: {error.strerror}. Copy or download it again.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: it is no JSON ({error}). Copy or download it again.") from error
    if not isinstance(found, dict):
        raise ModelError(
            f"{path} is damaged: it holds a {type(found).__name__}, no names and values. Download it again."
        )
    return found


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


def _pickles(place: Path) -> list[Path]:
    return [file for file in place.iterdir() if file.suffix in PICKLES]
