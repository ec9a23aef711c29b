"""Two notebooks are open on one project, each a program of its own: whatever they do at once, no edit is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from lora_nb.dataset.caption_history import open_history
from lora_nb.dataset.caption_saving import read_caption_text
from lora_nb.dataset.edits import crop_picture, turn_pictures
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.journal import read_history, undo
from lora_nb.dataset.tag_edits import rename_tag
from lora_nb.project import Project, open_project
from lora_nb.widgets.board import edit_dataset
from lora_nb.widgets.captions import edit_captions
from lora_nb.widgets.form import edit_settings
from lora_nb.widgets.presets import choose_preset
from tests.dataset.pictures import save

START = """
import sys
from pathlib import Path
from lora_nb.project import open_project
project, me = open_project(Path(sys.argv[1])), sys.argv[2]
sys.stdout.write("ready\\n"), sys.stdout.flush(), sys.stdin.readline()
"""

TYPE = """
from lora_nb.dataset.caption_saving import CaptionConflictError, read_caption_text, save_caption
picture, refused = project.images / "2_mochi" / "a.png", 0
for number in range(30):
    while True:
        text, revision = read_caption_text(picture)
        try:
            save_caption(picture, f"{text}, {me}{number}", revision)
            break
        except CaptionConflictError as error:
            assert error.text != text
            refused += 1
"""

EDIT_ALL = """
from lora_nb.widgets.captions import edit_captions
editor = edit_captions(project)
editor.answer_open()
for number in range(10):
    assert editor.answer_bulk("add", {"tags": [f"{me}{number}"]}, None, dry_run=False)["count"] == 2
"""

SET = """
name = {"a": "run.epochs", "b": "run.batch_size"}[me]
for number in range(1, 31):
    project.change_settings({name: number})
"""

TURN = """
from lora_nb.dataset.edits import turn_pictures
for _ in range(6):
    turn_pictures(project, f"2_mochi/{me}.png")
"""

UPLOAD = """
from lora_nb.dataset.adding import add_pictures
for number in range(8):
    add_pictures(project, project.root / "from" / me / f"{number}.png", repeats=2, name="mochi")
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "mochi_lora")
    save(project.images / "2_mochi" / "a.png", "mochi, smile")
    save(project.images / "2_mochi" / "b.png", "mochi, smile, hat", size=(48, 64))
    return project


def run_both(project: Project, code: str) -> None:
    """Let two programs do the same thing at the same moment."""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", START + code, str(project.root), me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in "ab"
    ]
    for each in both:
        assert each.stdout and each.stdout.readline() == "ready\n"
    for each in both:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in both:
        assert each.communicate()[1] == "" and each.returncode == 0


def caption(project: Project, name: str = "a") -> str:
    return read_caption_text(project.images / "2_mochi" / f"{name}.png")[0]


def test_what_both_type_into_one_caption_is_there(project):
    run_both(project, TYPE)
    written = {f"{me}{number}" for me in "ab" for number in range(30)}
    assert set(caption(project).split(", ")) == {"mochi", "smile"} | written


def test_edits_of_all_captions_are_all_in_the_journal_and_undone_one_by_one(project):
    before = caption(project), caption(project, "b")
    run_both(project, EDIT_ALL)
    history = open_history(project)
    labels = []
    while label := history.next_undo():
        labels.append(label)
        assert not history.undo().left
    assert sorted(labels) == sorted(f"Add {me}{number}" for me in "ab" for number in range(10))
    assert (caption(project), caption(project, "b")) == before


def test_each_keeps_the_settings_of_the_other(project):
    run_both(project, SET)
    config = project.load_config()
    assert (config.run.epochs, config.run.batch_size) == (30, 30)


def test_edits_of_pictures_are_numbered_and_undone_one_by_one(project):
    before = [(project.images / "2_mochi" / f"{me}.png").read_bytes() for me in "ab"]
    run_both(project, TURN)
    assert [edit.number for edit in read_history(project).done] == list(range(1, 13))
    for _ in range(12):
        undo(project)
    assert [(project.images / "2_mochi" / f"{me}.png").read_bytes() for me in "ab"] == before


def test_pictures_of_one_name_are_both_taken_in(project):
    for number in range(8):
        save(project.root / "from" / "a" / f"{number}.png", size=(40 + number, 50))
        save(project.root / "from" / "b" / f"{number}.png", size=(50, 40 + number))
    run_both(project, UPLOAD)
    sizes = {(item.width, item.height) for item in scan_images(project.images).items}
    assert sizes >= {(40 + number, 50) for number in range(8)} | {(50, 40 + number) for number in range(8)}


def test_two_forms_change_only_what_was_changed_in_them(project):
    first, second = edit_settings(project), edit_settings(project)
    project.change_settings({"run.seed": 7})  # by a third, in another program
    first.controls["run.epochs"].value = "5"
    second.controls["optimizer.learning_rate"].value = "2e-4"
    config = project.load_config()
    assert (config.run.epochs, config.optimizer.learning_rate, config.run.seed) == (5, 2e-4, 7)


def test_a_preset_takes_nothing_back_that_it_does_not_set(project):
    chooser = choose_preset(project)
    project.change_settings({"run.seed": 7})
    chooser.button.click()
    assert project.load_config().run.seed == 7


def test_an_editor_does_not_overwrite_what_the_other_saved(project):
    mine, theirs = edit_captions(project), edit_captions(project)
    opened = [editor.answer_open() for editor in (mine, theirs)]
    revision = opened[0]["captions"]["2_mochi/a.txt"]["revision"]
    theirs.answer_save("2_mochi/a.txt", "mochi, theirs", revision)
    answer = mine.answer_save("2_mochi/a.txt", "mochi, mine", revision)
    assert answer["conflict"]["text"] == "mochi, theirs" and caption(project) == "mochi, theirs"
    assert mine.answer_news()["captions"]["2_mochi/a.txt"]["text"] == "mochi, theirs"
    mine.answer_save("2_mochi/a.txt", "mochi, both", answer["conflict"]["revision"])
    assert caption(project) == "mochi, both"


def test_undo_in_one_editor_leaves_what_the_other_typed_later(project):
    mine, theirs = edit_captions(project), edit_captions(project)
    mine.answer_open(), theirs.answer_open()
    mine.answer_bulk("rename", {"old": "smile", "new": "grin"}, None, dry_run=False)
    saved = theirs.answer_news()["captions"]["2_mochi/b.txt"]
    theirs.answer_save("2_mochi/b.txt", "mochi, theirs", saved["revision"])
    step = mine.answer_undo()
    assert step["left"] == ["2_mochi/b.txt"]
    assert (caption(project), caption(project, "b")) == ("mochi, smile", "mochi, theirs")


def test_what_is_typed_while_all_captions_are_changed_is_kept(project, monkeypatch):
    changes = rename_tag(scan_images(project.images), "smile", "grin", dry_run=True)
    history = open_history(project)
    append = history._append

    def meanwhile(event, done):
        append(event, done)
        (project.images / "2_mochi" / "b.txt").write_text("mochi, theirs")  # after the look, before the change

    monkeypatch.setattr(history, "_append", meanwhile)
    history.apply("Rename", changes)
    assert (caption(project), caption(project, "b")) == ("mochi, grin", "mochi, theirs")
    monkeypatch.undo()
    assert [path.name for path in history.undo().left] == ["b.txt"] and caption(project) == "mochi, smile"


def test_a_board_undoes_what_the_other_did_and_leaves_foreign_changes(project):
    board = edit_dataset(project)
    crop_picture(project, "2_mochi/a.png", (0, 0, 32, 32))
    turn_pictures(project, "2_mochi/b.png")
    assert board.answer_undo()
    assert len(read_history(project).done) == 1
