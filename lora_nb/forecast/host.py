"""How much main memory would a run have needed? Said beside a run whose process is gone."""

from pathlib import Path

from lora_nb.config_file import load_config
from lora_nb.dataset.final_captions import all_captions
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.environment import find_machine
from lora_nb.errors import LoraNbError
from lora_nb.forecast.fitting import largest_batch
from lora_nb.forecast.memory import GIB, forecast_memory
from lora_nb.project import Project


def say_needed_memory(project: Project, folder: Path) -> str:
    """The forecast of a run's main memory beside what this machine has, in a sentence. Takes seconds.

    Empty if it cannot be computed any more: the pictures or the settings are gone.
    """
    try:
        config, dataset = load_config(folder / "config.json"), scan_images(project.images)
        machine, shape = find_machine(project.root), largest_batch(plan_steps(dataset, config), config)
        captions = len({text for _, text in all_captions(dataset.items, config)})
        need = forecast_memory(config, shape, machine.device, captions).host
    except (LoraNbError, OSError):
        return ""
    return (
        f"Forecast: these settings need about {need / GIB:.1f} GiB of main memory; this machine has "
        f"{machine.memory_gib:.1f} GiB for all programs together."
    )
