from pathlib import Path

import pytest

from lora_nb.dataset.caption_history import REMEMBERED, CaptionHistory
from lora_nb.dataset.caption_saving import CaptionConflictError, read_caption_text, save_caption
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.tag_edits import add_tags, rename_tag
from lora_nb.dataset.tags import CaptionChange, remove_tags
from lora_nb.errors import DatasetError
from tests.dataset.pictures import save


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    save(tmp_path / "images" / "2_mochi" / "a.png", "mochi, smile")
    save(tmp_path / "images" / "2_mochi" / "b.png", "mochi, smile, hat")
    save(tmp_path / "images" / "2_mochi" / "c.png")
    return scan_images(tmp_path / "images")


@pytest.fixture
def history(dataset: Dataset) -> CaptionHistory:
    return CaptionHistory(dataset.root, dataset.root.parent / "history" / "captions.jsonl")


def texts(dataset: Dataset) -> list[str]:
    return [read_caption_text(item.path)[0] for item in dataset.items]


def test_edits_are_undone_and_redone_one_by_one(dataset, history):
    start = texts(dataset)
    history.apply("Remove smile", remove_tags(dataset, ["smile"], dry_run=True))
    history.apply("Add forest", add_tags(dataset, ["forest"], dry_run=True))
    end = texts(dataset)
    assert end == ["mochi, forest", "mochi, hat, forest", "forest"]
    assert history.undo().label == "Add forest"
    assert texts(dataset) == ["mochi", "mochi, hat", ""] and not (dataset.items[2].path.with_suffix(".txt")).exists()
    assert len(history.undo().changed) == 2 and texts(dataset) == start
    assert (history.next_undo(), history.next_redo()) == ("", "Remove smile")
    with pytest.raises(DatasetError, match="no edit to undo"):
        history.undo()
    history.redo()
    history.redo()
    assert texts(dataset) == end
    with pytest.raises(DatasetError, match="no undone edit"):
        history.redo()


def test_a_restarted_kernel_can_undo(dataset, history):
    start = texts(dataset)
    history.apply("Remove smile", remove_tags(dataset, ["smile"], dry_run=True))
    CaptionHistory(history.root, history.file).undo()
    assert texts(dataset) == start


def test_a_caption_that_was_edited_since_is_left_and_named(dataset, history):
    history.apply("Remove smile", remove_tags(dataset, ["smile"], dry_run=True))
    save_caption(dataset.items[0].path, "mine", read_caption_text(dataset.items[0].path)[1])
    step = history.undo()
    assert texts(dataset) == ["mine", "mochi, smile, hat", ""]
    assert [path.name for path in step.left] == ["a.txt"] and len(step.changed) == 1


def test_an_edit_that_was_cut_half_way_is_undone_as_a_whole(dataset, history, monkeypatch):
    changes = remove_tags(dataset, ["smile"], dry_run=True)
    real = CaptionHistory.apply.__globals__["write_changes"]

    def cut(found: list[CaptionChange]) -> None:
        real(found[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(CaptionHistory.apply.__globals__, "write_changes", cut)
        history.apply("Remove smile", changes)
    assert texts(dataset)[:2] == ["mochi", "mochi, smile, hat"]
    history.undo()
    assert texts(dataset)[:2] == ["mochi, smile", "mochi, smile, hat"]


def test_what_was_edited_between_dry_run_and_edit_is_left(dataset, history):
    changes = remove_tags(dataset, ["smile"], dry_run=True)
    save_caption(dataset.items[0].path, "mine", read_caption_text(dataset.items[0].path)[1])
    history.apply("Remove smile", changes)
    assert texts(dataset)[:2] == ["mine", "mochi, hat"]
    assert len(history.undo().changed) == 1 and texts(dataset)[0] == "mine"


def test_slices_of_one_edit_are_undone_together(dataset, history):
    start = texts(dataset)
    changes = add_tags(dataset, ["x"], dry_run=True)
    number = history.apply("Captions", changes[:1])
    assert history.apply("Captions", changes[1:], number) == number
    assert len(history.undo().changed) == 3 and texts(dataset) == start


def test_a_new_edit_ends_what_could_be_redone(dataset, history):
    history.apply("Add x", add_tags(dataset, ["x"], dry_run=True))
    history.undo()
    history.apply("Add y", add_tags(dataset, ["y"], dry_run=True))
    assert history.next_redo() == "" and history.next_undo() == "Add y"


def test_a_line_that_was_cut_spoils_nothing(dataset, history):
    start = texts(dataset)
    history.apply("Add x", add_tags(dataset, ["x"], dry_run=True))
    with history.file.open("ab") as file:
        file.write(b'{"do": 2, "label": "Add')
    history.apply("Add y", add_tags(dataset, ["y"], dry_run=True))
    history.undo()
    history.undo()
    assert texts(dataset) == start


def test_the_journal_does_not_grow_without_end(dataset, history):
    for number in range(2 * REMEMBERED + 5):
        old, new = ("smile", "grin") if number % 2 == 0 else ("grin", "smile")
        history.apply(f"Edit {number}", rename_tag(dataset, old, new, dry_run=True))
    assert len([line for line in history.file.read_bytes().splitlines() if line]) < 2 * REMEMBERED
    assert history.next_undo() == f"Edit {2 * REMEMBERED + 4}"
    history.undo()
    assert history.next_undo() == f"Edit {2 * REMEMBERED + 3}"


def test_a_journal_cannot_reach_out_of_its_folder(dataset, history, tmp_path):
    history.file.parent.mkdir()
    history.file.write_text('{"do": 1, "label": "x", "changes": [["../../other.txt", "bad", ""]]}\n')
    with pytest.raises(DatasetError, match=r"\.\./\.\./other\.txt"):
        history.undo()


def test_a_caption_is_saved_if_it_is_what_its_editor_saw(dataset):
    path = dataset.items[0].path
    text, revision = read_caption_text(path)
    assert text == "mochi, smile"
    newer = save_caption(path, " mochi,  hat \n", revision)
    assert texts(dataset)[0] == "mochi, hat" and newer not in ("", revision)
    assert save_caption(path, "mochi, hat", "outdated") == newer, "it says that already"
    assert path.with_suffix(".txt.bak").read_text() == "mochi, smile"
    assert save_caption(path, "", newer) == "" and not path.with_suffix(".txt").exists()


def test_a_caption_that_was_changed_elsewhere_is_not_overwritten(dataset):
    path = dataset.items[0].path
    _, revision = read_caption_text(path)
    path.with_suffix(".txt").write_text("theirs")
    with pytest.raises(CaptionConflictError, match="It now says 'theirs'") as caught:
        save_caption(path, "mine", revision)
    assert texts(dataset)[0] == "theirs"
    save_caption(path, "mine", caught.value.revision)
    assert texts(dataset)[0] == "mine"
