import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from lora_nb.dataset.folders import parse_folder_name
from lora_nb.dataset.images import scan_images
from tests.dataset.pictures import names, said, save


def test_kohya_folders_give_repeats_and_class(tmp_path):
    save(tmp_path / "12_mochi" / "b.png", "mochi, smile")
    save(tmp_path / "12_mochi" / "a.jpg")
    save(tmp_path / "3_my old_hat" / "c.webp", size=(48, 64))

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["12_mochi/a.jpg", "12_mochi/b.png", "3_my old_hat/c.webp"]
    first, second, third = dataset.items
    assert (second.width, second.height, second.caption, second.repeats) == (64, 48, "mochi, smile", 12)
    assert (first.has_caption, first.caption, first.class_name) == (False, "", "mochi")
    assert (third.width, third.height, third.repeats, third.class_name) == (48, 64, 3, "my old_hat")
    assert dataset.root == tmp_path and not dataset.problems


def test_a_flat_folder_is_seen_once(tmp_path):
    save(tmp_path / "b.PNG")
    save(tmp_path / "a.Jpeg", "smile")

    dataset = scan_images(tmp_path)

    assert [(item.name, item.repeats, item.class_name) for item in dataset.items] == [
        ("a.Jpeg", 1, ""),
        ("b.PNG", 1, ""),
    ]
    assert not dataset.problems


def test_pictures_beside_kohya_folders_are_reported(tmp_path):
    save(tmp_path / "2_mochi" / "a.png")
    save(tmp_path / "b.png")

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["2_mochi/a.png"]
    assert "2_mochi" in said(dataset, "Beside", "1 picture is not used").fix


@pytest.mark.parametrize(
    ("name", "word", "way_out"),
    [
        ("abc_foo", "does not begin with a whole number", "10_abc_foo"),
        ("mochi", "does not begin with a whole number", "10_mochi"),
        ("12", "number without a name", "12_mochi"),
        ("12_", "number without a name", "12_mochi"),
        ("0_x", "0 repeats", "1_x"),
        ("-3_x", "-3 repeats", "1_x"),
        ("1.5_x", "whole number", "10_1.5_x"),
        ("10 mochi", "whole number", "to 10_mochi"),
        ("10-mochi", "whole number", "to 10_mochi"),
        ("_10_x", "whole number", "10_10_x"),
        ("²_x", "whole number", "10_"),
    ],
)
def test_a_folder_name_that_is_not_kohyas_is_explained(tmp_path, name, word, way_out):
    save(tmp_path / name / "a.png")
    save(tmp_path / name / "b.png")

    dataset = scan_images(tmp_path)

    problem = said(dataset, word, "2 pictures are not used")
    assert problem.where == name and way_out in problem.fix and problem.severity == "warning"
    assert dataset.items == ()


def test_kohyas_names_are_understood():
    assert parse_folder_name("007_agent") == (7, "agent")
    assert parse_folder_name("1_ a b ") == (1, "a b")


def test_a_folder_without_pictures_is_nobodys_business(tmp_path):
    save(tmp_path / "2_mochi" / "a.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "plan.txt").write_text("plan")

    assert not scan_images(tmp_path).problems


def test_folders_inside_folders_are_reported(tmp_path):
    save(tmp_path / "2_mochi" / "a.png")
    save(tmp_path / "2_mochi" / "old" / "older" / "b.png")

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["2_mochi/a.png"]
    assert said(dataset, "2_mochi/old", "1 picture is not used").severity == "warning"


def test_an_empty_kohya_folder_is_noted(tmp_path):
    (tmp_path / "2_mochi").mkdir()

    assert said(scan_images(tmp_path), "2_mochi", "no picture").severity == "note"


def test_choosing_the_kohya_folder_itself_is_explained(tmp_path):
    save(tmp_path / "12_mochi" / "a.png")

    dataset = scan_images(tmp_path / "12_mochi")

    assert dataset.items[0].repeats == 1
    assert said(dataset, "seen once an epoch").severity == "note"


def test_links_in_a_circle_do_no_harm(tmp_path):
    save(tmp_path / "2_mochi" / "a.png")
    (tmp_path / "2_mochi" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "3_loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "2_mochi" / "self.png").symlink_to("self.png")
    (tmp_path / "2_mochi" / "gone.png").symlink_to("nowhere.png")

    dataset = scan_images(tmp_path)

    assert "2_mochi/a.png" in names(dataset)
    assert said(dataset, "gone.png", "target is missing") and said(dataset, "2_mochi/self.png", "target is missing")


def test_a_linked_folder_of_pictures_is_used(tmp_path):
    save(tmp_path / "elsewhere" / "a.png", "smile")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "2_mochi").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert scan_images(tmp_path / "data").items[0].caption == "smile"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_with_a_pictures_name_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")

    assert said(scan_images(tmp_path), "a.png", "no file")


def test_hidden_and_unfinished_files_are_ignored(tmp_path):
    save(tmp_path / "2_mochi" / "a.png", "smile")
    save(tmp_path / "2_mochi" / "._a.png")
    save(tmp_path / "2_mochi" / ".hidden.png")
    save(tmp_path / ".ipynb_checkpoints" / "a.png")
    save(tmp_path / "2_mochi" / ".ipynb_checkpoints" / "a.png")
    save(tmp_path / "__MACOSX" / "2_mochi" / "a.png")
    (tmp_path / "2_mochi" / "b.png.part").write_bytes(b"half")
    (tmp_path / "2_mochi" / "a.npz").write_bytes(b"")
    (tmp_path / "2_mochi" / "Thumbs.db").write_bytes(b"")

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["2_mochi/a.png"] and not dataset.problems


def test_gif_is_refused_with_the_reason(tmp_path):
    save(tmp_path / "a.png")
    Image.new("P", (8, 8)).save(tmp_path / "moving.GIF")

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["a.png"]
    assert "Save the frame" in said(dataset, "moving.GIF", "first frame").fix


def test_other_picture_formats_are_reported_once_for_all(tmp_path):
    for name in ("a.heic", "b.HEIC", "c.heic", "d.heic", "e.heic", "f.heic", "x.tiff", "y.psd", "z.zip"):
        (tmp_path / name).write_bytes(b"x")

    dataset = scan_images(tmp_path)

    assert said(dataset, ".heic", "and 1 more") and said(dataset, "x.tiff") and said(dataset, "y.psd")
    assert "Unpack" in said(dataset, "z.zip").fix and len(dataset.problems) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_text_is_reported_printably(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(tmp_path / "b.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system refuses such names")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("smile")

    dataset = scan_images(tmp_path)

    assert dataset.items == ()
    for problem in dataset.problems:
        str(problem).encode()


def test_what_may_not_be_read_is_reported(tmp_path, monkeypatch):
    for name in ("1_x/a.png", "1_x/b.png", "2_y/c.png"):
        save(tmp_path / name)
    list_folder, open_image = Path.iterdir, Image.open

    def deny(path: Path, name: str) -> None:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", lambda path: deny(path, "2_y") or list_folder(path))
    monkeypatch.setattr(Image, "open", lambda path, **options: deny(path, "b.png") or open_image(path, **options))

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["1_x/a.png"]
    assert said(dataset, "1_x/b.png", "Permission denied") and said(dataset, "2_y", "cannot be read")


def test_the_current_folder_has_a_name_in_messages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gif").write_bytes(b"GIF89a")

    assert said(scan_images(Path(".")), "a.gif").where == tmp_path.name
