import time
from pathlib import Path

import pytest
from PIL import Image

from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.errors import DatasetError
from tests.dataset.pictures import huge_png, names, said, save


def test_bad_pictures_are_named_and_never_fatal_to_the_rest(tmp_path):
    save(tmp_path / "1_x" / "good.png", "smile")
    (tmp_path / "1_x" / "empty.jpg").write_bytes(b"")
    (tmp_path / "1_x" / "text.webp").write_text("not a picture")
    content = save(tmp_path / "1_x" / "cut.jpg", size=(300, 300)).read_bytes()
    (tmp_path / "1_x" / "cut.jpg").write_bytes(content[: len(content) // 2])
    huge_png(tmp_path / "1_x" / "bomb.png", 60_000, 60_000)

    dataset = scan_images(tmp_path)

    assert names(dataset) == ["1_x/good.png"]
    assert {problem.where for problem in dataset.problems} == {
        f"1_x/{name}" for name in ("empty.jpg", "text.webp", "cut.jpg", "bomb.png")
    }
    assert all(problem.severity == "warning" for problem in dataset.problems)


def test_a_moving_picture_is_noted(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])

    assert said(scan_images(tmp_path), "a.webp", "first frame").severity == "note"


def test_upright_size_is_measured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "phone.jpg", exif=exif)

    item = scan_images(tmp_path).items[0]

    assert (item.width, item.height) == (48, 64)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("café".encode("cp1252"), "not saved as UTF-8 (character 'é' at byte 3)"),
        ("mochi".encode("utf-16"), "UTF-16"),
        ("mochi".encode("utf-16-le"), "UTF-16"),
        (b"x" * 200_000, "far too long"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
    ],
)
def test_a_caption_that_cannot_be_read_is_a_problem_and_no_crash(tmp_path, content, word):
    save(tmp_path / "1_x" / "a.png")
    (tmp_path / "1_x" / "a.txt").write_bytes(content)

    dataset = scan_images(tmp_path)

    assert said(dataset, word).where == "1_x/a.txt"
    assert (dataset.items[0].has_caption, dataset.items[0].caption) == (False, "")


def test_captions_on_several_lines_are_joined_and_reported(tmp_path):
    save(tmp_path / "a.png", "\ufeffmochi,  smile\r\n\nred hat\n")

    dataset = scan_images(tmp_path)

    assert dataset.items[0].caption == "mochi, smile red hat"
    assert said(dataset, "a.txt", "2 lines")


def test_two_pictures_that_share_a_caption_are_reported(tmp_path):
    save(tmp_path / "1_x" / "a.png", "smile")
    save(tmp_path / "1_x" / "a.jpg")
    save(tmp_path / "1_y" / "a.jpg")

    dataset = scan_images(tmp_path)

    assert len(dataset.items) == 3 and said(dataset, "a.jpg, a.png", "share").where == "1_x"


def test_files_that_were_meant_as_captions_are_reported(tmp_path):
    for stem in "abc":
        save(tmp_path / f"{stem}.png")
    (tmp_path / "a.caption").write_text("smile")
    (tmp_path / "b.png.txt").write_text("smile")
    (tmp_path / "c.TXT").write_text("smile")
    (tmp_path / "d.txt").write_text("smile")

    dataset = scan_images(tmp_path)

    assert "a.txt" in said(dataset, "a.caption").fix and "b.txt" in said(dataset, "b.png.txt").fix
    assert "c.txt" in said(dataset, "c.TXT").fix and said(dataset, "d.txt").severity == "note"


def test_a_missing_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        scan_images(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="not a folder"):
        scan_images(save(tmp_path / "a.png"))


def test_an_empty_folder_is_an_empty_dataset(tmp_path):
    assert scan_images(tmp_path) == Dataset(tmp_path, (), ())


def test_scanning_is_fast(tmp_path):
    for number in range(4):
        Image.effect_noise((800, 600), 60).convert("RGB").save(tmp_path / f"{number}.jpg")
    start = time.perf_counter()

    dataset = scan_images(Path(tmp_path))

    assert len(dataset.items) == 4 and time.perf_counter() - start < 3
