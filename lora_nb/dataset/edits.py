"""What can be done to a project's pictures: crop, turn, mirror, exclude, give a folder other repeats. All undoable.

Pictures are named as messages name them, "12_mochi/001.png", or given by their path. Masks and captions go along with
their picture. `journal.undo` and `journal.redo` go back and forth.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import ImageColor

from lora_nb.dataset.decoding import read_size
from lora_nb.dataset.folders import (
    EXCLUDED_FOLDER,
    EXTENSIONS,
    MASK_FOLDER,
    check_repeats,
    name_some,
    parse_folder_name,
)
from lora_nb.dataset.images import REGULARISATION_FOLDER
from lora_nb.dataset.journal import Edit, perform
from lora_nb.dataset.masks import find_mask
from lora_nb.dataset.rendering import Step
from lora_nb.dataset.tags import caption_path
from lora_nb.errors import DatasetError, Problem
from lora_nb.project import Project

Picture = str | Path
Box = Sequence[int]  # left, top, right, bottom, in pixels of the upright picture

SMALLEST_CROP = 16  # pixels of each side


def crop_picture(project: Project, picture: Picture, box: Box) -> Edit:
    """Cut a picture down to a box: `crop_picture(project, "12_mochi/001.png", (0, 0, 512, 640))`."""
    path = find_picture(project, picture)
    width, height, _ = read_size(path)
    left, top, right, bottom = (round(side) for side in box)
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    if not inside or min(right - left, bottom - top) < SMALLEST_CROP:
        message = f"The box {left}, {top}, {right}, {bottom} does not fit: the picture is {width} x {height}."
        fix = f"Give left, top, right, bottom within it, {SMALLEST_CROP} pixels or more apart."
        raise DatasetError("The picture was not cropped.", [Problem(name_of(project, path), message, fix)])
    steps: dict[Path, Step | None] = {path: {"crop": [left, top, right, bottom]}}
    if mask := find_mask(path):
        mask_width, mask_height, _ = read_size(mask)
        scales = (mask_width / width, mask_height / height) * 2
        steps[mask] = {
            "crop": [round(side * scale) for side, scale in zip((left, top, right, bottom), scales, strict=True)]
        }
    return perform(project, f"Cropped {name_of(project, path)} to {right - left} x {bottom - top}.", steps=steps)


def turn_pictures(project: Project, pictures: Picture | Iterable[Picture], quarters: int = 1) -> Edit:
    """Turn pictures clockwise by quarters: 1 is to the right, 3 (or -1) to the left, 2 is upside down."""
    if quarters % 4 == 0:
        raise DatasetError("Nothing was turned.", [Problem("quarters", f"{quarters} turn nothing.", "Give 1, 2 or 3.")])
    way = {1: "right", 2: "upside down", 3: "left"}[quarters % 4]
    return _step(project, pictures, {"turn": quarters % 4}, f"Turned {{}} {way if way[0] == 'u' else 'to the ' + way}.")


def flip_pictures(project: Project, pictures: Picture | Iterable[Picture], direction: str = "left-right") -> Edit:
    """Mirror pictures: "left-right" or "top-bottom"."""
    if direction not in ("left-right", "top-bottom"):
        fix = "Write 'left-right' or 'top-bottom'."
        raise DatasetError("Nothing was mirrored.", [Problem("direction", f"{direction!r} does not work.", fix)])
    return _step(project, pictures, {"flip": direction}, f"Mirrored {{}}, {direction}.")


def fill_transparency(project: Project, pictures: Picture | Iterable[Picture], color: str = "white") -> Edit:
    """Paint what is transparent in one colour, by name or as #rrggbb. Their masks stay as they are."""
    try:
        ImageColor.getrgb(color)
    except ValueError as error:
        fix = "Give a name such as 'white', or '#f0f0f0'."
        raise DatasetError("Nothing was filled.", [Problem("color", f"{color!r} is no colour.", fix)]) from error
    return _step(project, pictures, {"fill": color}, f"Filled what was transparent in {{}} with {color}.", masks=False)


def make_upright(project: Project, pictures: Picture | Iterable[Picture]) -> Edit:
    """Save pictures the way round they are shown, without the camera's note "turn me", which some programs overlook."""
    return _step(project, pictures, {"upright": True}, "Saved {} upright.")


def reset_pictures(project: Project, pictures: Picture | Iterable[Picture]) -> Edit:
    """Give pictures back their originals, whatever was done to them. They stay where they are."""
    return _step(project, pictures, None, "Took {} back to the original.")


def exclude_pictures(project: Project, pictures: Picture | Iterable[Picture]) -> Edit:
    """Take pictures out of the training, with their captions: into `images/_excluded`, where nothing is trained on."""
    paths = [find_picture(project, picture) for picture in _listed(pictures)]
    paths = [path for path in paths if not _is_excluded(project, path)]
    return _relocate(project, paths, lambda room: (room, room / EXCLUDED_FOLDER), "Excluded")


def restore_pictures(project: Project, pictures: Picture | Iterable[Picture]) -> Edit:
    """Bring excluded pictures back to where they were: `restore_pictures(project, "_excluded/12_mochi/001.png")`."""
    paths = [find_picture(project, picture) for picture in _listed(pictures)]
    paths = [path for path in paths if _is_excluded(project, path)]
    return _relocate(project, paths, lambda room: (room / EXCLUDED_FOLDER, room), "Restored")


def set_repeats(project: Project, folder: str, repeats: int, name: str = "") -> Edit:
    """How often the pictures of a folder are seen in an epoch: renames 12_mochi to 20_mochi.

    folder: its name in `images`, or "regularisation/10_creature"; "" for pictures that lie in `images` directly, which
    are moved into a folder called by the repeats and `name` (the project's, if none is given).
    """
    room, own = _split_room(project, folder)
    check_repeats(repeats, "The repeats stay.")
    if not own:
        target = room / f"{repeats}_{name or project.name}"
        files = [path for path in sorted(room.iterdir()) if path.is_file() or path.name == MASK_FOLDER]
        moves = [(path, target / path.name) for path in files if not path.name.startswith(".")]
        return perform(project, f"Moved the pictures to {target.name}.", moves)
    parsed = parse_folder_name(own)
    if isinstance(parsed, Problem) or not (room / own).is_dir() or "/" in own:
        fix = "Name one of the folders in images, such as 12_mochi."
        raise DatasetError("The repeats stay.", [Problem(folder, "There is no such folder of pictures.", fix)])
    renamed = f"{repeats}_{name or parsed[1]}"
    pairs = [(place / own, place / renamed) for place in (room, room / EXCLUDED_FOLDER) if (place / own).is_dir()]
    return perform(project, f"Renamed {folder} to {renamed}.", pairs)


# what can be done by name: fixes of findings and the page's buttons ask for these
EDITS: dict[str, Callable[..., Edit]] = {
    "crop": crop_picture,
    "turn": turn_pictures,
    "flip": flip_pictures,
    "fill": fill_transparency,
    "upright": make_upright,
    "reset": reset_pictures,
    "exclude": exclude_pictures,
    "restore": restore_pictures,
    "repeats": set_repeats,
}


def find_picture(project: Project, picture: Picture) -> Path:
    """The file of a picture, by its name or path. Raises DatasetError if it is not one of this project's."""
    path = Path(picture)
    if not path.is_absolute():
        room, own = _split_room(project, path.as_posix())
        path = room / own
    path = Path(os.path.normpath(path))
    if not any(path.is_relative_to(room) for room in _rooms(project)) or not path.is_file():
        fix = "Name it as the list of pictures does, such as 12_mochi/001.png."
        raise DatasetError("Nothing was changed.", [Problem(str(picture), "There is no such picture here.", fix)])
    return path


def name_of(project: Project, path: Path) -> str:
    """How messages name a picture: 12_mochi/001.png, regularisation/10_creature/001.png."""
    if path.is_relative_to(project.images):
        return path.relative_to(project.images).as_posix()
    return path.relative_to(project.root).as_posix()


def _step(
    project: Project, pictures: Picture | Iterable[Picture], step: Step | None, text: str, *, masks: bool = True
) -> Edit:
    paths = [find_picture(project, picture) for picture in _listed(pictures)]
    if not paths:
        raise DatasetError("Nothing was changed.", [Problem("pictures", "None was chosen.", "Choose one or more.")])
    found = [mask for path in paths if masks and (mask := find_mask(path))]
    return perform(project, text.format(_say(project, paths)), steps=dict.fromkeys([*paths, *found], step))


def _relocate(project: Project, paths: list[Path], places: Callable[[Path], tuple[Path, Path]], verb: str) -> Edit:
    """Move pictures with all that belongs to them from one place of their room to another."""
    if not paths:
        raise DatasetError("Nothing was changed.", [Problem("pictures", "None was chosen.", "Choose one or more.")])
    moves: list[tuple[Path, Path]] = []
    for path in dict.fromkeys(paths):
        room = next(room for room in _rooms(project) if path.is_relative_to(room))
        source, target = places(room)
        files = [path, *_companions(path, paths)]
        taken = {place for _, place in moves}
        ending = free_ending(path.stem, [target / file.relative_to(source) for file in files], taken)
        for file in files:
            place = target / file.relative_to(source)
            moves.append((file, place.with_name(path.stem + ending + file.name.removeprefix(path.stem))))
    return perform(project, f"{verb} {_say(project, paths)}.", moves)


def free_ending(stem: str, places: list[Path], taken: Iterable[Path] = ()) -> str:
    """What to put behind a stem, "" or "-2", so that none of these files is there yet."""
    occupied, number = set(taken), 1
    while True:
        ending = f"-{number}" if number > 1 else ""
        tried = [place.with_name(stem + ending + place.name.removeprefix(stem)) for place in places]
        if not any(place.exists() or place in occupied for place in tried):
            return ending
        number += 1


def _companions(picture: Path, leaving: list[Path]) -> list[Path]:
    """A picture's mask, and its caption unless another picture that stays shares it."""
    sharing = [picture.with_suffix(suffix) for suffix in EXTENSIONS if suffix != picture.suffix]
    caption = caption_path(picture)
    files = [] if any(other.exists() and other not in leaving for other in sharing) else [caption]
    files += [caption.with_name(f"{caption.name}.bak")] if files else []
    mask = find_mask(picture)
    return [file for file in files if file.is_file()] + ([mask] if mask else [])


def _listed(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    return [pictures] if isinstance(pictures, str | Path) else list(pictures)


def _rooms(project: Project) -> tuple[Path, Path]:
    return project.images, project.root / REGULARISATION_FOLDER


def _split_room(project: Project, name: str) -> tuple[Path, str]:
    """Which of the two folders of pictures a name speaks of, and the rest of the name."""
    own, general = _rooms(project)
    first, _, rest = name.partition("/")
    return (general, rest) if first == REGULARISATION_FOLDER and general.is_dir() else (own, name)


def _is_excluded(project: Project, path: Path) -> bool:
    return any(path.is_relative_to(room / EXCLUDED_FOLDER) for room in _rooms(project))


def _say(project: Project, paths: list[Path]) -> str:
    names = [name_of(project, path).removeprefix(f"{EXCLUDED_FOLDER}/") for path in paths]
    return names[0] if len(names) == 1 else f"{len(names)} pictures ({name_some(names, 3)})"
