"""What does copying a run to another folder cost its steps? `python -m benchmarks.mirror_cost [pairs]`

Trains the demo's LoRA, short, with and without run.mirror, in turns, with a checkpoint every three steps (much more
often than anybody wants), and prints the time with the copies divided by that without. Takes three minutes.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from lora_nb.config_file import change_settings
from lora_nb.project import Project, open_project
from lora_nb.training.event_log import read_events
from lora_nb.training.events import RunFinished
from lora_nb.training.runs import train_project
from lora_nb.workshop import demo_project

SHORT = {"run.epochs": 2, "run.checkpoint_every_n_steps": 3, "samples.every_n_epochs": 0}


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    demo_project.REPEATS = 8  # 12 pictures x 8 / batch size 4: 24 steps an epoch
    with tempfile.TemporaryDirectory() as folder:
        project = open_project(Path(folder) / "mochi")
        demo_project.fill_if_empty(project)
        time_run(project, "warm-up", {})
        ratios = []
        for number in range(pairs):
            plain = time_run(project, f"plain{number}", {})
            copied = time_run(project, f"copied{number}", {"run.mirror": str(Path(folder) / "copies")})
            ratios.append(copied / plain)
            print(f"{plain:.1f} s without, {copied:.1f} s with copies: {copied / plain:.3f}", flush=True)
    print(f"median {median(ratios):.3f}")


def time_run(project: Project, run: str, changes: dict[str, Any]) -> float:
    """Train, and return the seconds of its steps, checkpoints and LoRAs."""
    config = change_settings(project.load_config(), SHORT | changes)
    folder = train_project(project, config, run=run, on_event=lambda event: None)
    return next(event.seconds for event in read_events(folder / "events.jsonl") if isinstance(event, RunFinished))


if __name__ == "__main__":
    main()
