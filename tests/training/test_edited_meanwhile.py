"""Pictures and captions may be edited while a run trains on them: it keeps what it began with, and says so later."""

import pytest
from PIL import Image

from lora_nb.config_file import change_settings
from lora_nb.errors import DatasetError, RunChangedError
from lora_nb.training import cache
from lora_nb.training.events import StepDone
from lora_nb.training.requests import ask_run
from lora_nb.training.runs import continue_project, train_project
from tests.training.stories import assert_same

SHAPE = (64, 64)


def delete(folder):
    (folder / "1.png").unlink()


def replace(folder):
    Image.effect_noise(SHAPE, 90).convert("RGB").save(folder / "1.png")


def tear(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])


def rewrite(folder):
    (folder / "1.txt").write_text("mochi, a wholly different caption")


def add(folder):
    Image.effect_noise(SHAPE, 90).convert("RGB").save(folder / "9.png")


def rename(folder):
    folder.rename(folder.with_name("5_mochi"))


EDITS = (delete, replace, tear, rewrite, add, rename)


@pytest.mark.parametrize("edit", EDITS)
def test_a_run_ends_with_the_pictures_it_began_with(project, config, edit):
    whole = train_project(project, config, run="whole")

    def meanwhile(event):
        if isinstance(event, StepDone) and event.step == 3:
            edit(project.images / "2_mochi")

    assert_same(whole, train_project(project, config, run="run1", on_event=meanwhile))


@pytest.mark.parametrize("edit", EDITS)
def test_a_run_that_was_stopped_names_what_was_edited(project, config, edit):
    def meanwhile(event):
        if isinstance(event, StepDone) and event.step == 3:
            edit(project.images / "2_mochi")
            ask_run(project.run_folder("run1"), "stop")

    train_project(project, config, run="run1", on_event=meanwhile)
    with pytest.raises((RunChangedError, DatasetError), match=r"mochi/[19].png"):
        continue_project(project, "run1")


@pytest.mark.parametrize(
    ("edit", "said"),
    [(delete, "there a moment ago|cannot be read"), (replace, "edited while"), (tear, "cannot be|edited while")],
)
@pytest.mark.parametrize("moment", ["before it is encoded", "before its entry is written"])
def test_an_edit_within_the_preparation_leaves_no_wrong_entry(project, config, monkeypatch, edit, said, moment):
    real, folder = cache._make_latents, project.images / "2_mochi"

    def make(model, item, *more):
        is_it = item.name == "2_mochi/1.png"
        if is_it and moment == "before it is encoded":
            edit(folder)
        tensors = real(model, item, *more)
        if is_it and moment == "before its entry is written":
            edit(folder)
        return tensors

    before = (folder / "1.png").read_bytes()
    monkeypatch.setattr(cache, "_make_latents", make)
    with pytest.raises(DatasetError, match=said):
        train_project(project, config, run="run1")
    monkeypatch.setattr(cache, "_make_latents", real)
    (folder / "1.png").write_bytes(before)
    afterwards = train_project(project, config, run="run2")
    fresh = change_settings(config, {"run.epochs": 2})
    for path in (project.cache / "latents").iterdir():
        path.unlink()
    assert_same(afterwards, train_project(project, fresh, run="run3"))


def test_a_folder_that_goes_while_it_is_read_is_named(project, config, monkeypatch):
    real = cache._make_latents

    def make(*given):
        for path in (project.images / "2_mochi").iterdir():
            path.unlink()
        return real(*given)

    monkeypatch.setattr(cache, "_make_latents", make)
    with pytest.raises(DatasetError, match=r"\d.png"):
        train_project(project, config, run="run1")
    assert not project.run_folder("run1").exists()
