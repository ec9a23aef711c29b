"""A run is a process of its own: it can be watched, asked, and killed, and its folder says how it stands."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lora_nb.config_file import change_settings
from lora_nb.errors import ConfigError, DatasetError, RunChangedError, TrainingError
from lora_nb.training.event_log import read_events
from lora_nb.training.events import ImageSampled, LoraSaved, RunFinished, RunStarted, StepDone
from lora_nb.training.launching import continue_run, start_run
from lora_nb.training.requests import ask_run
from lora_nb.training.runs import train_project
from lora_nb.training.watching import RunWatcher, follow_run, list_runs, run_state
from tests.training.stories import assert_same

LONG = {"run.epochs": 900, "run.save_every_n_epochs": 1000, "samples.every_n_epochs": 0} | {
    "samples.prompts": ["mochi"],
    "samples.steps": 2,
    "samples.width": 64,
    "samples.height": 64,
}


def wait_for(folder, *states, step=0, seconds=120):
    """Wait until a run stands as it should, and return its state."""
    for _ in range(seconds * 10):
        state = run_state(folder)
        if state.state in states and state.step >= step:
            return state
        assert state.is_alive or state.state in states, state
        time.sleep(0.1)
    raise AssertionError(f"still {run_state(folder)}")


def stop_at(folder, step):
    def listen(event):
        if isinstance(event, StepDone) and event.step == step:
            ask_run(folder, "stop")

    return listen


@pytest.fixture
def long_run(project, config):
    """A run in the background that would take minutes; killed if the test leaves it alive."""
    folder = start_run(project, change_settings(config, LONG))
    yield folder
    if pid := run_state(folder).pid:
        os.kill(pid, signal.SIGKILL)


def test_two_runs_in_the_background_do_not_see_each_other_and_train_the_same_lora(project, config):
    """Both encode the same pictures into the same cache at the same time."""
    folders = [start_run(project, config), start_run(project, config)]
    assert [folder.name for folder in folders] == ["run1", "run2"] and run_state(folders[1]).state == "starting"
    for folder in folders:
        state = follow_run(folder, lambda event: None)
        assert (state.state, state.step, state.steps) == ("finished", 10, 10) and state.pid is None
        assert "10 steps" in (folder / "log.txt").read_text()
    here = train_project(project, config, run="here", on_event=lambda event: None)
    for folder in folders:
        assert_same(here, folder)
    assert [state.run for state in list_runs(project)] == ["run1", "run2", "here"]


def test_a_run_is_paused_asked_for_pictures_and_files_and_stopped(long_run):
    wait_for(long_run, "running", step=2)
    ask_run(long_run, "pause")
    paused = wait_for(long_run, "paused")
    ask_run(long_run, "sample_now")
    ask_run(long_run, "save_now")
    watcher, seen = RunWatcher(long_run), []
    for _ in range(600):
        seen += watcher.look().events
        if {ImageSampled, LoraSaved} <= {type(event) for event in seen}:
            break
        time.sleep(0.1)
    assert run_state(long_run).step == paused.step, "it waits"
    assert [path.name for path in (long_run / "loras").iterdir()] == [f"mochi-step{paused.step:08d}.safetensors"]
    ask_run(long_run, "go_on")
    wait_for(long_run, "running", step=paused.step + 1)
    ask_run(long_run, "stop")
    stopped = wait_for(long_run, "stopped")
    assert stopped.pid is None
    assert run_state(long_run).pending == []
    with pytest.raises(TrainingError, match="run1 is not running"):
        ask_run(long_run, "pause")


def test_a_killed_run_is_seen_as_crashed_and_holds_nothing(project, config, long_run):
    state = wait_for(long_run, "running", step=2)
    os.kill(state.pid, signal.SIGKILL)
    crashed = wait_for(long_run, "crashed")
    assert "killed by signal 9" in crashed.error and crashed.step >= 2 and crashed.vanished
    again = start_run(project, config)
    assert follow_run(again, lambda event: None).state == "finished"


def test_a_signal_to_end_stops_it_gently(long_run):
    os.kill(wait_for(long_run, "running", step=2).pid, signal.SIGTERM)
    wait_for(long_run, "stopped")
    assert list((long_run / "loras").iterdir())


def test_what_makes_a_run_impossible_is_said_at_once(project, config):
    with pytest.raises(ConfigError, match=r"custom_class"):
        changes = {"optimizer.kind": "custom", "optimizer.custom_class": "torch.optim.Nothing"}
        start_run(project, change_settings(config, changes))
    for path in (project.images / "2_mochi").iterdir():
        path.unlink()
    with pytest.raises(DatasetError):
        start_run(project, config)
    assert not project.runs.exists()


def test_why_a_run_failed_is_written_down(project, config):
    folder = start_run(project, change_settings(config, {"model.base": str(project.root / "nothing")}))
    state = follow_run(folder, lambda event: None)
    assert state.state == "crashed" and "nothing" in state.error and "Traceback" in state.traceback


def test_a_run_that_fails_here_before_it_begins_leaves_nothing(project, config):
    from lora_nb.errors import LoraNbError

    with pytest.raises(LoraNbError):
        train_project(project, change_settings(config, {"model.base": str(project.root / "nothing")}))
    assert not project.runs.exists()


def test_a_name_is_taken_once(project, config):
    start = start_run(project, config, "mine")
    with pytest.raises(ConfigError, match="holds a run already"):
        start_run(project, config, "mine")
    follow_run(start, lambda event: None)


def test_a_watcher_sees_every_event_once_while_it_is_written(project, config):
    seen, folder = [], project.run_folder("run1")
    watcher = RunWatcher(folder)

    def look(event):
        if isinstance(event, StepDone | RunFinished):
            seen.extend(watcher.look().events)

    train_project(project, config, run="run1", on_event=look)
    assert seen == list(read_events(folder / "events.jsonl"))
    assert any(isinstance(event, RunStarted) for event in seen)


def test_the_commands(project, config):
    project.save_config(change_settings(config, LONG))

    def command(*words):
        line = [sys.executable, "-m", "lora_nb", words[0], str(project.root), *words[1:]]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    assert "run1 trains in the background" in command("train", "--background")
    folder = project.run_folder("run1")
    try:
        wait_for(folder, "running", step=1)
        assert "run1         running" in command("runs")
        assert "Asked" in command("pause")
        wait_for(folder, "paused")
        command("continue")
        wait_for(folder, "running")
    finally:
        command("stop")
    wait_for(folder, "stopped")
    assert "stopped" in command("runs")


def test_a_killed_run_goes_on_in_the_background(project, config):
    changes = LONG | {"run.epochs": 30, "run.checkpoint_every_n_steps": 2}
    folder = start_run(project, change_settings(config, changes))
    os.kill(wait_for(folder, "running", step=7).pid, signal.SIGKILL)
    killed = wait_for(folder, "crashed")
    watcher = RunWatcher(folder)
    watcher.look()
    assert continue_run(project) == folder and run_state(folder).state == "starting"
    with pytest.raises(TrainingError, match=r"run1 is (starting|running) already"):
        continue_run(project)
    running = wait_for(folder, "running", step=killed.step + 1)
    ask_run(folder, "pause")
    wait_for(folder, "paused")
    assert continue_run(project) == folder
    wait_for(folder, "running", step=running.step + 1)
    news = watcher.look()
    assert news.from_start, "what was told after the checkpoint is taken back"
    steps = [event.step for event in news.events if isinstance(event, StepDone)]
    assert steps == list(range(1, len(steps) + 1))
    ask_run(folder, "stop")
    wait_for(folder, "stopped")


def test_what_has_changed_is_said_before_a_process_is_started(project, config):
    project.save_config(config)
    folder = train_project(project, config, run="run1", on_event=stop_at(project.run_folder("run1"), 3))
    project.save_config(change_settings(config, {"optimizer.learning_rate": 0.5}))
    with pytest.raises(RunChangedError, match=r"optimizer\.learning_rate"):
        continue_run(project)
    continue_run(project, as_before=True)
    assert follow_run(folder, lambda event: None).state == "finished"
