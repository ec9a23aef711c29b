import stat
import zipfile
from pathlib import Path

import pytest

from lora_nb.dataset import archives
from lora_nb.dataset.archives import unpack_zip
from lora_nb.errors import DatasetError


def make(path: Path, *members: tuple[str, bytes], mode: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", mode) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def unpacked(folder: Path) -> list[str]:
    return sorted("/".join(path.relative_to(folder).parts[1:]) for path in folder.rglob("*") if path.is_file())


def test_pictures_and_captions_come_out_in_their_folders(tmp_path):
    archive = make(
        tmp_path / "a.zip",
        *[("set/3_cat/a.png", b"1"), ("set/3_cat/a.txt", b"2"), ("b.jpg", b"3")],
        *[("set/readme.md", b"4"), ("__MACOSX/3_cat/._a.png", b"5"), (".hidden/c.png", b"6")],
    )

    assert unpack_zip(archive, tmp_path / "out") == []
    assert unpacked(tmp_path / "out") == ["3_cat/a.png", "3_cat/a.txt", "b.jpg"]


def test_folders_of_the_same_name_do_not_mix(tmp_path):
    archive = make(tmp_path / "a.zip", ("x/3_cat/a.png", b"1"), ("y/3_cat/a.png", b"2"))

    unpack_zip(archive, tmp_path / "out")

    assert unpacked(tmp_path / "out") == ["3_cat/a.png", "3_cat/a.png"]


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png"])
def test_an_archive_that_wants_out_is_refused_as_a_whole(tmp_path, name):
    archive = make(tmp_path / "a.zip", ("fine.png", b"1"), (name, b"2"))

    with pytest.raises(DatasetError, match="outside of its folder"):
        unpack_zip(archive, tmp_path / "deep" / "out")

    assert not (tmp_path / "deep" / "out").exists()


def test_links_are_left_out(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")

    problems = unpack_zip(tmp_path / "a.zip", tmp_path / "out")

    assert "link" in problems[0].message and unpacked(tmp_path / "out") == []


def test_bombs_are_refused_before_they_go_off(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="No picture does that"):
        unpack_zip(make(tmp_path / "a.zip", ("a.png", bytes(5_000_000))), tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    with pytest.raises(DatasetError, match="3 files"):
        unpack_zip(make(tmp_path / "b.zip", *[(f"{n}.png", b"1") for n in range(3)]), tmp_path / "out")
    monkeypatch.setattr(archives, "LARGEST_TOTAL", 2)
    with pytest.raises(DatasetError, match="are free"):
        unpack_zip(make(tmp_path / "c.zip", ("1.png", b"123")), tmp_path / "out")


def test_a_damaged_member_is_reported_and_the_others_come_out(tmp_path):
    archive = make(tmp_path / "a.zip", ("a.png", b"first" * 9), ("b.png", b"second" * 9), mode=zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"first" * 9, b"worst" * 9))

    problems = unpack_zip(archive, tmp_path / "out")

    assert problems[0].where == "a.png" and unpacked(tmp_path / "out") == ["b.png"]


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 nonsense")
    with pytest.raises(DatasetError, match="damaged"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
