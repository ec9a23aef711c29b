from pathlib import Path

import pytest

from lora_nb.config_file import change_settings
from lora_nb.dataset.edits import exclude_pictures, set_repeats, turn_pictures
from lora_nb.dataset.journal import undo
from lora_nb.dataset.overview import FolderRow, view_crop, view_pictures
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from tests.dataset.pictures import save
from tests.dataset.test_checks import config


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "mochi")
    save(project.images / "5_mochi" / "a.png", "mochi", size=(64, 64))
    save(project.images / "5_mochi" / "b.png", size=(64, 128))
    save(project.root / "regularisation" / "2_creature" / "r.png", size=(64, 64))
    return project


def test_every_picture_is_listed_with_its_bucket_and_what_that_shows(project):
    seen = view_pictures(project, config())

    a, b, r = seen.pictures
    assert (a.name, a.repeats, a.has_caption, a.crop.bucket) == ("5_mochi/a.png", 5, True, (64, 64))
    assert a.crop.box == (0, 0, 1, 1) and a.crop.lost == 0
    assert (
        b.crop.bucket == (40, 88)
        and b.crop.box[0] > 0
        and b.crop.lost == pytest.approx(1 - b.crop.box[2] * b.crop.box[3])
    )
    assert r.is_regularisation and seen.seen == 12
    assert seen.buckets == ((40, 88, 1), (64, 64, 2))
    assert seen.folders == (FolderRow("5_mochi", 5, 2), FolderRow("regularisation/2_creature", 2, 1))


def test_excluded_pictures_are_listed_apart_even_broken_ones(project):
    (project.images / "5_mochi" / "bad.png").write_text("no")
    exclude_pictures(project, ["5_mochi/a.png", "5_mochi/bad.png"])

    seen = view_pictures(project, config())

    assert [(row.name, row.width) for row in seen.excluded] == [
        ("_excluded/5_mochi/a.png", 64),
        ("_excluded/5_mochi/bad.png", 0),
    ]


def test_it_says_what_can_be_undone_and_which_pictures_are_edited(project):
    before = view_pictures(project, config())
    turn_pictures(project, "5_mochi/b.png")
    set_repeats(project, "5_mochi", 8)

    seen = view_pictures(project, config())
    assert seen.undo == "Renamed 5_mochi to 8_mochi." and seen.redo == ""
    assert [row.is_edited for row in seen.pictures] == [False, True, False]
    assert seen.pictures[1].version != before.pictures[1].version
    undo(project), undo(project)
    assert view_pictures(project, config()).redo == "Turned 5_mochi/b.png to the right."


def test_what_fits_no_bucket_has_no_crop(project):
    save(project.images / "5_mochi" / "thin.png", size=(4, 64))
    settings = change_settings(config(), {"data.enlarge_pictures": False})
    assert view_pictures(project, settings).pictures[2].crop is None
    with pytest.raises(DatasetError):
        view_crop(4, 64, settings)
