"""A process that is gone without a word: what killed it, as far as can be known."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lora_nb.forecast.host import say_needed_memory
from lora_nb.training import memory_watch
from lora_nb.training.children import exit_code, keep_child
from lora_nb.training.claims import note_holder, read_holder
from lora_nb.training.memory_watch import MemoryLook, container_memory, count_kills, last_look, look_at_memory
from lora_nb.training.vanished import explain_vanishing
from lora_nb.training.watching import run_state

GIB = 2**30
CHILD = """
import sys, time
from pathlib import Path
from lora_nb.training.claims import claim_run
from lora_nb.training.memory_watch import watch_memory
with claim_run(Path(sys.argv[1])), watch_memory(Path(sys.argv[1])):
    print("works", flush=True)
    time.sleep(60)
"""


def killed_child(folder: Path, number: int = signal.SIGKILL) -> "subprocess.Popen[bytes]":
    """A process that claims the run, watches its memory, and is killed."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"works\n"
    for _ in range(100):
        if last_look(folder):
            break
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.wait()
    return process


def write_look(folder: Path, **changes: object) -> MemoryLook:
    look = replace(last_look(folder), **changes)
    memory_watch._write(folder / memory_watch.FILE, look)
    return look


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose process was killed with much memory left."""
    killed_child(tmp_path)
    write_look(tmp_path, taken=2 * GIB, free=8 * GIB, total=16 * GIB)
    return tmp_path


def test_what_a_killed_process_saw_of_memory_is_left(tmp_path):
    process = killed_child(tmp_path)
    look = last_look(tmp_path)
    assert look.pid == process.pid == read_holder(tmp_path).pid
    assert 5e6 < look.taken < look.total and 0 < look.free <= look.total


def test_a_process_that_ends_as_it_should_leaves_nothing(tmp_path):
    with memory_watch.watch_memory(tmp_path):
        for _ in range(100):
            if last_look(tmp_path):
                break
            time.sleep(0.05)
        assert last_look(tmp_path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_memory_that_was_full_is_the_likely_reason(run):
    write_look(run, free=int(0.3 * GIB), taken=13 * GIB)
    found = explain_vanishing(run, "").explanation
    assert found.cause == "killed-for-memory" and found.happened.startswith("Most likely")
    assert "it took 13.0 GiB, and 0.3 of 16.0 GiB were free" in found.happened
    assert "lora-nb plan" in found.fix and "run.batch_size" in found.settings


def test_the_systems_own_count_is_the_strongest_evidence(run, tmp_path):
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 1\noom_kill 4\n")
    write_look(run, counter=str(counter), kills=4)
    assert explain_vanishing(run, "").explanation.cause == "killed"
    counter.write_text("low 0\noom 2\noom_kill 5\n")
    found = explain_vanishing(run, "").explanation
    assert found.cause == "killed-for-memory" and found.happened.startswith("The system has killed a process")


def test_with_memory_left_nobody_blames_memory(run):
    found = explain_vanishing(run, "").explanation
    assert found.cause == "killed" and "Memory was hardly the reason" in found.happened


def test_the_exit_code_is_said_where_this_process_started_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    note_holder(tmp_path, process.pid)
    keep_child(process)
    assert exit_code(process.pid) is None
    process.kill()
    process.wait()
    assert exit_code(process.pid) == -9
    assert "killed by signal 9, SIGKILL" in explain_vanishing(tmp_path, "").said
    assert "main memory ran out" in explain_vanishing(tmp_path, "").explanation.happened


def test_a_restart_of_the_machine_is_told_apart(run, monkeypatch):
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() + 60)
    assert explain_vanishing(run, "").explanation.cause == "restarted"


def test_what_it_printed_last_explains_it(run):
    log = "step 3\nterminate called after throwing an instance of 'std::bad_alloc'"
    assert explain_vanishing(run, log).explanation.cause == "main-memory"


def test_the_look_of_an_earlier_process_does_not_count(run):
    write_look(run, free=0, pid=1)
    assert "When last seen" not in explain_vanishing(run, "").explanation.happened


def test_a_damaged_record_is_no_record(run):
    (run / "memory.json").write_text("{")
    assert last_look(run) is None and explain_vanishing(run, "").explanation.cause == "killed"


@pytest.mark.parametrize("limit", [str(4 * GIB), "max"])
def test_a_containers_limit_counts(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(memory_watch, "GROUPS", tmp_path)
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(str(3 * GIB))
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\n")
    assert container_memory() == ((4 * GIB, 2 * GIB) if limit != "max" else (None, 0))
    if limit != "max":
        look = look_at_memory()
        assert look.total == min(4 * GIB, psutil.virtual_memory().total) and look.free <= 2 * GIB


def test_a_counter_that_is_gone_counts_nothing(tmp_path):
    assert count_kills(tmp_path / "nothing") == 0


def test_a_run_killed_for_memory_says_so_with_its_forecast(project, config):
    """A real run, killed by -9: the watcher and the command tell it, with the forecast beside it."""
    from typer.testing import CliRunner

    from lora_nb.__main__ import app
    from lora_nb.config_file import change_settings
    from lora_nb.training.launching import start_run

    folder = start_run(project, change_settings(config, {"run.epochs": 900, "samples.every_n_epochs": 0}))
    for _ in range(1200):
        state = run_state(folder)
        assert state.is_alive, state
        if state.step >= 2 and last_look(folder):
            break
        time.sleep(0.1)
    os.kill(state.pid, signal.SIGKILL)
    while run_state(folder).is_alive:
        time.sleep(0.05)
    write_look(folder, free=1000)
    state = run_state(folder)
    assert (state.state, state.vanished, state.explanation.cause) == ("crashed", True, "killed-for-memory")
    assert "killed by signal 9" in state.error
    forecast = say_needed_memory(project, folder)
    assert forecast.startswith("Forecast: these settings need about ")
    shown = CliRunner().invoke(app, ["runs", str(project.root)]).output
    assert forecast in shown and "main memory ran out" in shown and "What to do: " in shown
