"""Pictures that are damaged, disguised, enormous or no files at all: trained on rightly, or named and left out."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lora_nb.dataset.decoding import look_into, open_alpha, open_picture, open_reduced, open_upright, read_size
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.looks import look_at
from lora_nb.dataset.thumbnails import thumbnail
from lora_nb.errors import DatasetError
from tests.dataset.pictures import huge_png, save
from tests.fuzz.contract import attempt, check_problem, memory_of, run_cases
from tests.fuzz.spoiling import damage, no_file

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "LAB", "HSV", "PA")
KINDS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".png", "PPM": ".jpg"}
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".PNG", ".JpG")
READERS = [open_picture, open_upright, open_alpha, read_size]
READERS += [lambda path: open_reduced(path, 16), lambda path: look_into(path, 32), lambda path: look_at(path, 64)]


def test_odd_pictures_are_right_or_named(tmp_path):
    def case(chance, folder):
        save(folder / "3_cat" / "good.png", "a cat")
        ending = chance.choice(ENDINGS)
        odd = folder / "3_cat" / f"odd{ending}"
        odd.write_bytes(odd_picture(chance))
        return tell_outcome(chance, folder, odd)

    run_cases("pictures", 400, case, tmp_path)


def test_what_is_no_file_is_named_and_holds_nobody_up(tmp_path):
    def case(chance, folder):
        save(folder / "3_cat" / "good.png", "a cat")
        odd = folder / "3_cat" / f"odd{chance.choice(ENDINGS)}"
        no_file(chance, odd)
        return tell_outcome(chance, folder, odd)

    run_cases("no pictures", 60, case, tmp_path)


BOMBS = {
    "png": lambda path: huge_png(path, 50_000, 50_000),
    "png, text": lambda path: path.write_bytes(text_bomb()),
    "png, whole": lambda path: path.write_bytes(whole_bomb(12_500)),
    "bmp": lambda path: path.write_bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIIIII", 99, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "jpg": lambda path: path.write_bytes(patched(jpeg(), b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000))),
    "webp": lambda path: path.write_bytes(
        b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\2\0\0\0"
        + b"\x4f\xc3\0" * 2
        + bytes(4)
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_named_and_fills_no_memory(tmp_path, kind):
    save(tmp_path / "good.png")
    bomb = tmp_path / f"bomb.{kind.partition(',')[0]}"
    BOMBS[kind](bomb)
    outcome = attempt(lambda: scan_images(tmp_path), untouched=tmp_path)
    (problem,) = outcome.result.problems
    assert problem.where == bomb.name and [item.name for item in outcome.result.items] == ["good.png"]
    for read in READERS[:-1]:
        assert attempt(lambda read=read: read(bomb), names=bomb.name).error or kind == "png, text"


def test_a_pipe_that_is_called_a_picture_is_refused_by_every_reader(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.png")
    for read in (*READERS[:-1], lambda path: thumbnail(path, tmp_path / "cache")):
        with pytest.raises(DatasetError, match="no file, but a pipe or a device"):
            read(tmp_path / "a.png")


def tell_outcome(chance, folder, odd):
    """Scan it, open it in every way, and compare what was seen."""
    dataset = attempt(lambda: scan_images(folder), untouched=folder).result
    for problem in dataset.problems:
        check_problem(problem)
    names = {item.name: item for item in dataset.items}
    name = odd.relative_to(folder).as_posix()
    assert "3_cat/good.png" in names
    assert name in names or any(problem.where == name for problem in dataset.problems) or odd.is_dir()
    outcomes = [attempt(lambda read=read: read(odd), names=odd.name) for read in READERS]
    attempt(lambda: thumbnail(odd, folder / "cache"), names=odd.name)
    if item := names.get(name):
        picture = outcomes[0].result
        assert picture.mode == "RGB" and picture.size == (item.width, item.height) and not outcomes[2].error
    return "result" if item else "error"


def odd_picture(chance):
    """The bytes of a picture of any format, mode and content; often damaged, often with odd metadata."""
    size = chance.randrange(1, 60), chance.randrange(1, 60)
    pixels = np.random.default_rng(chance.randrange(2**32)).integers(0, 255, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(pixels)
    kind = chance.choice([*KINDS])  # not AVIF: writing it with odd metadata brings Pillow's encoder down
    options = {}
    if chance.random() < 0.4:
        options["exif"] = odd_exif(chance)
    if chance.random() < 0.3:
        options["icc_profile"] = chance.randbytes(chance.randrange(200))
    if chance.random() < 0.25 and kind in ("PNG", "GIF", "WEBP"):
        frames = [picture.transpose(Image.Transpose.ROTATE_180), *[picture] * chance.randrange(3)]
        options |= {"save_all": True, "append_images": frames}
    mode, content = chance.choice(MODES), io.BytesIO()
    if chance.random() < 0.2:
        options["transparency"] = chance.choice([0, 7, 255])
    try:
        convert(picture, mode).save(content, kind, **options)
    except Exception:  # not every format has every mode
        content = io.BytesIO()
        picture.save(content, kind)
    content = content.getvalue()
    return damage(chance, content) if chance.random() < 0.6 else content


def convert(picture, mode):
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode in ("I", "F", "LA", "PA"):
        return picture.convert("L" if mode in ("I", "F") else "RGBA").convert(mode)
    if mode == "LAB":
        return picture.convert("RGB")
    return picture.convert(mode)


def odd_exif(chance):
    exif = Image.Exif()
    exif[0x0112] = chance.choice([0, 1, 3, 6, 8, 9, 65_000])
    content = exif.tobytes()
    return damage(chance, content) if chance.random() < 0.6 else content


def jpeg():
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "JPEG")
    return content.getvalue()


def patched(content, mark, behind, new):
    place = content.index(mark) + behind
    return content[:place] + new + content[place + len(new) :]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def text_bomb():
    """A small PNG with 200 MB of text in it."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "PNG")
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"x" * 200_000_000, 9))
    return content.getvalue()[:33] + text + content.getvalue()[33:]


def whole_bomb(side):
    """A valid PNG of many pixels, all white, in a few bytes."""
    rows = zlib.compressobj(9)
    content = b"".join([rows.compress((b"\0" + b"\xff" * (side // 8 + 1)) * 100) for _ in range(side // 100)])
    header = struct.pack(">IIBBBBB", side, side // 100 * 100, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", content + rows.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


assert memory_of("VmRSS")  # else the limit above means nothing
