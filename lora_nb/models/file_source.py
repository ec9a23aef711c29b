"""A model from a single checkpoint file: its parts read out of it, and what it lacks from a folder.

How a model of each family is built stands in `configs/`, so that no hub is asked. A model of an unusual shape brings
its own: a folder beside the file, named like it, with the JSON files of its diffusers edition.
"""

import json
from pathlib import Path
from typing import Any

import torch

from lora_nb.errors import ModelError
from lora_nb.models.checkpoint import Checkpoint, open_checkpoint
from lora_nb.models.folder_source import FolderSource
from lora_nb.models.layouts import Layout, clip_layout, t5_layout
from lora_nb.models.networks import load_network
from lora_nb.models.single_file import CheckpointKind, Configs, detect_kind, find_layouts, find_vae_layout

CONFIGS = Path(__file__).parent / "configs"
CLIP_TOKENIZER = Path(__file__).parent / "clip_tokenizer"
T5_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
FLUX_ADVICE = (
    "A Flux file holds the transformer alone. Name in model.other_parts where the rest is: a folder or a name on the "
    "hub in diffusers format, such as 'black-forest-labs/FLUX.1-schnell' (of which the transformer is not fetched), or "
    "a folder that holds clip_l.safetensors, t5xxl_fp16.safetensors, ae.safetensors and T5's tokenizer.json."
)


class FileSource:
    """The parts of a model in one .safetensors file (see ModelSource in sources.py)."""

    def __init__(self, path: Path, other_parts: Path | None = None) -> None:
        checkpoint = open_checkpoint(path)
        kind = detect_kind(checkpoint)
        self.where, self.family = path, kind.family
        beside = path.with_suffix("")
        self._configs = read_configs(kind, beside)
        self.pipeline = str(self._configs["pipeline"])
        self._folder = FolderSource(other_parts or beside)
        loose = find_loose_parts(self._folder.where, self._configs)
        inside = {part: (checkpoint, layout) for part, layout in find_layouts(checkpoint, self._configs).items()}
        self._places: dict[str, tuple[Checkpoint, Layout]] = loose | inside

    def check(self, parts: tuple[str, ...]) -> None:
        """Raise ModelError naming every part that is neither in the file nor in the folder."""
        missing = [part for part in parts if part not in self._places and not self._is_known(part)]
        if missing:
            advice = FLUX_ADVICE if self.family == "flux" else "Use the whole checkpoint."
            raise ModelError(f"{self.where} has no {', no '.join(missing)}. {advice}")

    def config(self, part: str) -> dict[str, Any]:
        """How a network or the scheduler is built."""
        if part not in self._places and part != "scheduler" and self._folder.has_config(part):
            return self._folder.config(part)
        return self._configs[part]

    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any:
        """Read a network, of the given class of diffusers or transformers."""
        self.check((part,))
        if part not in self._places:
            return self._folder.load(part, network, dtype)
        return load_network(network, self._configs[part], *self._places[part], dtype)

    def load_tokenizer(self, part: str, tokenizer: Any) -> Any:
        """Read a tokenizer, of the given class of transformers. CLIP's comes with this package."""
        self.check((part,))
        if self._folder.has(part):
            return self._folder.load_tokenizer(part, tokenizer)
        if part not in self._configs:
            return tokenizer.from_pretrained(self._folder.where)
        return tokenizer.from_pretrained(CLIP_TOKENIZER, pad_token=self._configs[part]["pad_token"])

    def _is_known(self, part: str) -> bool:
        if self._folder.has(part) or part == "scheduler":
            return True
        if part not in self._configs:  # T5's tokenizer, which may lie about without a folder of its own
            return any((self._folder.where / name).is_file() for name in T5_TOKENIZER_FILES)
        return part.startswith("tokenizer")


def read_configs(kind: CheckpointKind, beside: Path) -> Configs:
    """How each part of this edition is built: the package's word, or that of the folder beside the file."""
    configs: Configs = json.loads((CONFIGS / f"{kind.edition}.json").read_text(encoding="utf-8"))
    if kind.family != "flux":
        configs["scheduler"]["prediction_type"] = kind.prediction
        configs["scheduler"]["rescale_betas_zero_snr"] = kind.zero_terminal_snr
    folder = FolderSource(beside)
    for part in configs:
        if folder.has_config(part):
            configs[part] = folder.config(part)
    return configs


def find_loose_parts(folder: Path, configs: Configs) -> dict[str, tuple[Checkpoint, Layout]]:
    """Text encoders and VAE that lie in a folder as single files, as ComfyUI keeps those of Flux."""
    found: dict[str, tuple[Checkpoint, Layout]] = {}
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        checkpoint = open_checkpoint(path)
        if "encoder.block.0.layer.0.SelfAttention.q.weight" in checkpoint:
            found["text_encoder_2"] = (checkpoint, t5_layout())
        elif "text_model.encoder.layers.0.mlp.fc1.weight" in checkpoint:
            found["text_encoder"] = (checkpoint, clip_layout())
        elif "decoder.conv_in.weight" in checkpoint:
            found["vae"] = (checkpoint, find_vae_layout(checkpoint, configs["vae"]))
    return found
