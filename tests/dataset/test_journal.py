from pathlib import Path

import pytest

from lora_nb.dataset import journal
from lora_nb.dataset.edits import crop_picture, exclude_pictures, flip_pictures, set_repeats, turn_pictures
from lora_nb.dataset.images import open_picture
from lora_nb.dataset.journal import read_history, redo, undo
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from tests.dataset.pictures import save

NAME = "12_mochi/a.png"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    save(project.images / NAME, "mochi")
    return project


def content(project: Project) -> bytes:
    return (project.images / NAME).read_bytes()


def test_edits_are_undone_and_redone_one_by_one(project):
    states = [content(project)]
    for edit in (lambda: crop_picture(project, NAME, (0, 0, 40, 48)), lambda: turn_pictures(project, NAME)):
        edit()
        states.append(content(project))

    assert [undo(project).number, content(project)] == [2, states[1]]
    assert [undo(project).number, content(project)] == [1, states[0]]
    assert [redo(project).number, content(project)] == [1, states[1]]
    assert [redo(project).number, content(project)] == [2, states[2]]


def test_the_original_is_kept_once_under_its_name(project):
    for _ in range(3):
        turn_pictures(project, NAME)

    kept = [path for path in project.originals.iterdir() if path.suffix == ".png"]
    assert len(kept) == 1 and kept[0].name.startswith("a.") and open_picture(kept[0]).size == (64, 48)


def test_a_new_edit_ends_what_could_be_redone(project):
    turn_pictures(project, NAME)
    undo(project)
    flip_pictures(project, NAME)

    with pytest.raises(DatasetError, match="No edit was undone"):
        redo(project)
    undo(project)
    with pytest.raises(DatasetError, match="No edit is in force"):
        undo(project)


def test_an_edit_is_undone_after_its_folder_was_renamed_and_that_was_undone(project):
    original = content(project)
    crop_picture(project, NAME, (0, 0, 40, 48))
    set_repeats(project, "12_mochi", 20)
    turn_pictures(project, "20_mochi/a.png")

    for _ in range(3):
        undo(project)

    assert content(project) == original


def test_what_another_program_changed_is_not_written_over(project):
    turn_pictures(project, NAME)
    save(project.images / NAME, size=(20, 20))
    foreign = content(project)

    with pytest.raises(DatasetError, match="Another program has changed it"):
        undo(project)

    assert content(project) == foreign


def test_what_another_program_changed_is_the_original_of_the_next_edit(project):
    turn_pictures(project, NAME)
    save(project.images / NAME, size=(20, 30))
    foreign = content(project)

    flip_pictures(project, NAME)
    undo(project)

    assert content(project) == foreign


def test_an_edit_that_fails_half_way_leaves_nothing_behind(project, monkeypatch):
    save(project.images / "12_mochi" / "b.png")
    before, write, calls = content(project), journal.write_whole, []

    def fail_once(path, data):
        calls.append(path)
        if calls.count(path) == 1 and path.name == "b.png":
            raise OSError("the disk is full")
        write(path, data)

    monkeypatch.setattr(journal, "write_whole", fail_once)
    with pytest.raises(OSError, match="disk is full"):
        turn_pictures(project, [NAME, "12_mochi/b.png"])

    assert content(project) == before and read_history(project).done == []
    turn_pictures(project, NAME)
    assert undo(project) and content(project) == before


def test_an_edit_that_was_cut_off_can_be_undone(project):
    """The machine stopped when the edit was written down but not yet done, and in the middle of the next line."""
    before = content(project)
    turn_pictures(project, NAME)
    lines = (project.originals / journal.JOURNAL).read_text().splitlines()
    (project.images / NAME).write_bytes(before)
    (project.originals / journal.JOURNAL).write_text(lines[0] + "\n" + lines[1][:9])

    undo(project)

    assert content(project) == before
    assert redo(project) and open_picture(project.images / NAME).size == (48, 64)


def test_an_undo_is_refused_when_the_old_place_is_taken(project):
    exclude_pictures(project, NAME)
    save(project.images / NAME, size=(20, 20))

    with pytest.raises(DatasetError, match="of this name already"):
        undo(project)

    assert (project.images / "_excluded" / NAME).exists()
