"""Which part of a picture is learned? Masks from its transparency, or from files beside it.

White counts, black does not, grey counts a little. For 12_mochi/001.png the mask is 12_mochi/001.mask.png or
12_mochi/masks/001.png.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from lora_nb.config import DataConfig
from lora_nb.dataset.decoding import open_alpha, open_picture
from lora_nb.dataset.folders import MASK_ENDING, MASK_FOLDER, name_some
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.errors import DatasetError, Problem

LARGEST_SHAPE_ERROR = 0.02  # of width / height between a mask and its picture


def find_mask(picture: Path) -> Path | None:
    """The file that holds a picture's mask."""
    places = (picture.with_name(picture.stem + MASK_ENDING), picture.parent / MASK_FOLDER / f"{picture.stem}.png")
    return next((place for place in places if place.is_file()), None)


def open_mask_file(picture: Path) -> Image.Image | None:
    place = find_mask(picture)
    return open_picture(place).convert("L") if place else None


# to add one: write the function, name it here and in config.DataConfig
MASKS: dict[str, Callable[[Path], Image.Image | None]] = {
    "none": lambda picture: None,
    "alpha": open_alpha,
    "files": open_mask_file,
}


def open_mask(item: ImageItem, data: DataConfig) -> Image.Image | None:
    """A picture's mask, 8 bits, in the picture's shape; None if all of it counts. Raises DatasetError."""
    mask = MASKS[data.loss_mask](item.path)
    if mask is None:
        return None
    if abs(mask.width / mask.height * item.height / item.width - 1) > LARGEST_SHAPE_ERROR:
        message = f"Its mask is {mask.width} x {mask.height}, but the picture is {item.width} x {item.height}."
        raise _refuse(item, message, "Make the mask in the picture's shape.")
    if mask.getextrema() == (0, 0):
        raise _refuse(item, "Its mask is black all over: nothing would be learned.", "Paint the subject white.")
    return mask.resize((item.width, item.height), Image.Resampling.BOX)


def check_masks(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    """What is wrong with the masks, and masks that would not be used."""
    if data.loss_mask == "none":
        unused = [item.name for item in dataset.items if find_mask(item.path)]
        if unused:
            message = f"{len(unused)} pictures have a mask file, but masks are off: {name_some(unused)}."
            yield Problem("data.loss_mask", message, "Set it to 'files', or delete the masks.", "note")
        return
    without = []
    for item in dataset.items:
        try:
            if open_mask(item, data) is None:
                without.append(item.name)
        except DatasetError as error:
            yield from (Problem(item.name, problem.message, problem.fix) for problem in error.problems)
    if without and len(without) == len(dataset.items):
        what = "has transparency" if data.loss_mask == "alpha" else f"has a mask file (001{MASK_ENDING} for 001.png)"
        yield Problem("data.loss_mask", f"No picture {what}, so nothing is masked.", "Add masks, or set it to 'none'.")
    elif without:
        message = f"They have no mask, so the whole picture counts: {name_some(without)}."
        where = f"{len(without)} of {len(dataset.items)} pictures"
        yield Problem(where, message, "Add their masks, if that is not meant.", "warning")


def _refuse(item: ImageItem, message: str, fix: str) -> DatasetError:
    return DatasetError("A mask cannot be used.", [Problem(item.name, message, fix)])
