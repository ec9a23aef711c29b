"""Requests are files: dropped whole, the last word counts, and each is answered once."""

import json
import os
import signal
import subprocess
import sys

import pytest

from lora_nb.config_file import change_settings
from lora_nb.errors import TrainingError
from lora_nb.training.claims import claim_run, find_holder
from lora_nb.training.event_log import EventReader, read_events, write_events_to
from lora_nb.training.events import LoraSaved, ProblemFound, RunContinued, RunFinished, RunPaused, StepDone
from lora_nb.training.requests import (
    ask_run,
    drop_request,
    interrupts_as_requests,
    pending_requests,
    take_requests,
)
from lora_nb.training.runs import train_project


def step(number, loss=0.5):
    return StepDone(number, 1, loss, loss, 1e-4, 1.0, float(number))


def test_the_last_word_counts_and_each_is_taken_once(tmp_path):
    for request in ("pause", "sample_now", "go_on"):
        drop_request(tmp_path, request)
    assert pending_requests(tmp_path) == ["sample_now", "go_on"]
    assert take_requests(tmp_path) == ["sample_now", "go_on"] and take_requests(tmp_path) == []


def test_nobody_is_asked_where_nobody_is(tmp_path):
    with pytest.raises(TrainingError, match="is not running"):
        ask_run(tmp_path, "stop")
    assert pending_requests(tmp_path) == []


def test_a_run_answers_within_its_step(project, config):
    folder = project.run_folder("run1")

    def ask(event):
        if isinstance(event, StepDone) and event.step == 3:
            ask_run(folder, "save_now")
            ask_run(folder, "pause")
        if isinstance(event, RunPaused):
            ask_run(folder, "go_on")
        if isinstance(event, RunContinued):
            ask_run(folder, "stop")

    changes = {"samples.every_n_epochs": 0}
    train_project(project, change_settings(config, changes), run="run1", on_event=ask)
    kinds = [(event.kind, getattr(event, "step", None)) for event in read_events(folder / "events.jsonl")]
    after = kinds[kinds.index(("step_done", 3)) + 1 :]
    wanted = [("lora_saved", 3), ("run_paused", 3), ("run_continued", 3)]
    assert [kind for kind in after if kind[0] != "checkpoint_saved"][:3] == wanted
    assert after[-1][0] == "run_finished" and ("step_done", 5) not in after


def test_the_first_interrupt_waits_for_the_step_and_the_second_does_not(tmp_path):
    with interrupts_as_requests(tmp_path):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # as launchers do
        assert take_requests(tmp_path) == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_is_worked_on_by_one_process(tmp_path):
    code = "import sys; from pathlib import Path; from lora_nb.training.claims import claim_run\n"
    code += "with claim_run(Path(sys.argv[1])): print('mine')"
    other = [sys.executable, "-c", code, str(tmp_path)]
    with claim_run(tmp_path):
        assert find_holder(tmp_path).pid == os.getpid()
        result = subprocess.run(other, capture_output=True, text=True, check=False)
        assert result.returncode == 1 and f"is being worked on by process {os.getpid()}" in result.stderr
    assert find_holder(tmp_path) is None
    assert subprocess.run(other, capture_output=True, text=True, check=True).stdout == "mine\n"


def test_a_dead_process_holds_nothing(tmp_path):
    record = {"pid": os.getpid(), "started": 1.0, "host": __import__("socket").gethostname()}
    (tmp_path / "process.json").write_text(json.dumps(record))  # its number was given to another one since
    assert find_holder(tmp_path) is None
    (tmp_path / "process.json").write_text(json.dumps(record | {"host": "elsewhere"}))
    assert find_holder(tmp_path) is not None, "what another machine does cannot be seen"
    with pytest.raises(TrainingError, match=r"another machine, elsewhere"), claim_run(tmp_path):
        pass
    os.utime(tmp_path / "process.json", (1, 1))
    assert find_holder(tmp_path) is None, "it has been silent for long"
    with claim_run(tmp_path):
        pass


def test_a_torn_line_is_left_for_the_next_look_and_healed_before_writing(tmp_path):
    path = tmp_path / "events.jsonl"
    write = write_events_to(path)
    write(step(1))
    reader = EventReader(path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    assert reader.read() == [step(1)] and reader.read() == []
    write_events_to(path)(step(2))
    assert reader.read() == [step(2)] and not reader.from_start


def test_a_reader_notices_that_events_were_taken_back(tmp_path):
    path = tmp_path / "events.jsonl"
    write = write_events_to(path)
    for number in (1, 2, 3):
        write(step(number))
    reader = EventReader(path)
    assert len(reader.read()) == 3
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    for number in (2, 3, 4):
        write_events_to(path)(step(number, loss=0.25))
    assert [event.loss for event in reader.read()] == [0.5, 0.25, 0.25, 0.25] and reader.from_start


def test_a_damaged_line_is_named_and_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    write = write_events_to(path)
    for number in (1, 2, 3):
        write(step(number))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{" + lines[1] + lines[2])
    one, problem, three = read_events(path)
    assert (one, three) == (step(1), step(3))
    assert isinstance(problem, ProblemFound) and problem.where == "events.jsonl, line 2"


def test_paths_move_with_the_folder(tmp_path):
    write_events_to(tmp_path / "here" / "events.jsonl")(LoraSaved(1, 1, str(tmp_path / "here" / "loras" / "a")))
    (tmp_path / "here").rename(tmp_path / "there")
    (event,) = read_events(tmp_path / "there" / "events.jsonl")
    assert event.path == str(tmp_path / "there" / "loras" / "a")


def test_a_run_that_is_asked_to_stop_while_it_prepares_is_stopped(project, config):
    folder = project.run_folder("run1")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json())
    drop_request(folder, "stop")
    with pytest.raises(KeyboardInterrupt):
        train_project(project, run="run1", prepared=True)
    *others, last = read_events(folder / "events.jsonl")
    assert isinstance(last, RunFinished) and last.outcome == "stopped" and pending_requests(folder) == []
    assert {event.kind for event in others} == {"preparing"}
