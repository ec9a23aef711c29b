import os
from pathlib import Path

import pytest

from lora_nb.dataset.images import scan_images
from lora_nb.dataset.uploads import PIECE, finish_upload, receive_piece
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from tests.dataset.pictures import names, save


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return open_project(tmp_path / "mochi")


def send(project: Project, name: str, content: bytes, size: int = 100) -> None:
    there = 0
    while there < len(content):
        there = receive_piece(project, "up1", name, there, len(content), content[there : there + size])


def test_files_arrive_in_pieces_and_are_taken_in_together(project, tmp_path):
    content = save(tmp_path / "a.png").read_bytes()
    send(project, "5_cat/a.png", content)
    send(project, "5_cat/a.txt", b"cat, sitting")

    added = finish_upload(project, "up1")

    assert names(scan_images(project.images)) == ["5_cat/a.png"] == added.pictures and added.captions == 1
    assert (project.images / "5_cat" / "a.png").read_bytes() == content
    assert not (project.cache / "incoming" / "up1").exists()


def test_a_piece_that_comes_twice_or_too_early_changes_nothing(project):
    content = os.urandom(300)
    assert receive_piece(project, "up1", "a.png", 0, 300, content[:100]) == 100
    assert receive_piece(project, "up1", "a.png", 0, 300, content[:100]) == 100
    assert receive_piece(project, "up1", "a.png", 200, 300, content[200:]) == 100
    assert receive_piece(project, "up1", "a.png", 100, 300, content[100:]) == 300
    assert (project.cache / "incoming" / "up1" / "a.png").read_bytes() == content


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "a/b/../c/evil.png", "..\\evil.png"])
def test_a_name_cannot_lead_elsewhere(project, name):
    receive_piece(project, "up1", name, 0, 1, b"x")

    inside = project.cache / "incoming" / "up1"
    assert [path.name for path in project.root.parent.rglob("evil.png") if path.is_relative_to(inside)] == ["evil.png"]
    assert len(list(project.root.parent.rglob("evil.png"))) == 1


@pytest.mark.parametrize("upload", ["", "..", "a/b", "x" * 50])
def test_an_uploads_own_name_cannot_lead_elsewhere(project, upload):
    with pytest.raises(DatasetError):
        receive_piece(project, upload, "a.png", 0, 1, b"x")


def test_too_large_pieces_and_files_are_refused(project):
    with pytest.raises(DatasetError, match="Send 1 to"):
        receive_piece(project, "up1", "a.png", 0, PIECE * 2, bytes(PIECE + 1))
    with pytest.raises(DatasetError, match="are free"):
        receive_piece(project, "up1", "a.png", 0, 1 << 60, b"x")


def test_finishing_what_never_began_is_said(project):
    with pytest.raises(DatasetError, match="Nothing has arrived"):
        finish_upload(project, "up2")
