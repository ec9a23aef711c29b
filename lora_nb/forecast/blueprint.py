"""A model without its weights: every layer in its shape, on the meta device, built from the configs alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from lora_nb.config import WORKSHOP_MODEL, ModelConfig
from lora_nb.models.base import PRECISIONS, DiffusionModel, find_loader
from lora_nb.models.file_source import CONFIGS
from lora_nb.models.networks import make_shape, quiet_libraries
from lora_nb.models.offloading import WaitingLinear, offload_blocks
from lora_nb.models.sources import open_source

META = torch.device("meta")


class BlueprintSource:
    """The parts of a model as shapes (see ModelSource in models/sources.py)."""

    def __init__(self, config: ModelConfig) -> None:
        self.where = Path(config.base)
        self.family = config.family
        self._read = open_source(config).config if is_here(config) else _packaged_configs(config).__getitem__
        self.pipeline = ""

    def check(self, parts: tuple[str, ...]) -> None:
        """Nothing can be missing."""

    def config(self, part: str) -> dict[str, Any]:
        return dict(self._read(part))

    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any:
        return make_shape(network, self.config(part)).to(dtype)

    def load_tokenizer(self, part: str, tokenizer: Any) -> Any:
        return ShapeTokenizer()


class ShapeTokenizer:
    """Reads nothing: captions are filled up to the same length, so their words do not change any shape."""

    bos_token_id = eos_token_id = pad_token_id = 0

    def __call__(self, text: str | list[str], max_length: int = 0, **options: Any) -> Any:
        if isinstance(text, str):
            return SimpleNamespace(input_ids=[])
        shape = (len(text), max_length)
        return SimpleNamespace(
            input_ids=torch.zeros(shape, dtype=torch.long), attention_mask=torch.ones(shape, dtype=torch.long)
        )


def is_here(config: ModelConfig) -> bool:
    """Whether the base model is on this machine, so that its own configs can be read without a download."""
    return config.base == WORKSHOP_MODEL or Path(config.base).expanduser().exists()


def draw_blueprint(config: ModelConfig, precision: str, offload: float = 0.0) -> DiffusionModel:
    """The model that these settings name, on the meta device and in the given precision.

    offload: this share of the denoiser's blocks waits elsewhere (see models/offloading.py).

    Its shape is that of the model's own config files where it is on this machine; of its family's else. Takes seconds,
    and no memory worth naming.
    """
    with quiet_libraries():
        model: DiffusionModel = find_loader(config.family)(BlueprintSource(config), config, PRECISIONS[precision])
        offload_blocks(model, offload, META)
        model = model.to(device=META)
        model.objective.snr(
            torch.zeros(1, dtype=torch.long, device=META)
        )  # its table of noise levels follows when it is first asked
        return model


def waiting_weights(model: DiffusionModel) -> list[torch.Tensor]:
    """The weights that are not where the model computes."""
    return [layer.weight for layer in model.denoiser.modules() if isinstance(layer, WaitingLinear)]


def _packaged_configs(config: ModelConfig) -> dict[str, dict[str, Any]]:
    edition: str = config.family
    if edition == "flux":
        edition = "flux_schnell" if "schnell" in config.base.lower() else "flux_dev"
    configs: dict[str, dict[str, Any]] = json.loads((CONFIGS / f"{edition}.json").read_text(encoding="utf-8"))
    return configs
