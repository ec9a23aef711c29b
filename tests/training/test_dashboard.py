"""What a panel shows of a run, from its folder alone."""

import json
import os
from pathlib import Path

import pytest

from lora_nb.training.claims import note_holder
from lora_nb.training.dashboard import RunDashboard, RunningMean, process_memory, say_duration, say_progress
from lora_nb.training.event_log import write_events_to
from lora_nb.training.events import (
    ImageSampled,
    LoraSaved,
    Preparing,
    ProblemFound,
    RunFailed,
    RunFinished,
    RunPaused,
    RunStarted,
    StepDone,
    ValidationDone,
)

STARTED = RunStarted("run1", 40, 4, 10, 10, "cpu", "fp32")


def step(number: int, raw: float = 0.1, seconds: float | None = None) -> StepDone:
    rates = {"lora_unet": 1e-3, "lora_te": 5e-4}
    epoch = (number - 1) // 10 + 1
    return StepDone(number, epoch, raw / 2, raw, 1e-3, 1.0, seconds or number * 0.5, rates)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that this process claims to work on."""
    folder = tmp_path / "run1"
    folder.mkdir()
    note_holder(folder, os.getpid())
    return folder


@pytest.fixture
def tell(run: Path):
    return write_events_to(run / "events.jsonl")


def look(run: Path) -> RunDashboard:
    board = RunDashboard(run)
    board.update()
    return board


def test_it_grows_with_the_run_and_reads_nothing_twice(run: Path, tell):
    tell(STARTED)
    board = look(run)
    assert (board.points, board.share_done) == ([], 0.0)
    for number in (1, 2, 3):
        tell(step(number))
        board.update()
        assert [point.step for point in board.points] == list(range(1, number + 1))
    assert board.rate_names == ("lora_unet", "lora_te")
    assert board.points[-1].rates == (1e-3, 5e-4)
    assert board.version == 1


def test_a_dashboard_that_is_made_later_shows_the_same(run: Path, tell):
    early = look(run)
    for event in (STARTED, *map(step, range(1, 21)), ValidationDone(10, 1, 0.2)):
        tell(event)
        early.update()
    late = look(run)
    assert (late.points, late.validations, say_progress(late)) == (early.points, early.validations, say_progress(early))


def test_the_time_left_is_that_of_the_last_epoch(run: Path, tell):
    tell(STARTED)
    for number in range(1, 11):
        tell(step(number, seconds=10.0 * number))  # slow at first
    for number in range(11, 31):
        tell(step(number, seconds=100 + (number - 10) * 2.0))
    board = look(run)
    assert board.steps_per_second() == pytest.approx(0.5)
    assert board.seconds_left() == pytest.approx(20)
    assert say_progress(board) == "epoch 3 of 4 · step 30 of 40 · 2 s a step · 20 s left"


def test_nobody_knows_the_time_left_before_two_steps_or_after_the_end(run: Path, tell):
    tell(STARTED)
    tell(step(1))
    assert look(run).seconds_left() is None
    tell(step(2))
    assert look(run).seconds_left() is not None
    tell(RunFinished("stopped", 1.0))
    board = look(run)
    assert board.seconds_left() is None
    assert say_progress(board) == "epoch 1 of 4 · step 2 of 40 · trained for 1 s"


def test_the_smoothed_loss_lies_between_the_jumps(run: Path, tell):
    tell(STARTED)
    for number in range(1, 41):
        tell(step(number, raw=0.1 if number % 2 else 0.3))
    last = look(run).points[-1]
    assert 0.15 < last.smooth_raw < 0.25
    assert last.smooth_weighted == pytest.approx(last.smooth_raw / 2)


def test_a_running_mean_starts_without_bias():
    mean = RunningMean(10)
    assert [mean.add(3.0) for _ in range(3)] == pytest.approx([3.0] * 3)


def test_previews_are_a_table_of_prompts_and_times(run: Path, tell):
    tell(STARTED)
    for at, epoch, prompt in ((0, 0, "a"), (0, 0, "b"), (10, 1, "a"), (10, 1, "b"), (14, 2, "a")):
        tell(ImageSampled(at, epoch, prompt, str(run / "samples" / f"{at}-{prompt}.png")))
    board = look(run)
    table = board.previews()
    assert table.prompts == ["a", "b"]
    assert table.columns == ["before", "epoch 1", "step 14"]
    assert table.numbers == [[0, 2, 4], [1, 3, None]]
    assert Path(board.pictures[4].path) == run / "samples" / "14-a.png"


def test_files_and_problems_are_kept(run: Path, tell):
    for event in (
        STARTED,
        ProblemFound("data", "odd.", "Mend it.", "warning"),
        LoraSaved(10, 1, str(run / "a.safetensors")),
    ):
        tell(event)
    board = look(run)
    assert [each.fix for each in board.problems] == ["Mend it."]
    assert len(board.loras) == 1


def test_what_was_taken_back_is_forgotten(run: Path, tell):
    for event in (STARTED, *map(step, range(1, 9))):
        tell(event)
    board = look(run)
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:4]))  # as a run does that goes on from its third step
    tell(step(4, raw=0.7))
    board.update()
    assert [point.step for point in board.points] == [1, 2, 3, 4]
    assert board.points[-1].raw == 0.7
    assert board.version == 2


def test_the_state_before_the_first_step_is_said_in_words(run: Path, tell):
    tell(Preparing("pictures", 3, 12))
    assert say_progress(look(run)) == "preparing the pictures: 3 of 12"


def test_a_paused_run_tells_no_time(run: Path, tell):
    for event in (STARTED, step(1), step(2), RunPaused(2, 1)):
        tell(event)
    assert say_progress(look(run)) == "epoch 1 of 4 · step 2 of 40"


def test_a_process_that_is_gone_counts_as_crashed_with_a_reason(run: Path, tell):
    for event in (STARTED, step(1)):
        tell(event)
    (run / "process.json").unlink()
    board = look(run)
    assert board.state.state == "crashed"
    assert board.state.error
    assert "memory" in str(board.state.explanation)


def test_a_full_gpu_is_explained(run: Path, tell):
    for event in (STARTED, RunFailed(1, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "...")):
        tell(event)
    assert "run.micro_batch_size" in look(run).state.explanation.settings


def test_our_own_errors_need_no_advice(run: Path, tell):
    for event in (STARTED, RunFailed(1, "TrainingError", "The loss became nan at step 1. Lower the rate.", "...")):
        tell(event)
    assert look(run).state.explanation is None


def test_the_end_of_the_log_holds_only_the_last_state_of_a_bar(run: Path):
    (run / "log.txt").write_bytes(b"one\n" * 9000 + b" 1%|\r 2%|\r 3%|\nlast\r\n\n")
    assert look(run).log_lines(3) == ["one", " 3%|", "last"]


def test_without_a_log_there_are_no_lines(run: Path):
    assert look(run).log_lines() == []


def test_the_memory_of_the_runs_process_is_seen_while_it_lives(run: Path):
    assert (process_memory(run) or 0) > 10_000_000
    record = json.loads((run / "process.json").read_text())
    (run / "process.json").write_text(json.dumps(record | {"host": "elsewhere"}))
    assert process_memory(run) is None


@pytest.mark.parametrize(("seconds", "said"), [(8.4, "8 s"), (125, "2:05 min"), (4320, "1:12 h")])
def test_durations_are_said_for_people(seconds: float, said: str):
    assert say_duration(seconds) == said
