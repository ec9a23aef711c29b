"""How true is the forecast of memory? `python -m benchmarks.memory_forecast [256x1 256x1c 512x4c ...]`

Forecasts the peak memory of full-size Stable Diffusion 1.5 in float32 (random weights, written once to a temporary
folder), and then trains it for two steps with the command `lora-nb train`, each setting in a process of its own, whose
peak of resident memory the system reports. A setting is the side in pixels, the batch size, and what else is on: c for
gradient checkpointing, t for a text encoder that learns. Needs up to 12 GiB for 512x4, 6 GiB without it, and a few
minutes a setting.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.models import write_sd1
from benchmarks.whole_run import PLACE
from lora_nb.config_file import make_config
from lora_nb.forecast.memory import GIB, forecast_memory
from lora_nb.forecast.stages import BatchShape
from lora_nb.project import open_project

SETTINGS = ("256x1", "256x1c", "256x4", "256x4c", "512x1", "512x1c", "512x1ct", "512x4c")
STEPS = 2  # the optimizer remembers nothing before the first is done


def main() -> None:
    model = PLACE / "sd1"
    if not (model / "model_index.json").exists():
        write_sd1(model)
    print("setting   forecast   measured   forecast / measured   seconds to forecast")
    for setting in sys.argv[1:] or SETTINGS:
        config = make_config(read_setting(setting, model))
        side, batch = config.data.resolution, config.run.batch_size
        started = time.monotonic()
        expected = forecast_memory(config, BatchShape(side, side, batch), "cpu", captions=1).peak / GIB
        seconds = time.monotonic() - started
        measured = measure(read_setting(setting, model)) / GIB
        row = f"{setting:9} {expected:5.2f} GiB  {measured:5.2f} GiB   {expected / measured:19.3f}   {seconds:19.1f}"
        print(row, flush=True)


def read_setting(setting: str, model: Path) -> dict[str, Any]:
    """512x4c => 512 px, batches of 4, with gradient checkpointing"""
    side, _, rest = setting.partition("x")
    batch = rest.rstrip("ct")
    return {
        "model": {"base": str(model)},
        "data": {"resolution": int(side)},
        "adapter": {"rank": 8, "alpha": 4, "train_text_encoder": "t" in rest},
        "optimizer": {"kind": "adamw"},
        "run": {"epochs": 1, "batch_size": int(batch), "gradient_checkpointing": "c" in rest},
        "samples": {"every_n_epochs": 0},
    }


def measure(settings: dict[str, Any]) -> int:
    """Train in a process of its own. => the peak of its resident memory in bytes"""
    side, batch = settings["data"]["resolution"], settings["run"]["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        project = open_project(Path(folder) / "mochi")
        pictures = project.images / f"{STEPS * batch}_mochi"
        pictures.mkdir()
        Image.effect_noise((side, side), 60).convert("RGB").save(pictures / "a.png")
        (pictures / "a.txt").write_text("mochi, forest, smile")
        project.save_config(make_config(settings))
        command = [sys.executable, "-m", "lora_nb", "train", str(project.root)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the training failed: {' '.join(command)}")
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
