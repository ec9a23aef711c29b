"""A run goes on from its checkpoint to the same LoRA, bit for bit, whatever ended it."""

import json
import random
import shutil

import pytest
import torch

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings
from lora_nb.errors import RunChangedError, TrainingError
from lora_nb.project import Project
from lora_nb.training import checkpoints
from lora_nb.training.checkpoints import find_checkpoint, find_damage, list_checkpoints
from lora_nb.training.continuing import config_from_weights
from lora_nb.training.event_log import read_events
from lora_nb.training.events import (
    CheckpointSaved,
    ImageSampled,
    LoraSaved,
    ProblemFound,
    RunContinued,
    RunFailed,
    RunFinished,
    StepDone,
)
from lora_nb.training.packing import pack, unpack
from lora_nb.training.requests import ask_run
from lora_nb.training.runs import continue_project, train_project
from tests.fuzz.spoiling import cut_or_flip
from tests.training.stories import assert_same

SAMPLES = {"samples.prompts": ["mochi"], "samples.steps": 2, "samples.width": 64, "samples.height": 64}


class Crash(Exception):
    """Something unforeseen."""


def crash_at(step):
    def listen(event):
        if isinstance(event, StepDone) and event.step == step:
            raise Crash

    return listen


def quiet(event):
    pass


def started_and_crashed(project, config, step=7, run="run1", **changes):
    """A run that crashes after this step, with a checkpoint every two."""
    config = change_settings(config, {"run.checkpoint_every_n_steps": 2} | changes)
    with pytest.raises(Crash):
        train_project(project, config, run=run, on_event=crash_at(step))
    return project.run_folder(run)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"run.gradient_accumulation_steps": 2, "optimizer.ema_decay": 0.9, "data.validation_split": 0.4},
        {"optimizer.kind": "adamw8bit", "optimizer.lr_scheduler": "cosine", "optimizer.warmup_ratio": 0.2} | SAMPLES,
        {"adapter.kind": "dora", "optimizer.kind": "prodigy", "optimizer.learning_rate": 1.0}
        | {"optimizer.text_encoder_learning_rate": 1.0},
        {"adapter.kind": "lokr", "optimizer.kind": "schedule_free_adamw", "optimizer.lr_scheduler": "constant"},
        {"adapter.kind": "loha", "optimizer.kind": "adafactor"},
        {"optimizer.kind": "came", "adapter.dropout": 0.3, "adapter.scale_weight_norms": 0.01},
        {"optimizer.kind": "lion8bit"},
        {"optimizer.kind": "paged_adamw8bit"},
    ],
    ids=lambda changes: changes.get("optimizer.kind", "adamw") + "-" + changes.get("adapter.kind", "lora"),
)
def test_a_run_that_crashed_goes_on_to_the_same_lora(project, config, changes):
    whole = train_project(project, change_settings(config, changes), run="whole", on_event=quiet)
    steps = max(event.step for event in read_events(whole / "events.jsonl") if isinstance(event, StepDone))
    folder = started_and_crashed(project, config, step=min(7, steps - 1), **changes)
    continue_project(project, "run1", on_event=quiet)
    assert_same(whole, folder)
    assert not (folder / "checkpoints").exists(), "a finished run needs none"
    ours, its = (read_lora(each / "loras" / "mochi.safetensors").metadata for each in (folder, whole))
    assert {key for key in ours if ours[key] != its[key]} <= {
        "ss_session_id",
        "ss_training_started_at",
        "ss_training_finished_at",
        "modelspec.date",
    }


def test_a_run_that_was_stopped_goes_on_where_it_was(project, config):
    def stop(event):
        if isinstance(event, StepDone) and event.step == 3:
            ask_run(project.run_folder("run1"), "stop")

    whole = train_project(project, config, run="whole", on_event=quiet)
    folder = train_project(project, config, run="run1", on_event=stop)
    told = []
    continue_project(project, on_event=told.append)
    first = next(event for event in told if isinstance(event, StepDone))
    assert first.step == 4, "not one step is done again"
    (continued,) = [event for event in told if isinstance(event, RunContinued)]
    assert (continued.step, continued.checkpoint, continued.steps) == (3, "step-00000003", 10)
    assert_same(whole, folder)


def test_it_goes_on_in_a_moved_folder(project, config, tmp_path):
    whole = train_project(project, config, run="whole", on_event=quiet)
    started_and_crashed(project, config)
    shutil.copytree(whole, tmp_path / "whole")
    project.root.rename(tmp_path / "moved" if (tmp_path / "moved").mkdir() else tmp_path / "moved" / "mochi")
    moved = Project(tmp_path / "moved" / "mochi")
    assert_same(tmp_path / "whole", continue_project(moved, "run1", on_event=quiet))


def test_without_a_checkpoint_it_starts_from_the_beginning(project, config):
    whole = train_project(project, config, run="whole", on_event=quiet)
    folder = started_and_crashed(project, config, **{"run.checkpoint_every_n_steps": 0})
    continue_project(project, "run1", on_event=quiet)
    assert_same(whole, folder)


@pytest.mark.parametrize("name", ["lora.safetensors", "state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(project, config, name, damage, crashed):
    place = project.run_folder("run1") / "checkpoints"
    newest, older = list_checkpoints(place)
    content = bytearray((newest / name).read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 8
    (newest / name).unlink() if damage == "gone" else (newest / name).write_bytes(
        content[: len(content) // 2] if damage == "cut" else content
    )
    found, (problem,) = find_checkpoint(place)
    assert found.folder == older and problem.where == f"checkpoints/{newest.name}"


@pytest.fixture
def crashed(project, config):
    return started_and_crashed(project, config)


def test_it_goes_on_from_the_older_one_and_says_so(project, config, crashed):
    whole = train_project(project, config, run="whole", on_event=quiet)
    newest = list_checkpoints(crashed / "checkpoints")[0]
    (newest / "state.safetensors").write_bytes(b"")
    told = []
    continue_project(project, "run1", on_event=told.append)
    assert_same(whole, crashed)
    assert [event.where for event in told if isinstance(event, ProblemFound)] == ["checkpoints/step-00000006"]


def test_no_damage_escapes_the_check(project, config, crashed):
    """Two hundred times: a file cut at random, or one bit of it flipped."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance, folder = random.Random(seed), list_checkpoints(crashed / "checkpoints")[0]
    files = sorted(folder.iterdir())
    for _ in range(200):
        path = chance.choice(files)
        content = path.read_bytes()
        broken = cut_or_flip(chance, content)
        path.write_bytes(broken)
        assert path.name == "manifest.json" or path.name in find_damage(folder)
        assert find_damage(folder) or json.loads(broken) == json.loads(content), "a blank that means nothing"
        path.write_bytes(content)
    assert find_damage(folder) == ""


def test_what_has_changed_is_named_and_nothing_happens(project, config):
    project.save_config(config)
    folder = started_and_crashed(project, config)
    before = (folder / "events.jsonl").read_bytes()
    project.save_config(change_settings(config, {"optimizer.learning_rate": 0.5}))
    (project.images / "2_mochi" / "0.txt").write_text("something else")
    (project.images / "2_mochi" / "4.png").unlink()
    with pytest.raises(RunChangedError) as caught:
        continue_project(project, "run1")
    said = {problem.where: problem.message for problem in caught.value.problems}
    assert "0.001 and is 0.5" in said["optimizer.learning_rate"]
    assert said["2_mochi/0.png"] == "Changed: caption." and "gone" in said["2_mochi/4.png"]
    assert "--as-before" in str(caught.value) and "--from-weights" in str(caught.value)
    assert (folder / "events.jsonl").read_bytes() == before


def test_it_can_go_on_as_before(project, config):
    project.save_config(config)
    whole = train_project(project, config, run="whole", on_event=quiet)
    folder = started_and_crashed(project, config)
    project.save_config(change_settings(config, {"optimizer.learning_rate": 0.5}))
    continue_project(project, "run1", as_before=True, on_event=quiet)
    assert_same(whole, folder)


def test_with_other_pictures_there_may_be_no_place_to_go_on(project, config):
    started_and_crashed(project, config)
    for name in ("3", "4"):
        (project.images / "2_mochi" / f"{name}.png").unlink()
    with pytest.raises(TrainingError, match="make 6 steps now, and made 10"):
        continue_project(project, "run1", as_before=True, on_event=quiet)


def test_a_new_run_starts_from_its_weights(project, config):
    project.save_config(config)
    folder = started_and_crashed(project, config)
    checkpoint = list_checkpoints(folder / "checkpoints")[0]
    fresh = change_settings(config_from_weights(project, folder), {"run.checkpoint_every_n_steps": 2})
    assert fresh.adapter.continue_from == str(checkpoint / "lora.safetensors")
    plain = train_project(project, fresh, run="plain", on_event=quiet)
    with pytest.raises(Crash):
        train_project(project, fresh, run="again", on_event=crash_at(5))
    shutil.rmtree(folder)  # what it started from is not needed any more
    assert_same(plain, continue_project(project, "again", on_event=quiet))


def test_what_was_saved_on_request_is_not_forgotten(project, config):
    def ask(event):
        if isinstance(event, StepDone) and event.step == 6:
            ask_run(project.run_folder("run1"), "save_now")
        crash_at(7)(event)

    with pytest.raises(Crash):
        train_project(project, config, run="run1", on_event=ask)
    shutil.rmtree(list_checkpoints(project.run_folder("run1") / "checkpoints")[0])
    folder = continue_project(project, "run1", on_event=quiet)
    saved = [event for event in read_events(folder / "events.jsonl") if isinstance(event, LoraSaved)]
    assert [(event.step, event.path.rpartition("/")[2]) for event in saved] == [
        (6, "mochi-step00000006.safetensors"),
        (5, "mochi-000001.safetensors"),
        (10, "mochi.safetensors"),
    ]


def test_a_finished_run_and_one_that_runs_are_left_alone(project, config):
    train_project(project, config, run="run1", on_event=quiet)
    with pytest.raises(TrainingError, match="is finished"):
        continue_project(project, "run1")


def test_the_last_few_are_kept(project, config):
    folder = started_and_crashed(project, config, step=9, **{"run.keep_checkpoints": 3})
    assert [path.name[-1] for path in list_checkpoints(folder / "checkpoints")] == ["8", "6", "4"]
    saved = [event for event in read_events(folder / "events.jsonl") if isinstance(event, CheckpointSaved)]
    size = sum(path.stat().st_size for path in (folder / "checkpoints" / "step-00000008").glob("*[!t].s*"))
    assert saved[-1].size >= size > 0 and saved[-1].path.endswith("step-00000008")


def test_of_every_few_steps_one_stays_to_the_end(project, config):
    """Ten steps, a checkpoint after each: the last two stay, and the first of every four; after the end only these."""
    changes = {"run.keep_checkpoint_every_n_steps": 4, "run.checkpoint_every_n_steps": 1}
    folder = started_and_crashed(project, config, step=8, **changes)
    assert [path.name[-1] for path in list_checkpoints(folder / "checkpoints")] == ["7", "6", "4"]
    continue_project(project, "run1", on_event=quiet)
    kept = list_checkpoints(folder / "checkpoints")
    assert [path.name[-1] for path in kept] == ["8", "4"] and not [
        find_damage(path) for path in kept if find_damage(path)
    ]
    more = change_settings(config, {"adapter.continue_from": str(kept[-1] / "lora.safetensors"), "run.epochs": 1})
    assert read_lora(train_project(project, more, run="more") / "loras" / "mochi.safetensors").modules


def test_what_is_stopped_while_pictures_are_drawn_is_not_told_twice(project, config):
    samples = {"samples.every_n_epochs": 1, "samples.prompts": ["mochi", "forest"], "samples.steps": 1}
    settings = change_settings(config, samples | {"samples.width": 64, "samples.height": 64})

    def stop(event):
        if isinstance(event, ImageSampled) and event.epoch == 1:
            ask_run(project.run_folder("parts"), "stop")

    whole = train_project(project, settings, run="whole", on_event=quiet)
    train_project(project, settings, run="parts", on_event=stop)
    assert_same(whole, continue_project(project, "parts", on_event=quiet))


def test_the_clock_decides_too(project, config):
    changes = {"run.checkpoint_every_n_minutes": 1e-6, "run.checkpoint_every_n_steps": 0}
    folder = started_and_crashed(project, config, step=4, **changes)
    assert [path.name[-1] for path in list_checkpoints(folder / "checkpoints")] == ["3", "2"]


@pytest.mark.parametrize("when", ["before the manifest", "before the new name"])
def test_half_a_checkpoint_is_none(tmp_path, monkeypatch, when):
    checkpoints.write_checkpoint(tmp_path, 1, [("state.json", b'{"step": 1}')])

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    if when == "before the new name":
        monkeypatch.setattr(checkpoints.Path, "rename", fail)
    else:
        monkeypatch.setattr(checkpoints.json, "dumps", fail)
    with pytest.raises(OSError):
        checkpoints.write_checkpoint(tmp_path, 2, [("state.json", b'{"step": 2}')])
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert find_damage(tmp_path / "step-00000001") == ""


@pytest.mark.parametrize("what", ["_write_through", "write_whole"])
def test_a_full_disk_stops_the_run_in_words_and_it_goes_on_once_there_is_room(project, config, monkeypatch, what):
    whole = train_project(project, config, run="whole", on_event=quiet)
    count = 0

    def full(path, content):
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device", str(path))
        return real(path, content)

    where = "lora_nb.training.checkpoints" if what == "_write_through" else "lora_nb.adapters.files"
    real = getattr(__import__(where, fromlist=[what]), what)
    if what == "write_whole":
        count = 4
    with monkeypatch.context() as patch:
        patch.setattr(f"{where}.{what}", full)
        with pytest.raises(TrainingError, match=r"disk is full.*go on: lora-nb continue"):
            train_project(
                project, change_settings(config, {"run.checkpoint_every_n_steps": 2}), run="run1", on_event=quiet
            )
    *_, last = read_events(project.run_folder("run1") / "events.jsonl")
    assert isinstance(last, RunFailed) and "disk is full" in last.message
    assert_same(whole, continue_project(project, "run1", on_event=quiet))


def test_any_state_of_an_optimizer_comes_back_as_it_was():
    value = {
        0: {"step": torch.tensor(3.0), "rms": 1e-30, "betas": (0.9, 0.999), "none": None, "list": [1, [True, "x"]]},
        (1, "b"): {"state": torch.randn(3, 2).to(torch.bfloat16), "codes": torch.arange(5, dtype=torch.uint8)},
    }
    tensors = {}
    packed = json.loads(json.dumps(pack(value, "optimizer", tensors)))
    back = unpack(packed, tensors, torch.device("cpu"))
    assert back.keys() == value.keys() and back[0]["betas"] == (0.9, 0.999) and back[0]["list"] == [1, [True, "x"]]
    assert back[0]["rms"] == 1e-30 and back[0]["step"].equal(value[0]["step"])
    assert back[1, "b"]["state"].equal(value[1, "b"]["state"]) and back[1, "b"]["codes"].dtype == torch.uint8
    with pytest.raises(TypeError, match=r"optimizer\.odd is a object"):
        pack({"odd": object()}, "optimizer", {})


def test_the_last_word_of_a_continued_run(project, config):
    started_and_crashed(project, config)
    folder = continue_project(project, "run1", on_event=quiet)
    *_, last = read_events(folder / "events.jsonl")
    assert isinstance(last, RunFinished) and last.outcome == "finished"
