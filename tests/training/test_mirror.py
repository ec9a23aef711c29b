"""A run is copied to another disk while it trains, and goes on from there alone, though that disk fails and hangs."""

import errno
import json
import os
import shutil
import signal
import threading
import time

import pytest

from lora_nb.config_file import change_settings
from lora_nb.errors import ConfigError, ProjectError
from lora_nb.training import copies, mirror
from lora_nb.training.checkpoints import find_damage, list_checkpoints
from lora_nb.training.continuing import find_folder
from lora_nb.training.event_log import read_events
from lora_nb.training.events import CheckpointSaved, ProblemFound, StepDone
from lora_nb.training.mirror_list import content_path, read_list
from lora_nb.training.restoring import restore_project
from lora_nb.training.runs import continue_project, train_project
from tests.training.kills import start_killable
from tests.training.stories import assert_same

REAL_WRITE = copies._write


@pytest.fixture
def disk(tmp_path):
    """Another disk."""
    (tmp_path / "drive" / "other").mkdir(parents=True)
    return tmp_path / "drive" / "copies"


@pytest.fixture
def copied(config, disk):
    return change_settings(config, {"run.mirror": str(disk), "run.checkpoint_every_n_steps": 2})


@pytest.fixture
def hasty(monkeypatch):
    """Less patience, so that the tests are quick."""
    for name, seconds in {"FIRST_PAUSE": 0.01, "LONGEST_PAUSE": 0.02, "PATIENCE": 1.5, "HANGS": 0.2}.items():
        monkeypatch.setattr(mirror, name, seconds)


def quiet(event):
    pass


def crash_when_copied(disk, step):
    """A listener that crashes at this step, once everything that came before is in the mirror."""

    def listen(event):
        if isinstance(event, StepDone) and event.step == step:
            folder = disk / "mochi" / "runs" / "run1" / "checkpoints"
            until(
                lambda: any(int(path.name[5:]) >= step - 1 and not find_damage(path) for path in folder.glob("step-*"))
            )
            raise Crash

    return listen


class Crash(Exception):
    """Something unforeseen."""


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def problems_of(folder):
    return [event for event in read_events(folder / "events.jsonl") if isinstance(event, ProblemFound)]


def assert_mirrored(disk, folder):
    """Every file of a run is in the mirror as it is here, and the list says so."""
    place = disk / "mochi" / "runs" / folder.name
    listed = read_list(place)
    names = ["config.json", "beginning.json", "events.jsonl"]
    names += [
        path.relative_to(folder).as_posix() for part in ("loras", "samples") for path in (folder / part).glob("*")
    ]
    for name in names:
        assert (place / name).read_bytes() == (folder / name).read_bytes(), name
        assert listed.files[name] == copies.measure_file(place / name)
    assert not list(disk.rglob("*.part"))


def test_a_finished_run_is_in_the_mirror_whole_and_its_checkpoints_are_gone(project, copied, disk):
    project.save_config(copied)
    folder = train_project(project, copied, on_event=quiet)
    assert_mirrored(disk, folder)
    assert list_checkpoints(disk / "mochi" / "runs" / "run1" / "checkpoints") == []
    assert not list(disk.rglob("*latents*")) and not (disk / "mochi" / "cache").exists()
    listed = read_list(disk / "mochi" / "runs" / "run1")
    assert set(listed.project) == {"config.json"} | {
        path.relative_to(project.root).as_posix() for path in project.images.rglob("*.*")
    }


def test_a_fresh_machine_goes_on_from_the_mirror_alone(project, copied, disk, tmp_path):
    whole = train_project(project, change_settings(copied, {"run.mirror": ""}), run="whole", on_event=quiet)
    kept = shutil.move(whole, tmp_path / "whole")
    project.save_config(copied)
    with pytest.raises(Crash):
        train_project(project, copied, on_event=crash_when_copied(disk, 7))
    shutil.rmtree(project.root)
    moved = shutil.move(disk, tmp_path / "elsewhere")
    fresh, problems = restore_project(moved / "mochi", tmp_path / "fresh" / "mochi")
    assert problems == []
    assert fresh.load_config().run.mirror == str(moved), "and copies go on to where these came from"
    folder = continue_project(fresh, on_event=quiet)
    assert_same(kept, folder)
    assert_mirrored(moved, folder)


@pytest.mark.processes
def test_killed_while_it_is_copied_it_goes_on_from_the_mirror_alone(project, copied, disk, tmp_path):
    """kill -9 of the trainer, three times, at moments that chance chooses; each time the machine is lost."""
    project.save_config(copied)
    whole = train_project(project, change_settings(copied, {"run.mirror": ""}), run="whole", on_event=quiet)
    kept = shutil.move(whole, tmp_path / "whole")
    run = project.run_folder("run1")
    process = start_killable(project, run, "train", 0)
    place, current = disk / "mochi" / "runs" / "run1", project
    for number, after in enumerate((1, 3, 5)):  # checkpoints, or their halves, that were begun to be copied
        seen = set()

        def begun(seen=seen, after=after):
            seen.update(path.name for path in place.glob("checkpoints/*/*lora*"))
            seen.update(path.parent.name for path in place.glob("checkpoints/*/*"))
            return len(seen) >= after or process.poll() is not None  # noqa: B023 - called within this round

        until(begun, 60)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            break
        shutil.rmtree(current.root)
        current, problems = restore_project(disk / "mochi", tmp_path / f"machine{number}" / "mochi")
        assert not [problem for problem in problems if "checkpoints" not in problem.where], "only a half checkpoint"
        process = start_killable(current, find_folder(current, "run1"), "continue", 0)
    assert process.wait() == 0
    assert_same(kept, current.run_folder("run1"))
    assert_mirrored(disk, current.run_folder("run1"))


def test_a_lost_mount_is_told_once_tried_again_and_caught_up_with(project, copied, disk, hasty, monkeypatch):
    failed, written = [], []
    is_lost = threading.Event()

    def write(pieces, part, on_bytes):
        if is_lost.is_set():
            failed.append(part)
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(part))
        written.append(part)
        return REAL_WRITE(pieces, part, on_bytes)

    def listen(event):
        if not isinstance(event, StepDone):
            return
        if event.step == 4:
            is_lost.set()
        if event.step == 7:  # the checkpoint of step 4 or 6 was tried
            until(lambda: len(failed) >= 5)
        if event.step == 8:
            is_lost.clear()
            before = len(written)
            until(lambda: len(written) > before)

    monkeypatch.setattr(copies, "_write", write)
    folder = train_project(project, copied, on_event=listen)
    lost, back = problems_of(folder)
    assert "Transport endpoint is not connected" in lost.message and lost.severity == "warning"
    assert "is back" in back.message and back.severity == "note"
    assert_mirrored(disk, folder)


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENOSPC])
def test_a_mirror_that_stays_lost_costs_nothing_but_the_copies(project, copied, disk, hasty, monkeypatch, number):
    def write(pieces, part, on_bytes):
        raise OSError(number, os.strerror(number), str(part))

    monkeypatch.setattr(copies, "_write", write)
    folder = train_project(project, copied, on_event=quiet)
    assert (folder / "loras" / "mochi.safetensors").exists()
    lost, missing = problems_of(folder)
    assert os.strerror(number) in lost.message
    assert "mochi.safetensors" in missing.message or "more" in missing.message
    assert str(folder) in missing.fix


def test_a_mirror_that_hangs_does_not_hold_up_a_step(project, copied, disk, hasty, monkeypatch):
    let_go, waits = threading.Event(), threading.Event()

    def write(pieces, part, on_bytes):
        waits.set()
        let_go.wait()
        raise OSError(errno.EIO, "at last")

    seconds = {}

    def listen(event):
        if isinstance(event, StepDone):
            seconds[event.step] = time.monotonic()
            if event.step == 2:
                assert waits.wait(20)
                time.sleep(0.3)  # longer than HANGS

    monkeypatch.setattr(copies, "_write", write)
    try:
        folder = train_project(project, copied, on_event=listen)
    finally:
        let_go.set()
    assert seconds[8] - seconds[3] < 10
    messages = [problem.message for problem in problems_of(folder)]
    assert "does not answer" in messages[0] and "Not copied" in messages[1]
    assert (folder / "loras" / "mochi.safetensors").exists()


def test_a_torn_copy_never_gets_its_name(project, copied, disk, hasty, monkeypatch):
    torn = []

    def write(pieces, part, on_bytes):
        copy = REAL_WRITE(pieces, part, on_bytes)
        if part.name.startswith(".mochi") and len(torn) < 3:
            torn.append(part)
            os.truncate(part, copy.bytes // 2)  # the disk says that all is well
        return copy

    monkeypatch.setattr(copies, "_write", write)
    folder = train_project(project, copied, on_event=quiet)
    assert len(torn) == 3
    assert_mirrored(disk, folder)


def test_a_picture_edited_while_it_trains_stays_in_the_mirror_as_it_was(project, copied, disk, hasty, monkeypatch):
    caption = project.images / "2_mochi" / "0.txt"
    before = caption.read_text()

    def listen(event):
        if isinstance(event, StepDone) and event.step == 2:
            until(lambda: (disk / "mochi" / "runs" / "run1" / "events.jsonl").exists())
            caption.write_text("something else")

    train_project(project, copied, on_event=listen)
    listed = read_list(disk / "mochi" / "runs" / "run1").project
    name = "images/2_mochi/0.txt"
    assert content_path(disk / "mochi", name, listed[name]).read_text() == before


@pytest.fixture
def left_behind(project, copied, disk):
    """The mirror of a run that crashed at step 7."""
    project.save_config(copied)
    with pytest.raises(Crash):
        train_project(project, copied, on_event=crash_when_copied(disk, 7))
    return disk / "mochi"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_damaged_in_the_mirror_is_named_and_left_out(project, left_behind, tmp_path):
    run = left_behind / "runs" / "run1"
    newest, older = list_checkpoints(run / "checkpoints")[:2]
    flip(newest / "state.safetensors")
    flip(run / "loras" / "mochi-000001.safetensors")
    listed = read_list(run).project
    content_path(left_behind, "images/2_mochi/3.png", listed["images/2_mochi/3.png"]).unlink()
    fresh, problems = restore_project(left_behind, tmp_path / "fresh")
    assert {problem.where for problem in problems} == {
        f"run1/checkpoints/{newest.name}/state.safetensors",
        "run1/loras/mochi-000001.safetensors",
        "images/2_mochi/3.png",
    }
    assert [path.name for path in list_checkpoints(fresh.run_folder("run1") / "checkpoints")] == [older.name]
    assert not (fresh.run_folder("run1") / "loras" / "mochi-000001.safetensors").exists()


def test_nothing_is_restored_over_other_files(project, left_behind):
    before = sorted(project.root.rglob("*"))
    with pytest.raises(ProjectError, match="is not empty"):
        restore_project(left_behind, project.root)
    assert sorted(project.root.rglob("*")) == before


def test_a_lost_mirror_restores_nothing_rather_than_half(left_behind, tmp_path, monkeypatch):
    def write(pieces, part, on_bytes):
        if part.name.startswith(".events"):
            raise OSError(errno.ENOSPC, "No space left on device", str(part))
        return REAL_WRITE(pieces, part, on_bytes)

    monkeypatch.setattr(copies, "_write", write)
    with pytest.raises(ProjectError, match="No space left"):
        restore_project(left_behind, tmp_path / "fresh")
    assert not list(tmp_path.glob("*fresh*"))


def test_the_mirrors_own_folder_is_explained(left_behind, tmp_path):
    with pytest.raises(ProjectError, match="holds those of mochi"):
        restore_project(left_behind.parent, tmp_path / "fresh")


def test_a_list_that_points_outside_is_refused(left_behind, tmp_path):
    path = left_behind / "runs" / "run1" / "mirror.json"
    values = json.loads(path.read_text())
    values["files"]["../../../outside"] = values["files"]["config.json"]
    path.write_text(json.dumps(values))
    with pytest.raises(ProjectError, match="lies outside"):
        restore_project(left_behind, tmp_path / "fresh")


def test_another_runs_copies_are_never_written_over(project, copied, left_behind, config):
    shutil.rmtree(project.runs)
    kept = {path: path.read_bytes() for path in left_behind.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="belongs to another run"):
        train_project(project, copied, on_event=quiet)
    assert {path: path.read_bytes() for path in left_behind.rglob("*") if path.is_file()} == kept
    assert not project.runs.exists()
    train_project(project, change_settings(copied, {"run.epochs": 1}), run="run2", on_event=quiet)
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("where", ["relative", "/nowhere/at/all", "empty/copies", "."])
def test_a_folder_that_cannot_be_is_refused_before_the_run(project, config, tmp_path, where):
    (tmp_path / "empty").mkdir()  # as where nothing is mounted
    root = {".": str(project.root.parent), "empty/copies": str(tmp_path / "empty" / "copies")}.get(where, where)
    with pytest.raises(ConfigError, match=r"run\.mirror"):
        train_project(project, change_settings(config, {"run.mirror": root}), on_event=quiet)
    assert not (tmp_path / "empty" / "copies").exists() and not project.runs.exists()


def test_a_run_that_is_continued_waits_for_its_disk(project, copied, disk, hasty):
    """It may be mounted later, so that is no reason not to go on."""
    project.save_config(copied)
    with pytest.raises(Crash):
        train_project(project, copied, on_event=crash_when_copied(disk, 7))
    away = shutil.move(disk, disk.with_name("away"))

    def listen(event):
        if isinstance(event, StepDone) and event.step == 8:
            time.sleep(0.2)
            shutil.move(away, disk)

    folder = continue_project(project, on_event=listen)
    assert "No such file" in problems_of(folder)[0].message
    assert_mirrored(disk, folder)


def test_a_checkpoint_is_told_before_its_copy_is_made(project, copied, disk, hasty, monkeypatch):
    """Steps do not wait: a slow disk is behind, and nothing else."""

    def write(pieces, part, on_bytes):
        time.sleep(0.05)
        return REAL_WRITE(pieces, part, on_bytes)

    monkeypatch.setattr(copies, "_write", write)
    folder = train_project(project, copied, on_event=quiet)
    saved = [event for event in read_events(folder / "events.jsonl") if isinstance(event, CheckpointSaved)]
    assert sum(event.seconds for event in saved) < 2
    assert_mirrored(disk, folder)
