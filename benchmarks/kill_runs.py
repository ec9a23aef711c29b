"""Kill a run of the model that ships thirty times with -9, and compare it with one that nobody touched.

python -m benchmarks.kill_runs [--kills 30] [--seed 1] [--everything]

Prints how often and when it was killed, whether the LoRA is the same to the bit, what a checkpoint costs, and how long
it takes from the command to the next step.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import fmean

from lora_nb.config_file import change_settings
from lora_nb.project import open_project
from lora_nb.training.event_log import read_events
from lora_nb.training.events import CheckpointSaved, StepDone
from lora_nb.training.runs import train_project
from lora_nb.training.watching import RunWatcher
from lora_nb.workshop import demo_project
from tests.training.kills import kill_again_and_again, start_killable
from tests.training.stories import assert_same

SHORT = {"run.epochs": 4, "run.checkpoint_every_n_steps": 3, "samples.steps": 4}
EVERYTHING = {
    "run.gradient_accumulation_steps": 2,
    "optimizer.kind": "adamw8bit",
    "optimizer.ema_decay": 0.9,
    "data.validation_split": 0.2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--everything", action="store_true", help="accumulation, 8-bit AdamW, EMA, held-out pictures")
    chosen = parser.parse_args()
    demo_project.REPEATS = 8  # 12 pictures x 8 / batch size 4: 24 steps an epoch
    with tempfile.TemporaryDirectory() as folder:
        project = open_project(Path(folder) / "mochi")
        demo_project.fill_if_empty(project)
        project.save_config(change_settings(project.load_config(), SHORT | (EVERYTHING if chosen.everything else {})))
        whole = train_project(project, run="whole", on_event=lambda event: None)
        done, runs = 0, 0
        while done < chosen.kills:
            run, runs = f"killed{runs}", runs + 1
            kills = kill_again_and_again(project, run, chosen.kills - done, chosen.seed + runs, seconds=4, touches=160)
            assert_same(whole, project.run_folder(run))
            done += len(kills.steps)
            print(kills, flush=True)
        print(
            f"{done} kills of {runs} runs: the LoRAs are the same to the bit, no event is lost or doubled, no partial"
        )
        print("file was seen at any moment")
        report_costs(whole)
        report_start(project)


def report_costs(whole: Path) -> None:
    events = list(read_events(whole / "events.jsonl"))
    saved = [event for event in events if isinstance(event, CheckpointSaved)]
    steps = [event for event in events if isinstance(event, StepDone)]
    cost, step = fmean(event.seconds for event in saved), steps[-1].seconds / len(steps)
    print(f"checkpoint: {saved[-1].size / 1e6:.1f} MB, {cost:.3f} s; a step takes {step:.2f} s")
    print(f"every five minutes, that is {cost / 300:.3%} of the time")


def report_start(project) -> None:
    """From the command to the next step: of a new run, and of one that was killed after its first checkpoint."""
    for command in ("train", "continue"):
        started, folder = time.monotonic(), project.run_folder("timed")
        process = start_killable(project, folder, command, 0)
        watcher, before = RunWatcher(folder), 0 if command == "train" else RunWatcher(folder).look().state.step
        while not any(isinstance(e, StepDone) and e.step > before for e in watcher.look().events):
            time.sleep(0.05)
        print(f"{command}: {time.monotonic() - started:.1f} s to the next step")
        while command == "train" and watcher.look().state.step < 4:
            time.sleep(0.05)
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
