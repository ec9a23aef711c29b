"""A disk that is really full: the run stops in words, what was saved is whole, and with room it becomes the same LoRA.

The disk is a small one in memory (tmpfs), mounted for the test, where that is allowed.
"""

import os
import random
import subprocess
from pathlib import Path

import pytest

from lora_nb.config_file import change_settings, load_config
from lora_nb.errors import TrainingError
from lora_nb.project import Project
from lora_nb.training.checkpoints import find_checkpoint, list_checkpoints
from lora_nb.training.event_log import read_events
from lora_nb.training.events import LoraSaved, Preparing, ProblemFound, RunStarted, StepDone
from lora_nb.training.runs import continue_project, train_project
from tests.training.stories import assert_no_partial_file, assert_same

SIZE = 24 << 20  # bytes
PAGE = 4096  # a tmpfs gives room by pages


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small(project, config, disk):
    """The project on that disk, with everything switched on that writes."""
    subprocess.run(["cp", "-r", f"{project.root}/.", disk / "mochi"], check=True)
    return Project(disk / "mochi")


@pytest.fixture
def writing(config):
    """Settings with which a run writes all that it can."""
    drawing = {"samples.prompts": ["mochi"], "samples.steps": 1, "samples.width": 64, "samples.height": 64}
    saving = {"run.checkpoint_every_n_steps": 2, "adapter.train_text_encoder": False, "run.save_precision": "fp32"}
    return change_settings(config, drawing | saving)


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    room = os.statvfs(disk)
    size = room.f_bavail * room.f_frsize - free
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def when(disk: Path, kind: type, number: int, free: int):
    """A listener that fills the disk at the n-th event of a kind."""
    seen = 0

    def listen(event):
        nonlocal seen
        seen += isinstance(event, kind)
        if isinstance(event, kind) and seen == number:
            fill(disk, free)

    return listen


def assert_stopped_and_whole(folder: Path) -> None:
    """No partial file; each checkpoint and each LoRA that was told of is there and whole."""
    assert_no_partial_file(folder)
    assert not list(folder.rglob("*.part")), "what was begun is cleared away"
    for event in read_events(folder / "events.jsonl"):
        if isinstance(event, ProblemFound):
            assert event.severity == "note", event  # that there is no checkpoint yet is one
        if isinstance(event, LoraSaved):
            assert Path(event.path).stat().st_size > 1000
    if list_checkpoints(folder / "checkpoints"):
        assert find_checkpoint(folder / "checkpoints")[1] == []
    load_config(folder / "config.json")


MOMENTS = {
    "checkpoint": (StepDone, 2, 3 * PAGE),
    "events": (StepDone, 3, 0),
    "lora": (StepDone, 5, 2 * PAGE),
    "the last lora": (StepDone, 10, 2 * PAGE),
    "events, after the last lora": (LoraSaved, 2, 0),
}


@pytest.mark.parametrize("what", MOMENTS)
def test_a_full_disk_stops_the_run_in_words_and_with_room_it_becomes_the_same(project, writing, small, disk, what):
    whole = train_project(project, writing, run="whole", on_event=lambda event: None)
    with pytest.raises(TrainingError, match=r"disk is full.*go on: lora-nb continue"):
        train_project(small, writing, run="run1", on_event=when(disk, *MOMENTS[what]))
    assert_stopped_and_whole(small.run_folder("run1"))
    (disk / "filler").unlink()
    assert_same(whole, continue_project(small, "run1", on_event=lambda event: None))


@pytest.mark.parametrize("what", ["settings", "pictures", "captions"])
def test_a_run_for_whose_beginning_there_is_no_room_leaves_nothing(project, writing, small, disk, what, monkeypatch):
    from lora_nb.training import recording

    write = recording.write_events_to

    def filling(path):
        tell = write(path)
        return lambda event: (tell(event), isinstance(event, Preparing) and event.what == what and fill(disk, 0))

    monkeypatch.setattr(recording, "write_events_to", filling)
    if what == "settings":
        fill(disk, 0)
    with pytest.raises((TrainingError, OSError), match=r"disk is full|No space"):
        train_project(small, writing, run="run1", on_event=lambda event: None)
    assert not small.run_folder("run1").exists() and not list(small.root.rglob("*.part"))
    (disk / "filler").unlink()
    monkeypatch.undo()
    ours = train_project(small, writing, run="run1", on_event=lambda event: None)
    assert_same(train_project(project, writing, run="run1", on_event=lambda event: None), ours)


def test_at_random_moments_with_random_room(project, writing, small, disk):
    """One run that meets a full disk eight times."""
    seed = random.randrange(10**6)
    print(f"full disks: seed {seed}")
    chance, full = random.Random(seed), 0
    whole = train_project(project, writing, run="run1", on_event=lambda event: None)
    go_on = train_project
    for _ in range(8):
        listener = when(disk, chance.choice([StepDone, RunStarted, LoraSaved]), chance.randrange(1, 4), 0)
        free = chance.randrange(40) * PAGE
        listener = when(disk, StepDone, chance.randrange(1, 5), free)
        try:
            go_on(small, *([writing] if go_on is train_project else []), run="run1", on_event=listener)
            break
        except TrainingError as error:
            full += 1
            assert "disk is full" in str(error)
        assert_stopped_and_whole(small.run_folder("run1"))
        (disk / "filler").unlink(missing_ok=True)
        go_on = continue_project
    else:
        continue_project(small, "run1", on_event=lambda event: None)
    print(f"{full} full disks survived")
    assert_same(whole, small.run_folder("run1"))


def test_settings_are_kept_whole_on_a_full_disk(small, config, disk):
    small.save_config(config)
    fill(disk, 0)
    with pytest.raises(OSError, match="No space left"):
        small.save_config(change_settings(config, {"run.epochs": 7}))
    assert small.load_config() == config and not list(small.root.glob(".*"))
