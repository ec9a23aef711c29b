"""Uploads from a page that has gone mad: what arrives stays in its folder, and nothing else is touched."""

import pytest

from lora_nb.dataset.uploads import cancel_upload, finish_upload, receive_piece
from lora_nb.errors import DatasetError
from lora_nb.project import open_project
from tests.dataset.pictures import save
from tests.fuzz.contract import attempt, check_problem, contents_of, run_cases
from tests.fuzz.spoiling import odd_text

NAMES = (
    "a.png",
    "3_cat/a.png",
    "a.png/b.png",
    "../../../evil.png",
    "/etc/evil.png",
    "..",
    ".",
    "",
    "\0.png",
    "\ud800.png",
)
NAMES += (
    "x" * 300,
    "masks/a.png",
    "3_cat/masks/a.png",
    "C:\\a.png",
    "3_cat/a.txt",
    "a.zip",
    "~/a.png",
    "3_cat",
    "3_\udcff/a.png",
)


def test_odd_uploads_stay_in_their_folder(tmp_path):
    def case(chance, folder):
        project = open_project(folder / "project")
        picture = save(folder / "picture.png").read_bytes()
        before = contents_of(project.images)
        for _ in range(chance.randrange(1, 8)):
            upload = chance.choice(["one", "one", "two", "..", "", "a/b", "x" * 99, "\0"])
            name = chance.choice(NAMES) if chance.random() < 0.8 else odd_text(chance)
            content = chance.choice([picture, picture, b"", b"mochi", bytes(1 << 19), bytes((1 << 19) + 1)])
            offset = chance.choice([0, 0, 0, 5, -1, 10**12])
            total = chance.choice([len(content)] * 4 + [0, -1, 10**15])
            attempt(lambda: receive_piece(project, upload, name, offset, total, content))  # noqa: B023
        assert contents_of(project.images) == before
        outside = set(contents_of(folder)) - set(contents_of(project.cache / "incoming"))
        assert all(
            path.endswith(("picture.png", "project/images", "project", "cache", "incoming")) for path in outside
        ), outside
        outcome = attempt(lambda: finish_upload(project, "one"))
        for problem in outcome.result.problems if outcome.result else ():
            check_problem(problem)
        attempt(lambda: cancel_upload(project, "two"))
        assert not list((project.cache / "incoming").iterdir()) if (project.cache / "incoming").exists() else True
        return outcome.word

    run_cases("uploads", 150, case, tmp_path)


def test_half_a_character_in_a_name_is_refused_or_received(tmp_path):
    project = open_project(tmp_path / "project")
    with pytest.raises(DatasetError, match="cannot be a file's name"):
        receive_piece(project, "one", "\ud800.png", 0, 4, b"1234")


def test_a_file_that_is_called_like_a_folder_is_refused(tmp_path):
    project = open_project(tmp_path / "project")
    receive_piece(project, "one", "a.png/b.png", 0, 4, b"1234")
    with pytest.raises(DatasetError, match="A file and a folder have the same name"):
        receive_piece(project, "one", "a.png", 0, 4, b"1234")
