"""From a folder of pictures to a tested LoRA for Stable Diffusion: the public names.

They are loaded when they are first used, so that `import lora_nb` needs neither torch nor ipywidgets.
"""

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lora_nb.checkup.doctor import doctor as doctor
    from lora_nb.config import TrainConfig as TrainConfig
    from lora_nb.config_file import change_settings as change_settings
    from lora_nb.config_file import load_config as load_config
    from lora_nb.config_file import save_config as save_config
    from lora_nb.dataset.checks import check_dataset as check_dataset
    from lora_nb.dataset.final_captions import final_caption as final_caption
    from lora_nb.dataset.images import scan_images as scan_images
    from lora_nb.dataset.steps import plan_steps as plan_steps
    from lora_nb.dataset.steps import solve_repeats as solve_repeats
    from lora_nb.environment import find_machine as find_machine
    from lora_nb.evaluation.grids import draw_grid as draw_grid
    from lora_nb.evaluation.plots import plot_grid as plot_grid
    from lora_nb.kohya.importing import import_kohya as import_kohya
    from lora_nb.models.base import load_model as load_model
    from lora_nb.project import open_project as open_project
    from lora_nb.sampling import generate as generate
    from lora_nb.training.runs import train_project as train_project
    from lora_nb.widgets.errors import explain_errors as explain_errors

_HOMES = {
    "TrainConfig": "config",
    "change_settings": "config_file",
    "load_config": "config_file",
    "save_config": "config_file",
    "check_dataset": "dataset.checks",
    "final_caption": "dataset.final_captions",
    "scan_images": "dataset.images",
    "plan_steps": "dataset.steps",
    "solve_repeats": "dataset.steps",
    "doctor": "checkup.doctor",
    "find_machine": "environment",
    "draw_grid": "evaluation.grids",
    "plot_grid": "evaluation.plots",
    "import_kohya": "kohya.importing",
    "load_model": "models.base",
    "open_project": "project",
    "generate": "sampling",
    "train_project": "training.runs",
    "explain_errors": "widgets.errors",
}
__all__ = ["__version__", *_HOMES]

# Two libraries tell every user about optional packages that LoRA training does not use.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lora_nb' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lora_nb.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
