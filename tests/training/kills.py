"""Kill a run again and again, at moments that chance chooses, and continue it each time."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lora_nb.project import Project
from lora_nb.training.watching import RunWatcher
from tests.training.stories import assert_no_partial_file

SCRIPT = Path(__file__).parent / "killed.py"
ROOT = Path(__file__).parents[2]


@dataclass
class Kills:
    """What was tried."""

    by_touch: int = 0  # killed when the run was about to touch one of its files
    by_time: int = 0  # killed at any moment while it trained, drew or saved
    came_too_late: int = 0  # the run was at its end before
    steps: list[int] = field(default_factory=list)  # that were done at each kill


def kill_again_and_again(project: Project, run: str, count: int, seed: int, seconds: float, touches: int) -> Kills:
    """Start a run, kill it `count` times, and let it come to its end.

    seconds: kills by the clock come at most so long after one of the process's first steps. touches: those by the files
    come at most at so many touches of them. Both are chosen by the seed, which is printed.
    """
    print(f"kills of {run}: seed {seed}")
    chance, kills, folder = random.Random(seed), Kills(), project.run_folder(run)
    command = "train"
    while len(kills.steps) < count:
        if chance.random() < 0.5:
            over = _by_touch(project, folder, command, chance.randint(15, touches))
            kills.by_touch += not over
        else:
            over = _by_time(project, folder, command, chance.randint(0, 4), chance.uniform(0, seconds))
            kills.by_time += not over
        kills.came_too_late += over
        if over:
            break
        state = RunWatcher(folder).look().state
        kills.steps.append(state.step)
        assert_no_partial_file(folder)
        if state.state == "finished":  # killed after its last word
            return kills
        command = "continue"
    if not kills.came_too_late:
        assert start_killable(project, folder, command, 0).wait() == 0
    return kills


def start_killable(project: Project, folder: Path, command: str, touches: int) -> "subprocess.Popen[bytes]":
    """Start a command on a run that kills itself at so many touches of the run's files; 0: never."""
    words = [sys.executable, str(SCRIPT), str(touches), str(folder), command, str(project.root), "--run", folder.name]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _by_touch(project: Project, folder: Path, command: str, touches: int) -> bool:
    """Returns whether the run came to its end before."""
    code = start_killable(project, folder, command, touches).wait()
    assert code in (0, -signal.SIGKILL)
    return code == 0


def _by_time(project: Project, folder: Path, command: str, steps: int, seconds: float) -> bool:
    process = start_killable(project, folder, command, 0)
    watcher, begun = RunWatcher(folder), -1
    while process.poll() is None:
        state = watcher.look().state
        if state.pid == process.pid and state.state == "running":
            begun = state.step if begun < 0 else begun
        if begun >= 0 and state.step >= begun + steps:
            time.sleep(seconds)
            process.kill()
            break
        time.sleep(0.02)
    return process.wait() == 0
