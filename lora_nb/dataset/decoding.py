"""From a picture file to 8-bit RGB pixels, the right way up, whatever the file's format says.

Training needs plain RGB. Files hold transparency, 16 bits a channel, palettes, inks (CMYK), colour profiles and a
note that says "turn me by 90 degrees"; each is turned here into what a viewer would show on a white page.
"""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError, features

from lora_nb.errors import DatasetError, Problem
from lora_nb.files import check_file

LARGEST_PICTURE = 150_000_000  # pixels; a file of a few KB can claim to be larger and fill the memory

# the contents that may stand behind one of our file names; MPO is what some phones and cameras call a JPEG
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "AVIF")

_ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# what a file with a picture's name often really is: (place in the file, the bytes there, what it is)
_DISGUISES = (
    (0, b"GIF8", "a GIF"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"PK\3\4", "an archive"),
    (4, b"ftyphei", "a HEIC photo, as iPhones make them"),
    (4, b"ftypmif1", "a HEIC photo, as iPhones make them"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an SVG drawing or other XML"),
    (0, b"<!doctype", "a web page: the download went wrong"),
    (0, b"<html", "a web page: the download went wrong"),
    (0, b"version https://git-lfs", "a placeholder of Git LFS: the picture itself was not downloaded"),
)


def open_picture(path: Path) -> Image.Image:
    """Open a picture as training sees it: 8-bit RGB, upright. Raises DatasetError naming the file."""
    return open_reduced(path, None)


def open_reduced(path: Path, side: int | None) -> Image.Image:
    """The same, but decoded only as finely as a small picture needs: much faster for large JPEGs.

    side: how long the longer side must be at least, where the file has that much; None decodes all of it.
    """
    try:
        with _open(path) as image:
            if side is not None:
                width, height = image.size
                image.draft(None, (-(-side * width // max(image.size)), -(-side * height // max(image.size))))
            image.load()
            return to_rgb(_turn_upright(image))
    except DatasetError:
        raise
    except Exception as error:  # a damaged file can make the decoder fail in any way
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


def open_upright(path: Path) -> Image.Image:
    """Open a picture upright, but with its file's own channels, depth and colour profile, to change and save it."""
    try:
        with _open(path) as image:
            image.load()
            upright = _turn_upright(image)
            return upright if upright is not image else image.copy()
    except Exception as error:  # as above
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


def open_alpha(path: Path) -> Image.Image | None:
    """A picture's transparency, upright: 8 bits, white where it is opaque. None if it has none."""
    try:
        with _open(path) as image:
            image.load()
            upright = _turn_upright(image)
            return upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
    except Exception as error:  # as above
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


class FileFacts(NamedTuple):
    """What a picture's file says beside its pixels."""

    width: int  # upright
    height: int
    moves: bool
    is_transparent: bool  # somewhere
    is_turned: bool  # upright only by a note in the file


def look_into(path: Path, side: int) -> tuple[Image.Image, FileFacts]:
    """Decode all of a file, but as coarsely as it allows for `side` squared pixels, upright, with its facts: quick.

    The colours are those of the file: good enough to look for blur and duplicates, not to train on.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            moves = getattr(image, "is_animated", False) and image.format != "MPO"
            turned = _read_orientation(image)
            scale = min(1.0, side / (width * height) ** 0.5)
            image.draft("RGB", (math.ceil(width * scale), math.ceil(height * scale)))
            image.load()
            if image.mode.startswith("I"):
                image = to_rgb(image)
            upright = _turn_upright(image)
            seen = False
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                seen = upright.getchannel("A").point(lambda level: level < 255).getbbox() is not None
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            size = (height, width) if turned >= 5 else (width, height)
            return upright.convert("RGB"), FileFacts(*size, moves, seen, turned != 1)
    except DatasetError:
        raise
    except Exception as error:  # as above
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


def read_size(path: Path) -> tuple[int, int, bool]:
    """What `measure_picture` says, from the file's head alone: quick, but a damaged file is not noticed."""
    try:
        with _open(path) as image:
            width, height = image.size
            moves = getattr(image, "is_animated", False) and image.format != "MPO"
            turned = not _has_no_exif(image) and _read_orientation(image) >= 5
            return (height, width, moves) if turned else (width, height, moves)
    except Exception as error:  # as above
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


def measure_picture(path: Path) -> tuple[int, int, bool]:
    """Decode a picture to be sure that it can be, and return its upright width, height and whether it moves."""
    try:
        with _open(path) as image:
            width, height = image.size
            moves = getattr(image, "is_animated", False) and image.format != "MPO"
            image.draft("L", (1, 1))  # lets the JPEG decoder skip most of its arithmetic, but none of the file
            image.load()
            if _read_orientation(image) >= 5:  # lying on its side
                width, height = height, width
            return width, height, moves
    except DatasetError:
        raise
    except Exception as error:  # as above
        raise DatasetError("A picture cannot be read.", [_explain(path, error)]) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB: transparency on white, 16 bits scaled and not cut off, colour profiles applied."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16-bit greyscale; newer Pillow calls it I;16, older I
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "CMYK":  # inks are converted with their profile, if they have one
        image = image.convert("RGB")
    return _to_srgb(image, profile).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Translate from the file's own colours (a phone's P3, a printer's inks) to those that models are trained on."""
    if not profile or not features.check("littlecms2"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a broken or unfitting profile: viewers ignore it, too


def _open(path: Path) -> Image.Image:
    """Open without decoding yet; refuse what is not one of our formats or would fill the memory."""
    check_file(path)
    Image.init()  # names are only looked up among the formats that this Pillow has
    image = Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
    if image.width * image.height > LARGEST_PICTURE:
        image.close()
        raise Image.DecompressionBombError
    return image


def _turn_upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_read_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = image.info  # transpose keeps the profile and the transparent colour, too; said here to be sure
    return turned


def _read_orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse a picture
        return 1
    return orientation if orientation in _TURNS else 1


def _has_no_exif(image: Image.Image) -> bool:
    """Whether this is a PNG without EXIF. It may stand at the end, and Pillow decodes all before it to find out."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None or any("exif" in str(name).lower() for name in image.info):
        return False
    place = file.tell()
    file.seek(8)  # behind the signature; then each chunk: length, name, content, checksum
    while len(head := file.read(8)) == 8 and head[4:] != b"eXIf":
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    file.seek(place)
    return len(head) < 8


def _explain(path: Path, error: Exception) -> Problem:
    """Say in a beginner's words why a file is not a picture that can be trained on."""
    again = "Copy or download it again, or delete it."
    if isinstance(error, Image.DecompressionBombError):
        limit = LARGEST_PICTURE // 1_000_000
        return _problem(path, f"The picture has more than {limit} million pixels.", "Make it smaller or delete it.")
    if isinstance(error, OSError) and error.errno:  # the system's, not the decoder's
        return _problem(path, f"The file cannot be opened: {error.strerror}.", again)
    head = _read_head(path)
    if not head:
        return _problem(path, "The file is empty.", again)
    for place, mark, name in _DISGUISES:
        if head[place : place + len(mark)].lower() == mark.lower():
            return _problem(path, f"The file is not what its name says, but {name}.", "Save it as .png or .jpg.")
    if b"ftypavi" in head and not features.check("avif"):
        return _problem(path, "This Pillow cannot read AVIF.", "Update it: pip install -U pillow")
    if isinstance(error, UnidentifiedImageError):
        return _problem(path, "The file is not a picture that can be read.", again)
    return _problem(path, f"The picture is damaged or incomplete ({str(error) or type(error).__name__}).", again)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def _problem(path: Path, message: str, fix: str) -> Problem:
    return Problem(path.name, f"{message} It is left out.", fix, "warning")
