"""Going on from a LoRA file: a training that starts where another one, in any program, ended."""

import os
from pathlib import Path

from lora_nb.adapters.files import LoraFile, read_lora
from lora_nb.adapters.fitting import check_fit
from lora_nb.adapters.modules import FileModule, kind_of
from lora_nb.adapters.reading import name_some
from lora_nb.config import AdapterConfig
from lora_nb.errors import LoraFileError
from lora_nb.models.base import DiffusionModel


def continue_from(model: DiffusionModel, config: AdapterConfig, fresh: dict[str, FileModule]) -> dict[str, FileModule]:
    """The file's matrices, with its ranks and alphas, and fresh ones for the layers that it lacks.

    Raises LoraFileError if the file holds what these settings would not train: it would be lost.
    """
    file = read_lora(Path(os.path.expanduser(config.continue_from)))
    check_fit(model, file)
    _check_kind(config, file)
    lost = [name for name in file.modules if name not in fresh]
    if lost:
        raise LoraFileError(
            f"{file.path} also changes layers that would not be trained, and would be lost: {name_some(lost)}. Look at "
            "train_denoiser, train_text_encoder, layers, conv_rank and the blocks in the settings of the adapter."
        )
    return fresh | file.modules


def _check_kind(config: AdapterConfig, file: LoraFile) -> None:
    allowed = {"lora", "locon"} if config.kind == "locon" else {config.kind}
    others = {kind_of(module) for module in file.modules.values()} - allowed
    if others:
        raise LoraFileError(
            f"{file.path} is a {', '.join(sorted(others))}, but adapter.kind is {config.kind!r}. Choose the kind of "
            f"the file{', and set adapter.conv_rank' if 'locon' in others else ''}."
        )
