"""From an original picture and the steps that were done to it to a new file of the same format."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lora_nb.dataset.decoding import open_upright, to_rgb

Step = dict[str, Any]  # one name with its value: {"crop": [left, top, right, bottom]}

_CLOCKWISE = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}
_FLIPS = {"left-right": Image.Transpose.FLIP_LEFT_RIGHT, "top-bottom": Image.Transpose.FLIP_TOP_BOTTOM}

# by the file's ending: the format, and how not to lose what can be seen
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".bmp": ("BMP", {}),
    ".avif": ("AVIF", {"quality": 92, "subsampling": "4:4:4"}),
}
_JPEG_MODES = ("L", "RGB", "CMYK")


def render(original: Path, steps: Sequence[Step], suffix: str) -> bytes:
    """A picture's file after some steps; the original's own bytes if there are none.

    It is upright without a note that says so, keeps its transparency and colour profile, and loses the rest of what a
    camera writes into it, such as the place. Raises DatasetError if the original cannot be read.
    """
    if not steps:
        return original.read_bytes()
    image = apply_steps(open_upright(original), steps)
    kind, options = _FORMATS[suffix.lower()]
    options = dict(options)
    if kind == "WEBP" and b"VP8L" in original.read_bytes()[:8192]:  # that was lossless, and stays so
        options = {"lossless": True}
    if kind == "JPEG" and image.mode not in _JPEG_MODES:
        image = to_rgb(image)
    elif profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    image.info.pop("exif", None)  # its note about the camera's position is no longer true
    image.info.pop("xmp", None)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def apply_steps(image: Image.Image, steps: Sequence[Step]) -> Image.Image:
    for step in steps:
        for name, value in step.items():
            image = STEPS[name](image, value)
    return image


def _crop(image: Image.Image, box: Sequence[int]) -> Image.Image:
    left, top, right, bottom = box
    return image.crop((left, top, right, bottom))


def _turn(image: Image.Image, quarters: int) -> Image.Image:
    return image.transpose(_CLOCKWISE[quarters])


def _flip(image: Image.Image, direction: str) -> Image.Image:
    return image.transpose(_FLIPS[direction])


def _fill(image: Image.Image, color: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = image.convert("RGBA")
    filled = Image.alpha_composite(Image.new("RGBA", image.size, color), image).convert("RGB")
    filled.info = {"icc_profile": profile} if profile else {}
    return filled


# to add one: write the function, name it here, and give it an edit in edits.py
STEPS: dict[str, Callable[[Image.Image, Any], Image.Image]] = {
    "crop": _crop,
    "turn": _turn,
    "flip": _flip,
    "fill": _fill,
    "upright": lambda image, _: image,  # every original is opened so
}
