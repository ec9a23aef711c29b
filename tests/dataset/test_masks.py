import pytest
from PIL import Image

from lora_nb.config import DataConfig
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.masks import check_masks, find_mask, open_mask
from lora_nb.errors import DatasetError
from tests.dataset.pictures import names, save

FILES, ALPHA = DataConfig(loss_mask="files"), DataConfig(loss_mask="alpha")


def save_mask(path, size=(64, 48), white=(0, 0, 32, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size, 0)
    if white:
        mask.paste(255, white)
    mask.save(path)
    return path


def test_masks_are_found_beside_the_picture_and_are_no_pictures(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / "3_x" / f"{name}.png", "words")
    beside = save_mask(tmp_path / "3_x" / "a.mask.png")
    inside = save_mask(tmp_path / "3_x" / "masks" / "b.png")
    dataset = scan_images(tmp_path)

    assert names(dataset) == ["3_x/a.png", "3_x/b.png", "3_x/c.png"] and dataset.problems == ()
    assert [find_mask(item.path) for item in dataset.items] == [beside, inside, None]


def test_a_flat_folder_may_have_masks_too(tmp_path):
    save(tmp_path / "a.png")
    save_mask(tmp_path / "masks" / "a.png")

    assert names(scan_images(tmp_path)) == ["a.png"] and scan_images(tmp_path).problems == ()


def test_a_mask_file_has_its_pictures_shape(tmp_path):
    item = scan_images(save(tmp_path / "a.png").parent).items[0]
    save_mask(tmp_path / "a.mask.png", size=(128, 96), white=(0, 0, 64, 96))
    mask = open_mask(item, FILES)

    assert mask.size == (64, 48) and mask.getpixel((5, 5)) == 255 and mask.getpixel((60, 5)) == 0
    assert open_mask(item, DataConfig()) is None


@pytest.mark.parametrize(("size", "white", "word"), [((64, 64), (0, 0, 9, 9), "64 x 64"), ((64, 48), None, "black")])
def test_a_mask_that_cannot_be_meant_is_refused(tmp_path, size, white, word):
    dataset = scan_images(save(tmp_path / "a.png").parent)
    save_mask(tmp_path / "a.mask.png", size, white)

    with pytest.raises(DatasetError, match=f"a.png: .*{word}"):
        open_mask(dataset.items[0], FILES)
    assert [problem.severity for problem in check_masks(dataset, FILES)] == ["error"]


def test_transparency_is_a_mask_and_turns_with_the_picture(tmp_path):
    picture = Image.new("RGBA", (40, 20), "red")
    picture.paste((0, 0, 0, 0), (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "a.png", exif=exif)
    mask = open_mask(scan_images(tmp_path).items[0], ALPHA)

    assert mask.size == (20, 40) and mask.getpixel((10, 5)) == 0 and mask.getpixel((10, 35)) == 255


def test_missing_and_unused_masks_are_named(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    dataset = scan_images(tmp_path)
    assert [p.severity for p in check_masks(dataset, FILES)] == ["error"]
    assert [p.severity for p in check_masks(dataset, ALPHA)] == ["error"]
    save_mask(tmp_path / "a.mask.png")

    assert [(p.severity, "b.png" in p.message) for p in check_masks(dataset, FILES)] == [("warning", True)]
    assert [(p.severity, "a.png" in p.message) for p in check_masks(dataset, DataConfig())] == [("note", True)]
