"""Is the forecast true on this GPU, and how fast is a step? `python -m benchmarks.gpu [sd1-512x4-fp16 ...]`

Trains full-size models with random weights (written once to a temporary folder), each setting in a process of its own.
Beside the forecast stands the peak of what PyTorch has reserved and the driver has taken, which is what a smaller card
would need. A setting is the family, the side in pixels and the batch size, and what else is on, such as
sdxl-1024x1-bf16-checkpointing: precision, checkpointing, nf4, int8, compile, last (channels last), 8bit (AdamW), text
(the text encoders learn). Needs a GPU, 10 GB of disk and half a minute a setting.
"""

import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from benchmarks.whole_run import find_or_write
from lora_nb.config_file import make_config
from lora_nb.forecast.memory import GIB, forecast_memory
from lora_nb.forecast.stages import BatchShape
from lora_nb.project import open_project
from lora_nb.training.events import StepDone
from lora_nb.training.runs import train_project

SETTINGS = (
    "sd1-512x1-fp32",
    "sd1-512x4-fp16",
    "sd1-512x4-fp16-last",
    "sd1-512x4-fp16-compile",
    "sd1-512x4-fp16-checkpointing",
    "sd1-512x4-bf16-text",
    "sd1-512x4-bf16-8bit",
    "sdxl-1024x1-bf16",
    "sdxl-1024x1-fp16-checkpointing",
    "sdxl-1024x4-bf16-checkpointing",
    "sdxl-1024x1-bf16-nf4",
    "sdxl-1024x1-bf16-int8",
)
WORDS: dict[str, dict[str, Any]] = {
    "checkpointing": {"run": {"gradient_checkpointing": True}},
    "nf4": {"run": {"quantization": "nf4"}},
    "int8": {"run": {"quantization": "int8"}},
    "compile": {"run": {"compile": True}},
    "last": {"run": {"channels_last": True}},
    "8bit": {"optimizer": {"kind": "adamw8bit"}},
    "text": {"adapter": {"train_text_encoder": True}},
}
STEPS = 10


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("This measures a GPU, and PyTorch finds none here.")
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    print("| setting | forecast | measured | forecast / measured | of it the driver | a step |")
    print("|---|---|---|---|---|---|")
    for setting in sys.argv[1:] or SETTINGS:
        find_or_write(setting.split("-")[0])
        command = [sys.executable, "-m", "benchmarks.gpu", "--one", setting]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {setting} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        peak = found["reserved"] + found["driver"]
        sizes = f"{found['forecast'] / GIB:.2f} GiB | {peak / GIB:.2f} GiB | {found['forecast'] / peak:.2f}"
        print(f"| {setting} | {sizes} | {found['driver'] / GIB:.2f} GiB | {found['step']:.3f} s |", flush=True)


def read_setting(setting: str) -> dict[str, Any]:
    """sdxl-1024x1-bf16-checkpointing => settings"""
    family, size, precision, *words = setting.split("-")
    side, batch = map(int, size.split("x"))
    settings: dict[str, dict[str, Any]] = {
        "model": {"family": family, "base": str(find_or_write(family))},
        "data": {"resolution": side},
        "adapter": {"rank": 16, "alpha": 8, "train_text_encoder": False},
        "optimizer": {"kind": "adamw"},
        "run": {"epochs": 1, "batch_size": batch, "precision": precision},
        "samples": {"every_n_epochs": 0},
    }
    for word in words:
        for section, values in WORDS[word].items():
            settings[section] |= values
    return settings


def measure(setting: str) -> dict[str, float]:
    """Train for a few steps. => bytes of the forecast and of the peak, and the median step in seconds"""
    config = make_config(read_setting(setting))
    side, batch = config.data.resolution, config.run.batch_size
    expected = forecast_memory(config, BatchShape(side, side, batch), "cuda", captions=1).peak
    ends: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, StepDone):
            ends.append(event.seconds)

    with tempfile.TemporaryDirectory() as folder:
        project = open_project(Path(folder) / "mochi")
        pictures = project.images / f"{STEPS * batch}_mochi"
        pictures.mkdir()
        Image.effect_noise((side, side), 60).convert("RGB").save(pictures / "a.png")
        (pictures / "a.txt").write_text("mochi, forest, smile")
        train_project(project, config, on_event=listen)
        free, total = torch.cuda.mem_get_info()
        driver = total - free - torch.cuda.memory_reserved()
    step = median(after - before for before, after in pairwise(ends[2:]))
    return {"forecast": expected, "reserved": torch.cuda.max_memory_reserved(), "driver": driver, "step": step}


if __name__ == "__main__":
    main()
