from pathlib import Path

import pytest

from lora_nb.config_file import change_settings
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from lora_nb.widgets.captions import CaptionEditor, edit_captions
from lora_nb.widgets.tagger import TaggerPanel, tag_pictures
from tests.captioners.tiny_florence import save_tiny_florence
from tests.dataset.pictures import save


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    save(project.images / "a.png", "mochi, smile")
    save(project.images / "b.png", "mochi, hat")
    save(project.root / "regularisation" / "1_creature" / "r.png", "creature")
    project.save_config(change_settings(project.load_config(), {"data.trigger_words": ["mochi"]}))
    return project


@pytest.fixture
def editor(project: Project) -> CaptionEditor:
    editor = edit_captions(project)
    editor.answer_open()
    return editor


def test_the_page_gets_the_projects_pictures_and_their_captions(editor):
    answer = editor.answer_open()
    found = [(each["name"], each["general"]) for each in answer["pictures"]]
    assert found == [("a.png", False), ("b.png", False), ("regularisation/1_creature/r.png", True)]
    assert answer["captions"]["regularisation/1_creature/r.txt"]["text"] == "creature"
    assert answer["captions"]["a.txt"]["text"] == "mochi, smile" and answer["triggers"] == ["mochi"]
    assert answer["history"] == {"undo": "", "redo": ""}


@pytest.mark.parametrize("file", ["../config.json", "c.txt", "a.png", "../regularisation/1_creature/r.txt"])
def test_only_captions_of_pictures_can_be_written(editor, file):
    with pytest.raises(DatasetError, match="belongs to no picture"):
        editor.answer_save(file, "x", "")


def test_pictures_of_the_class_in_general_are_kept_apart(editor, project):
    file = "regularisation/1_creature/r.txt"
    saved = editor.answer_open()["captions"][file]
    editor.answer_save(file, "creature, beach", saved["revision"])
    assert (project.root / file).read_text() == "creature, beach"
    for names in (None, ["a.png", "b.png", "regularisation/1_creature/r.png"]):
        assert editor.answer_bulk("add", {"tags": ["x"]}, names)["of"] == 2
    editor.answer_bulk("triggers", {"words": ["mochi", "new"], "instead_of": ["mochi"]}, None, dry_run=False)
    assert (project.root / file).read_text() == "creature, beach"
    assert not {"creature", "beach"} & {each["tag"] for each in editor.answer_advice()}
    assert "creature" not in str(editor.answer_triggers()["folders"])
    assert editor.answer_news().keys() <= {"captions", "history"}
    (project.root / file).write_text("creature, sea")
    assert editor.answer_news()["captions"][file]["text"] == "creature, sea"
    save(project.root / "regularisation" / "1_creature" / "s.png")
    assert editor.answer_news() == {"pictures": True}


def test_a_dry_run_counts_and_an_edit_returns_what_the_page_must_show(editor, project):
    dry = editor.answer_bulk("remove", {"tags": ["smile"]}, None)
    assert (dry["count"], dry["of"], dry["examples"][0]["after"]) == (1, 2, "mochi")
    assert (project.images / "a.txt").read_text() == "mochi, smile"
    done = editor.answer_bulk("remove", {"tags": ["smile"]}, ["a.png"], dry_run=False)
    assert list(done["captions"]) == ["a.txt"] and done["history"]["undo"] == "Remove smile"
    assert editor.answer_undo()["captions"]["a.txt"]["text"] == "mochi, smile"
    assert editor.answer_redo()["history"] == {"undo": "Remove smile", "redo": ""}


def test_another_editor_can_undo_after_a_restart(editor, project):
    editor.answer_bulk("add", {"tags": ["x"], "place": "after triggers"}, None, dry_run=False)
    assert (project.images / "a.txt").read_text() == "mochi, x, smile"
    later = CaptionEditor(project)
    assert later.answer_open()["history"]["undo"] == "Add x"
    assert later.answer_undo()["count"] == 2


def test_news_are_what_others_changed(editor, project):
    assert editor.answer_news() == {}
    (project.images / "a.txt").write_text("mochi, new")
    assert editor.answer_news()["captions"]["a.txt"]["text"] == "mochi, new"
    assert editor.answer_news() == {}
    save(project.images / "c.png")
    assert editor.answer_news() == {"pictures": True}


def test_tokens_are_counted_of_the_longest_line(editor, project):
    (project.images / "a.txt").write_text("mochi\nmochi, smile, " + "hat, " * 60)
    answer = editor.answer_tokens(["a.txt", "b.txt", "gone.txt"])
    assert set(answer["counts"]) == {"a.txt", "b.txt"} and answer["most"] == 75
    number, cut = answer["counts"]["a.txt"]
    assert number > 75 and cut == "hat" and answer["counts"]["b.txt"][1] == ""


def test_pictures_come_as_webp_and_a_missing_one_as_nothing(editor):
    _, buffers = editor.answer_thumbs(["a.png", "gone.png"])
    assert buffers[0][8:12] == b"WEBP" and buffers[1] == b""


def test_the_tagger_refuses_settings_that_are_none(project):
    panel = tag_pictures(project)
    assert isinstance(panel, TaggerPanel) and panel.answer_open()["bare"] == 0
    settings = {"captioner": "wd", "base": "shipped", "threshold": 2, "character_threshold": "", "unwanted": []}
    with pytest.raises(DatasetError, match=r"General tags: 2(.|\n)*Characters: ''"):
        panel.answer_start({**settings, "existing": "skip", "triggers": []})
    with pytest.raises(DatasetError, match="Press Start"):
        panel.answer_step()


def test_florence_describes_and_is_cut_where_the_model_stops_to_read(project, tmp_path, monkeypatch):
    from lora_nb.captioners.florence import Florence

    long = " ".join(f"A cat sits on chair number {number}." for number in range(40))
    monkeypatch.setattr(Florence, "caption", lambda self, picture: f"{self.task} {long}")
    panel = tag_pictures(project)
    base = str(save_tiny_florence(tmp_path / "florence"))
    settings = {"captioner": "florence", "base": base, "task": "short", "existing": "replace", "triggers": ["mochi"]}
    panel.answer_start(settings)
    answer = panel.answer_step()
    assert answer["job"]["finished"] and answer["device"].startswith("Florence-2 on ")
    caption = (project.images / "a.txt").read_text()
    assert caption.startswith("mochi, <CAPTION> A cat") and caption.endswith(".")
    assert CaptionEditor(project).answer_open() and len(caption) < 400


def test_a_captioning_is_not_undone_over_later_edits(project, editor):
    panel = tag_pictures(project)
    settings = {"captioner": "wd", "base": "shipped", "threshold": 0.35, "character_threshold": 0.85, "unwanted": []}
    panel.answer_start({**settings, "existing": "append", "triggers": ["mochi"]})
    while not panel.answer_step()["job"]["finished"]:
        pass
    editor.answer_bulk("add", {"tags": ["later"]}, None, dry_run=False)
    with pytest.raises(DatasetError, match="Other edits came after"):
        panel.answer_undo()
    editor.answer_undo()
    assert panel.answer_undo()["count"] == 2
    assert (project.images / "a.txt").read_text() == "mochi, smile"
