"""Killed with -9 at moments that chance chooses, a run still becomes the same LoRA, and tells each event once.

`python -m benchmarks.kill_runs` does it thirty times with the model that ships.
"""

import random

import pytest

from lora_nb.config_file import change_settings
from lora_nb.training.runs import train_project
from tests.training.kills import kill_again_and_again
from tests.training.stories import assert_same

EVERYTHING = {
    "run.gradient_accumulation_steps": 2,
    "run.epochs": 4,
    "optimizer.kind": "adamw8bit",
    "optimizer.ema_decay": 0.9,
    "data.validation_split": 0.2,
    "samples.prompts": ["mochi", "forest"],
    "samples.steps": 2,
    "samples.width": 64,
    "samples.height": 64,
}


@pytest.mark.processes
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_run_that_is_killed_again_and_again_becomes_the_same_lora(project, config, changes):
    config = change_settings(config, changes | {"run.checkpoint_every_n_steps": 2})
    project.save_config(config)
    whole = train_project(project, config, run="whole", on_event=lambda event: None)
    kills = kill_again_and_again(project, "killed", 3, random.randrange(10**6), seconds=0.5, touches=90)
    print(kills)
    assert_same(whole, project.run_folder("killed"))
