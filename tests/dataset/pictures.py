"""Pictures that tests draw, in the ways that files come in."""

import struct
import zlib
from pathlib import Path

from PIL import Image

from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.errors import Problem

LEFT, RIGHT = (200, 30, 30), (30, 30, 200)  # red on the left, blue on the right


def two_halves(width: int = 64, height: int = 48) -> Image.Image:
    picture = Image.new("RGB", (width, height), LEFT)
    picture.paste(RIGHT, (width // 2, 0, width, height))
    return picture


def save(path: Path, caption: str | None = None, size: tuple[int, int] = (64, 48), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    two_halves(*size).save(path, **options)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def huge_png(path: Path, width: int, height: int) -> Path:
    """A file of a few bytes that claims to be enormous."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")))
    return path


def make_item(
    name: str, size: tuple[int, int], *, caption: str = "", repeats: int = 1, class_name: str = ""
) -> ImageItem:
    return ImageItem(Path("data") / name, *size, caption, bool(caption), repeats, class_name, Path("data"))


def make_dataset(*items: ImageItem) -> Dataset:
    return Dataset(Path("data"), tuple(items), ())


def said(dataset: Dataset, *words: str) -> Problem:
    """The one problem that has all these words."""
    found = [problem for problem in dataset.problems if all(word in str(problem) for word in words)]
    assert len(found) == 1, [str(problem) for problem in dataset.problems]
    return found[0]


def names(dataset: Dataset) -> list[str]:
    return [item.name for item in dataset.items]
