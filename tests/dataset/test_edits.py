from pathlib import Path

import pytest
from PIL import Image

from lora_nb.dataset.edits import (
    EDITS,
    crop_picture,
    exclude_pictures,
    fill_transparency,
    find_picture,
    flip_pictures,
    make_upright,
    reset_pictures,
    restore_pictures,
    set_repeats,
    turn_pictures,
)
from lora_nb.dataset.images import open_picture, scan_images
from lora_nb.dataset.journal import undo
from lora_nb.errors import DatasetError
from lora_nb.project import Project, open_project
from tests.dataset.pictures import LEFT, RIGHT, names, save


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    save(project.images / "12_mochi" / "a.png", "mochi, a")
    save(project.images / "12_mochi" / "b.jpg", "mochi, b", quality=95)
    return project


def scanned(project: Project) -> list[str]:
    return names(scan_images(project.images))


def test_a_crop_keeps_what_is_in_the_box_and_takes_the_mask_along(project):
    path, mask = project.images / "12_mochi" / "a.png", project.images / "12_mochi" / "masks" / "a.png"
    save(mask, size=(128, 96))

    edit = crop_picture(project, "12_mochi/a.png", (0, 8, 32, 48))

    assert edit.text == "Cropped 12_mochi/a.png to 32 x 40."
    assert open_picture(path).size == (32, 40) and open_picture(path).getpixel((31, 0)) == LEFT
    assert open_picture(mask).size == (64, 80)


@pytest.mark.parametrize("box", [(-1, 0, 20, 20), (0, 0, 65, 48), (30, 0, 30, 40), (40, 0, 20, 40), (0, 0, 3, 3)])
def test_a_box_outside_of_the_picture_is_refused_with_its_size(project, box):
    with pytest.raises(DatasetError, match="64 x 48"):
        crop_picture(project, "12_mochi/a.png", box)


@pytest.mark.parametrize(
    ("quarters", "size", "corner"), [(1, (48, 64), LEFT), (2, (64, 48), RIGHT), (-1, (48, 64), RIGHT)]
)
def test_pictures_are_turned_clockwise(project, quarters, size, corner):
    turn_pictures(project, "12_mochi/a.png", quarters)

    picture = open_picture(project.images / "12_mochi" / "a.png")
    assert picture.size == size and picture.getpixel((0, 0)) == corner


def test_a_jpeg_stays_sharp_however_often_it_is_edited(project):
    path = project.images / "12_mochi" / "b.jpg"
    before = open_picture(path)

    for _ in range(8):
        turn_pictures(project, "12_mochi/b.jpg")

    difference = max(abs(a - b) for a, b in zip(before.tobytes(), open_picture(path).tobytes(), strict=True))
    assert difference <= 3  # it was compressed once more, not eight times


def test_several_pictures_are_edited_and_undone_as_one(project):
    before = [path.read_bytes() for path in sorted((project.images / "12_mochi").glob("?.[pj]*"))]

    edit = flip_pictures(project, ["12_mochi/a.png", project.images / "12_mochi" / "b.jpg"])
    assert "2 pictures" in edit.text and open_picture(project.images / "12_mochi" / "a.png").getpixel((0, 0)) == RIGHT
    undo(project)

    assert [path.read_bytes() for path in sorted((project.images / "12_mochi").glob("?.[pj]*"))] == before


def test_a_turned_photograph_is_saved_upright_without_its_note(project):
    path = project.images / "12_mochi" / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    save(path, exif=exif)
    seen = open_picture(path)

    make_upright(project, "12_mochi/phone.jpg")

    with Image.open(path) as image:
        assert image.size == seen.size == (48, 64) and 0x0112 not in image.getexif()


def test_transparency_is_filled_with_a_colour(project):
    path = project.images / "12_mochi" / "glass.png"
    Image.new("RGBA", (32, 32), (10, 20, 30, 0)).save(path)

    fill_transparency(project, "12_mochi/glass.png", "#102030")

    with Image.open(path) as image:
        assert image.mode == "RGB" and image.getpixel((5, 5)) == (16, 32, 48)
    with pytest.raises(DatasetError, match="no colour"):
        fill_transparency(project, "12_mochi/glass.png", "blurple-ish")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16", "LA", "CMYK"])
def test_every_kind_of_picture_can_be_edited(project, ending, mode):
    path = project.images / "12_mochi" / f"kind{ending}"
    try:
        Image.new(mode, (64, 48)).save(path)
    except OSError:
        pytest.skip("the format does not hold this kind")

    crop_picture(project, path, (0, 0, 20, 30))

    assert open_picture(path).size == (20, 30)


def test_the_original_comes_back_byte_for_byte(project):
    path = project.images / "12_mochi" / "b.jpg"
    original = path.read_bytes()
    crop_picture(project, path, (0, 0, 40, 40))
    turn_pictures(project, path)

    reset_pictures(project, path)

    assert path.read_bytes() == original


def test_an_excluded_picture_is_not_trained_on_and_takes_all_its_files_along(project):
    folder = project.images / "12_mochi"
    save(folder / "masks" / "a.png")
    (folder / "a.txt.bak").write_text("old")

    exclude_pictures(project, ["12_mochi/a.png"])

    dataset = scan_images(project.images)
    assert names(dataset) == ["12_mochi/b.jpg"] and dataset.problems == ()
    excluded = project.images / "_excluded" / "12_mochi"
    assert sorted(path.relative_to(excluded).as_posix() for path in excluded.rglob("*.*")) == [
        *("a.png", "a.txt", "a.txt.bak", "masks/a.png")
    ]
    restore_pictures(project, "_excluded/12_mochi/a.png")
    assert scanned(project) == ["12_mochi/a.png", "12_mochi/b.jpg"] and (folder / "a.txt").read_text() == "mochi, a"


def test_excluding_a_second_picture_of_the_same_name_loses_neither(project):
    exclude_pictures(project, "12_mochi/a.png")
    save(project.images / "12_mochi" / "a.png", "another", size=(32, 32))

    exclude_pictures(project, "12_mochi/a.png")

    excluded = project.images / "_excluded" / "12_mochi"
    assert sorted(path.name for path in excluded.iterdir()) == ["a-2.png", "a-2.txt", "a.png", "a.txt"]
    assert (excluded / "a-2.txt").read_text() == "another"


def test_a_caption_that_two_pictures_share_stays_with_the_one_that_stays(project):
    save(project.images / "12_mochi" / "a.jpg")

    exclude_pictures(project, "12_mochi/a.png")

    assert (project.images / "12_mochi" / "a.txt").exists()


def test_regularisation_pictures_have_their_own_place(project):
    save(project.root / "regularisation" / "10_creature" / "r.png")

    exclude_pictures(project, "regularisation/10_creature/r.png")
    assert (project.root / "regularisation" / "_excluded" / "10_creature" / "r.png").exists()
    restore_pictures(project, "regularisation/_excluded/10_creature/r.png")

    assert "regularisation/10_creature/r.png" in scanned(project)


def test_other_repeats_rename_the_folder_and_its_excluded_part(project):
    exclude_pictures(project, "12_mochi/a.png")

    set_repeats(project, "12_mochi", 20)
    restore_pictures(project, "_excluded/20_mochi/a.png")

    assert {item.repeats for item in scan_images(project.images).items} == {20} and len(scanned(project)) == 2
    undo(project), undo(project)
    assert scanned(project) == ["12_mochi/b.jpg"] and (project.images / "_excluded" / "12_mochi" / "a.png").exists()


def test_loose_pictures_get_repeats_by_moving_into_a_folder(tmp_path):
    project = open_project(tmp_path / "mochi")
    save(project.images / "a.png", "mochi")

    set_repeats(project, "", 8)

    assert scanned(project) == ["8_mochi/a.png"] and scan_images(project.images).items[0].caption == "mochi"
    undo(project)
    assert scanned(project) == ["a.png"]


def test_repeats_that_cannot_be_are_refused(project):
    (project.images / "20_mochi").mkdir()
    for folder, repeats in (("12_mochi", 0), ("13_mochi", 5), ("12_mochi", 20), ("..", 3)):
        with pytest.raises(DatasetError):
            set_repeats(project, folder, repeats)


@pytest.mark.parametrize("name", ["../config.json", "12_mochi/none.png", "/etc/passwd", "12_mochi", ""])
def test_only_this_projects_pictures_are_touched(project, name):
    project.save_config(project.load_config())
    with pytest.raises(DatasetError, match="no such picture"):
        find_picture(project, name)


def test_every_edit_has_a_name():
    assert set(EDITS) == {"crop", "turn", "flip", "fill", "upright", "reset", "exclude", "restore", "repeats"}
