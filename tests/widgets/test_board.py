import sys
import types
from pathlib import Path

import pytest

from lora_nb.dataset.flaws import KINDS
from lora_nb.dataset.images import scan_images
from lora_nb.errors import ProjectError
from lora_nb.project import Project, open_project
from lora_nb.widgets.asking import STATIC
from lora_nb.widgets.board import Board, edit_dataset, upload_on_colab
from tests.dataset.pictures import names, save


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "mochi")
    save(project.images / "5_mochi" / "a.png", "mochi", size=(640, 512))
    return project


def ask(board: Board, question: str, buffers: tuple[bytes, ...] = (), **details: object) -> dict:
    """What the page would hear."""
    heard: list[dict] = []
    board.send = lambda reply, data=None: heard.append(reply)
    board._handle_custom_msg({"id": "1", "ask": question, "details": details}, [memoryview(each) for each in buffers])
    return heard[0]


def test_every_kind_of_finding_has_a_name_for_people():
    module = (STATIC / "board_panels.js").read_text()
    for kind in (*KINDS, "unreadable"):
        assert f"{kind}: " in module


def test_the_page_is_one_module_without_imports_and_small():
    module = str(Board._esm)
    assert "\nimport " not in module and "\nexport {" not in module and module.count("\nexport default") == 1
    assert len(module) < 64_000


def test_an_edit_answers_with_what_was_done_and_the_new_list(project):
    answer = ask(edit_dataset(project), "edit", edit="turn", arguments={"pictures": ["5_mochi/a.png"]})["answer"]

    assert answer["said"] == answer["list"]["undo"] == "Turned 5_mochi/a.png to the right."
    assert answer["list"]["pictures"][0][:3] == ["5_mochi/a.png", 512, 640]


def test_what_cannot_be_done_is_answered_in_words(project):
    assert "no such picture" in ask(edit_dataset(project), "preview", name="../config.json")["error"]
    assert "Nothing can be undone" in ask(edit_dataset(project), "undo")["error"]


def test_a_board_that_is_shown_again_knows_what_was_done_before(project):
    ask(edit_dataset(project), "edit", edit="exclude", arguments={"pictures": ["5_mochi/a.png"]})

    answer = ask(edit_dataset(project), "undo")["answer"]

    assert answer["list"]["redo"].startswith("Excluded") and names(scan_images(project.images)) == ["5_mochi/a.png"]


def test_colabs_own_upload_brings_pictures_in(project, monkeypatch, tmp_path):
    def upload() -> None:
        save(Path("from_phone.png"), size=(64, 64))

    colab = types.ModuleType("google.colab")
    colab.files = types.SimpleNamespace(upload=upload)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    here = Path.cwd()

    added = upload_on_colab(project)

    assert added.pictures == ["5_mochi/from_phone.png"] and Path.cwd() == here


def test_elsewhere_colabs_upload_says_what_to_use(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", None)
    with pytest.raises(ProjectError, match="add_pictures"):
        upload_on_colab(project)
