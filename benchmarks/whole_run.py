"""How much memory does a training need, and how long until it learns? `python -m benchmarks.whole_run [sd1|sdxl]`

Writes a full-size model with random weights (once, to a temporary folder) and a project of one picture, and runs the
command `lora-nb train` on them as a user would. Printed are the peak memory of that process, the time from its start to
the end of its first step, and the median step.
  sd1: Stable Diffusion 1.5 in float32, 256 px, U-Net only. Needs 5 GiB.
  sdxl: Stable Diffusion XL in bfloat16, 512 px, U-Net only, three steps. Needs 9 GiB and 7 GiB of disk.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from benchmarks.models import write_sd1, write_sdxl
from lora_nb.config_file import make_config
from lora_nb.project import Project, open_project

MODELS = {"sd1": write_sd1, "sdxl": write_sdxl}
PLACE = Path(tempfile.gettempdir()) / "lora_nb_benchmark_models"
SHARED = {
    "adapter": {"rank": 8, "alpha": 4, "train_text_encoder": False},
    "optimizer": {"kind": "adamw"},
    "samples": {"every_n_epochs": 0},
}
SETTINGS = {
    "sd1": SHARED | {"data": {"resolution": 256}, "run": {"epochs": 1, "batch_size": 1, "precision": "fp32"}},
    "sdxl": SHARED | {"data": {"resolution": 512}, "run": {"epochs": 1, "batch_size": 1, "precision": "bf16"}},
}
STEPS = {"sd1": 8, "sdxl": 3}


@dataclass
class Figures:
    """What one training took, measured from outside."""

    peak: float  # GiB of memory
    first: float  # seconds from the start of the command to the end of the first step
    step: float  # median seconds of a step after it
    steps: int
    busy: float  # seconds that processors worked for it
    total: float  # seconds from start to end


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "sd1"
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(kind, Path(folder) / "mochi", find_or_write(kind))
        figures = measure(project, "run1")
    print(f"peak memory of the process         {figures.peak:6.2f} GiB")
    print(
        f"start of the command to first step {figures.first:6.1f} s, of which the processor was busy for the whole run "
        f"{figures.busy:.0f} s of {figures.total:.0f} s"
    )
    print(f"median step after it               {figures.step:6.2f} s ({figures.steps} steps)")


def find_or_write(kind: str) -> Path:
    """The folder of the full-size model, which is written once."""
    model = PLACE / kind
    if not (model / "model_index.json").exists():
        MODELS[kind](model)
    return model


def make_project(kind: str, root: Path, model: Path) -> Project:
    """A project of one picture, seen once a step."""
    project = open_project(root)
    pictures = project.images / f"{STEPS[kind]}_mochi"
    pictures.mkdir()
    side = int(SETTINGS[kind]["data"]["resolution"])
    Image.effect_noise((side, side), 60).convert("RGB").save(pictures / "a.png")
    (pictures / "a.txt").write_text("mochi, forest, smile")
    project.save_config(make_config(SETTINGS[kind] | {"model": {"family": kind, "base": str(model)}}))
    return project


def measure(project: Project, run: str, changes: dict[str, Any] | None = None) -> Figures:
    """Run `lora-nb train` on the project in a process of its own. changes: {"run.compile": True}."""
    given = [f"--set={name}={json.dumps(value)}" for name, value in (changes or {}).items()]
    started = time.time()
    command = [sys.executable, "-m", "lora_nb", "train", str(project.root), "--run", run, *given]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the training failed")
    events = project.run_folder(run) / "events.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    ends = [line["seconds"] for line in lines if line["event"] == "step_done"]
    finished = next(line["seconds"] for line in lines if line["event"] == "run_finished")
    total = events.stat().st_mtime - started
    return Figures(
        peak=usage.ru_maxrss / 2**20,
        first=total - finished + ends[0],  # the run's own clock starts when everything is loaded and cached
        step=median(after - before for before, after in pairwise(ends)),
        steps=len(ends),
        busy=usage.ru_utime + usage.ru_stime,
        total=total,
    )


if __name__ == "__main__":
    main()
