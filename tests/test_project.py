"""The project folder: made once, found again, never overwritten."""

import pytest
from PIL import Image

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.errors import ProjectError
from lora_nb.project import find_project, make_project, open_project


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "3_cat").mkdir(parents=True)
    Image.new("RGB", (80, 60)).save(folder / "3_cat" / "a.png")
    (folder / "3_cat" / "a.txt").write_text("cat")
    (folder / ".hidden").write_text("")
    return folder


def test_a_new_project_holds_copies_of_the_pictures(tmp_path, photos):
    project = make_project(tmp_path / "cat", photos)
    assert sorted(str(p.relative_to(project.images)) for p in project.images.rglob("*.*")) == [
        "3_cat/a.png",
        "3_cat/a.txt",
    ]
    assert (photos / "3_cat" / "a.png").exists()


def test_a_project_is_never_overwritten(tmp_path, photos):
    project = make_project(tmp_path / "cat", photos)
    project.save_config(TrainConfig())
    with pytest.raises(ProjectError, match="is a project already"):
        make_project(tmp_path / "cat", photos)


def test_a_project_inside_its_own_pictures_is_refused(photos):
    with pytest.raises(ProjectError, match="lies inside"):
        make_project(photos / "new", photos)


def test_missing_folders_are_explained(tmp_path):
    with pytest.raises(ProjectError, match="There is no folder"):
        make_project(tmp_path / "a", tmp_path / "nowhere")
    with pytest.raises(ProjectError, match="lora-nb new"):
        find_project(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="is a file"):
        open_project(tmp_path / "file")


def test_settings_are_kept_in_the_project(tmp_path):
    project = open_project(tmp_path / "cat")
    assert project.load_config() == TrainConfig()
    changed = change_settings(TrainConfig(), {"run.epochs": 3})
    project.save_config(changed)
    assert open_project(tmp_path / "cat").load_config() == changed


def test_runs_get_names_of_their_own(tmp_path):
    project = open_project(tmp_path / "cat")
    assert project.new_run_name() == "run1"
    (project.runs / "run1").mkdir(parents=True)
    assert project.new_run_name() == "run2"
    with pytest.raises(ProjectError, match="holds no run yet"):
        project.latest_run()
