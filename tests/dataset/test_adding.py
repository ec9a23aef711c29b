import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_nb.dataset.adding import add_pictures
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.journal import redo, undo
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from tests.dataset.pictures import names, save


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return open_project(tmp_path / "mochi")


def packed(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(folder.rglob("*.*")):
            archive.write(each, each.relative_to(folder))
    return path


def scanned(project: Project) -> list[str]:
    return names(scan_images(project.images))


def test_a_folder_of_pictures_becomes_a_folder_with_repeats(project, tmp_path):
    save(tmp_path / "photos" / "a.png", "mochi, a")
    save(tmp_path / "photos" / "deeper" / "b.jpg", size=(32, 32))

    added = add_pictures(project, tmp_path / "photos")

    assert scanned(project) == ["10_mochi/a.png", "10_mochi/b.jpg"] == sorted(added.pictures)
    assert scan_images(project.images).items[0].caption == "mochi, a" and added.captions == 1
    assert str(added) == "Added 2 pictures with 1 caption."


def test_folders_in_kohyas_way_keep_their_repeats_and_masks(project, tmp_path):
    save(tmp_path / "photos" / "3_cat" / "a.png", "cat")
    save(tmp_path / "photos" / "3_cat" / "masks" / "a.png", size=(32, 24))
    save(tmp_path / "photos" / "7_dog" / "a.png", "dog", size=(40, 40))

    add_pictures(project, packed(tmp_path / "set.zip", tmp_path / "photos"))

    assert scanned(project) == ["3_cat/a.png", "7_dog/a.png"]
    assert (project.images / "3_cat" / "a.mask.png").exists()
    assert [item.caption for item in scan_images(project.images).items] == ["cat", "dog"]


def test_pictures_go_where_the_caller_says_or_to_the_others(project, tmp_path):
    save(tmp_path / "a.png"), save(tmp_path / "b.png", size=(32, 32)), save(tmp_path / "c.png", size=(40, 32))

    add_pictures(project, tmp_path / "a.png", repeats=4, name="cat")
    add_pictures(project, tmp_path / "b.png")
    add_pictures(project, tmp_path / "c.png", repeats=6)

    assert scanned(project) == ["4_cat/a.png", "4_cat/b.png", "6_cat/c.png"]


def test_loose_pictures_get_loose_company(project, tmp_path):
    save(project.images / "a.png"), save(tmp_path / "b.png", size=(32, 32))

    add_pictures(project, tmp_path / "b.png")

    assert scanned(project) == ["a.png", "b.png"]


def test_nothing_is_written_over_and_the_same_picture_is_not_added_twice(project, tmp_path):
    save(project.images / "10_mochi" / "a.png", "old")
    save(tmp_path / "photos" / "a.png", "new", size=(32, 32))

    add_pictures(project, tmp_path / "photos")
    again = add_pictures(project, tmp_path / "photos")

    assert scanned(project) == ["10_mochi/a-2.png", "10_mochi/a.png"]
    assert [item.caption for item in scan_images(project.images).items] == ["new", "old"]
    assert again.pictures == [] and "there already, as 10_mochi/a-2.png" in str(again.problems[0])


def test_broken_files_are_reported_and_the_others_are_taken(project, tmp_path):
    save(tmp_path / "photos" / "good.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(save(tmp_path / "x.jpg").read_bytes()[:300])
    (tmp_path / "photos" / "page.png").write_text("<html>not found</html>")
    (tmp_path / "photos" / "phone.heic").write_bytes(b"1")
    (tmp_path / "photos" / "bad.zip").write_bytes(b"PK\3\4")

    added = add_pictures(project, tmp_path / "photos")

    assert scanned(project) == ["10_mochi/good.png"]
    told = " ".join(map(str, added.problems))
    assert all(word in told for word in ("broken.jpg", "a web page", "phone.heic", "bad.zip"))
    assert (tmp_path / "photos" / "broken.jpg").exists()


def test_captions_that_come_alone_find_their_picture(project, tmp_path):
    save(project.images / "10_mochi" / "a.png"), save(project.images / "10_mochi" / "b.png", "old", size=(32, 32))
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"new {name}")

    added = add_pictures(project, [tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"])

    assert [item.caption for item in scan_images(project.images).items] == ["new a", "old"]
    assert {problem.where for problem in added.problems} == {"b.txt", "c.txt"}


def test_adding_can_be_undone_and_redone(project, tmp_path):
    save(tmp_path / "photos" / "a.png", "mochi")
    add_pictures(project, tmp_path / "photos")

    undo(project)
    assert scanned(project) == [] and (project.images / "_excluded" / "10_mochi" / "a.txt").exists()
    redo(project)

    assert scanned(project) == ["10_mochi/a.png"]


def test_what_is_not_there_is_said(project, tmp_path):
    with pytest.raises(DatasetError, match=r"no such file[\s\S]*mount Drive"):
        add_pictures(project, tmp_path / "none")
    with pytest.raises(DatasetError, match="cannot be a folder's name"):
        add_pictures(project, tmp_path, name="../x")
    with pytest.raises(DatasetError, match="Give 1 to"):
        add_pictures(project, tmp_path, repeats=0)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A small server of files."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *rest: object) -> None:
            super().__init__(*rest, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *rest: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_address_of_a_picture_or_a_zip_is_fetched(project, tmp_path, address):
    save(tmp_path / "served" / "one.png")
    save(tmp_path / "photos" / "two.png", "mochi", size=(32, 32))
    packed(tmp_path / "served" / "download", tmp_path / "photos")  # without an ending: its content says what it is

    add_pictures(project, [f"{address}/one.png?size=large", f"{address}/download"])

    assert scanned(project) == ["10_mochi/one.png", "10_mochi/two.png"]


@pytest.mark.parametrize(("path", "said"), [("/none.png", "404"), ("/", "web page")])
def test_a_wrong_address_is_said(project, address, path, said):
    with pytest.raises(DatasetError, match=said):
        add_pictures(project, address + path)
    assert list(project.images.iterdir()) == []


def test_a_server_that_is_not_there_is_said(project):
    with pytest.raises(DatasetError, match="could not be fetched"):
        add_pictures(project, "http://127.0.0.1:9/x.zip")
