import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from lora_nb.dataset.decoding import LARGEST_PICTURE, measure_picture, open_picture, read_size, to_rgb
from lora_nb.errors import DatasetError
from tests.dataset.pictures import LEFT, RIGHT, huge_png, save, two_halves


def corner_colours(image: Image.Image) -> list[tuple[int, ...]]:
    right, bottom = image.width - 3, image.height - 3
    return [image.getpixel(place) for place in ((2, 2), (right, 2), (2, bottom), (right, bottom))]


def is_near(colour: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, wanted, strict=True))


@pytest.mark.parametrize("extension", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".PNG", ".JPG", ".Avif"])
def test_every_format_is_opened_as_rgb(tmp_path, extension):
    if extension.lower() == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = save(tmp_path / f"a{extension}")

    picture = open_picture(path)

    assert (picture.mode, picture.size) == ("RGB", (64, 48))
    assert is_near(picture.getpixel((4, 4)), LEFT) and is_near(picture.getpixel((60, 4)), RIGHT)
    assert measure_picture(path) == (64, 48, False)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(tmp_path, extension, orientation):
    if extension == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    upright = two_halves(64, 32)
    upright.paste((20, 200, 20), (0, 0, 16, 16))  # tells all eight ways apart
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what the camera did: the transposition that EXIF reverses
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a{extension}", exif=exif)

    picture = open_picture(tmp_path / f"a{extension}")

    assert picture.size == (64, 32) == measure_picture(tmp_path / f"a{extension}")[:2]
    difference = np.abs(np.asarray(picture, dtype=int) - np.asarray(upright, dtype=int)).mean()
    assert difference < 6


@pytest.mark.parametrize("late", [False, True])
def test_a_quick_look_sees_how_a_png_is_turned_wherever_it_says_so(tmp_path, late):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", size=(40, 20), exif=exif)
    if late:  # behind the pixels, as the format allows
        content = path.read_bytes()
        start = content.index(b"eXIf") - 4
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        last = content.index(b"IEND") - 4
        path.write_bytes(content[:start] + content[end:last] + content[start:end] + content[last:])
    assert read_size(path) == measure_picture(path) == (20, 40, False)


def test_a_quick_look_at_a_png_decodes_nothing(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", size=(40, 20))
    monkeypatch.setattr(Image.Image, "load", None)
    assert read_size(path) == (40, 20, False)


def test_an_odd_or_damaged_exif_does_not_stop_a_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 42
    save(tmp_path / "odd.jpg", exif=exif)
    save(tmp_path / "damaged.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert open_picture(tmp_path / "odd.jpg").size == (64, 48)
        assert open_picture(tmp_path / "damaged.jpg").size == (64, 48)
        assert measure_picture(tmp_path / "damaged.jpg") == (64, 48, False)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1-bit mask"])
def test_transparency_becomes_white(tmp_path, mode):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))  # hidden black, which must not show
    clear.paste((200, 200, 200, 255), (0, 0, 4, 8))
    if mode == "1-bit mask":
        picture = Image.new("RGB", (8, 8), (1, 2, 3))
        picture.paste((200, 200, 200), (0, 0, 4, 8))
        picture.save(tmp_path / "a.png", transparency=(1, 2, 3))
    elif mode == "P":
        clear.quantize(4).save(tmp_path / "a.png")
    else:
        clear.convert(mode).save(tmp_path / "a.png")

    picture = open_picture(tmp_path / "a.png")

    assert is_near(picture.getpixel((1, 1)), (200, 200, 200), 2)
    assert picture.getpixel((6, 6)) == (255, 255, 255)


def test_half_transparent_pixels_are_mixed_with_white():
    assert to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_16_bits_are_scaled_and_not_cut_off(tmp_path):
    levels = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")

    picture = open_picture(tmp_path / "a.png")

    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_16_bit_numbers_in_32_bits_are_scaled_too():
    assert to_rgb(Image.fromarray(np.array([[65535, 0]], dtype=np.int32))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    extension = ".jpg" if mode == "CMYK" else ".png"
    Image.new("RGB", (16, 16), "white").convert(mode).save(tmp_path / f"a{extension}")

    picture = open_picture(tmp_path / f"a{extension}")

    assert picture.mode == "RGB" and is_near(picture.getpixel((3, 3)), (255, 255, 255), 3)


def test_inks_are_not_inverted(tmp_path):
    two_halves().convert("CMYK").save(tmp_path / "a.jpg", quality=95)

    colours = corner_colours(open_picture(tmp_path / "a.jpg"))

    assert is_near(colours[0], LEFT, 20) and is_near(colours[1], RIGHT, 20)


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no colour management")
def test_colour_profiles_are_applied():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture = two_halves()
    picture.info["icc_profile"] = srgb.tobytes()
    assert to_rgb(picture).getpixel((0, 0)) == LEFT

    picture.info["icc_profile"] = lab.tobytes()  # fits no RGB picture
    assert to_rgb(picture).getpixel((0, 0)) == LEFT

    picture.info["icc_profile"] = b"no profile at all"
    assert to_rgb(picture).getpixel((0, 0)) == LEFT

    picture.info["icc_profile"] = swapped_profile(srgb.tobytes())
    assert is_near(to_rgb(picture).getpixel((0, 0)), LEFT[::-1], 3)


def swapped_profile(srgb: bytes) -> bytes:
    """A profile whose red is blue and whose blue is red, under another name."""
    places = {srgb[at : at + 4]: at + 4 for at in range(132, 132 + 12 * srgb[131], 12)}
    swapped = bytearray(srgb)
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    swapped[red : red + 8], swapped[blue : blue + 8] = srgb[blue : blue + 8], srgb[red : red + 8]
    return bytes(swapped).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")


def test_a_moving_picture_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)

    assert open_picture(tmp_path / "a.webp").getpixel((3, 3)) == (255, 0, 0)
    assert measure_picture(tmp_path / "a.webp") == (16, 16, True)


def test_a_camera_jpeg_with_a_second_picture_does_not_count_as_moving(tmp_path):
    frames = [two_halves(), two_halves(32, 24)]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])

    assert measure_picture(tmp_path / "a.jpg") == (64, 48, False)


def test_a_wrong_extension_of_a_known_format_does_no_harm(tmp_path):
    two_halves().save(tmp_path / "a.jpg", format="WEBP")

    assert open_picture(tmp_path / "a.jpg").size == (64, 48)


def encode(format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    two_halves(256, 256).save(stream, format=format, **options)
    return stream.getvalue()


BAD_FILES = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"hello there, this is no picture", "not a picture"),
    "cut.png": (encode("PNG")[:-400], "damaged or incomplete"),
    "cut.jpg": (encode("JPEG")[:-400], "damaged or incomplete"),
    "cut_with_exif.jpg": (encode("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")[:-400], "damaged or incomplete"),
    "cut.webp": (encode("WEBP")[:-60], "damaged or incomplete"),
    "cut.bmp": (encode("BMP")[:-4000], "damaged or incomplete"),
    "header.jpg": (encode("JPEG")[:20], "damaged|not a picture"),
    "moving.png": (encode("GIF"), "a GIF"),
    "scan.png": (encode("TIFF"), "a TIFF"),
    "iphone.jpg": (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "HEIC"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_picture_is_refused_by_name_with_the_reason(tmp_path, name):
    content, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)

    for read in (open_picture, measure_picture):
        with pytest.raises(DatasetError, match=reason) as caught:
            read(tmp_path / name)
        assert caught.value.problems[0].where == name and caught.value.problems[0].fix


@pytest.mark.parametrize("size", [(60_000, 60_000), (16_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path, size):
    assert size[0] * size[1] > LARGEST_PICTURE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DatasetError, match="150 million pixels"):
            open_picture(huge_png(tmp_path / "a.png", *size))


def test_a_missing_file_is_named():
    with pytest.raises(DatasetError, match=r"gone\.png"):
        open_picture(Path("gone.png"))
