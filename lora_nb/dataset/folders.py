"""Which files of a folder are training pictures? Reads Kohya's layout, `<repeats>_<class>/`, or a flat folder."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_nb.errors import DatasetError, Problem, quote

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif")

MASK_FOLDER = "masks"  # inside a folder of pictures: what of each counts; see masks.py
MASK_ENDING = ".mask.png"  # or so, beside the picture
MOST_REPEATS = 10_000  # no training sees a picture more often in an epoch; counting would take longer than training
LONGEST_NAME = 60  # characters of a folder's name in a message
EXCLUDED_FOLDER = "_excluded"  # pictures that were taken out of the training on purpose; see edits.py

# files that people mean as pictures, but that are not trained on: (what it is, the way out)
_REFUSED = {
    ".gif": ("moving pictures, of which only the first frame could be used", "Save the frame that you want as .png."),
    ".svg": ("drawings made of curves and not of pixels", "Export them as .png."),
    ".zip": ("archives", "Unpack them here."),
    ".rar": ("archives", "Unpack them here."),
    ".7z": ("archives", "Unpack them here."),
    ".jfif": ("JPEG pictures under another name", "Rename them to .jpg."),
    ".jpe": ("JPEG pictures under another name", "Rename them to .jpg."),
}
_OTHER_PICTURES = (
    *(".heic", ".heif", ".tif", ".tiff", ".psd", ".jxl", ".jp2", ".j2k", ".tga", ".ico", ".xcf", ".kra", ".clip"),
    *(".exr", ".hdr", ".ppm", ".pgm", ".qoi", ".dds", ".eps", ".ai"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"),  # cameras' raw files
)
_REFUSED |= dict.fromkeys(_OTHER_PICTURES, ("in a format that is not read here", "Save them as .png or .jpg."))


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of one folder, and how often each is seen in an epoch."""

    pictures: tuple[Path, ...]
    others: tuple[Path, ...]  # the other files: captions, and what is neither
    repeats: int = 1
    class_name: str = ""


def find_pictures(root: Path) -> tuple[list[PictureFolder], list[Problem]]:
    """List the pictures that training uses, and explain every folder and file that it does not use."""
    problems: list[Problem] = []
    names, own = _list_folder(root, root, problems)
    concepts: list[PictureFolder] = []
    for folder in names:
        parsed = parse_folder_name(folder.name)
        if isinstance(parsed, Problem):
            problems += _report_unused(folder, parsed, root)
        else:
            concepts.append(_read_concept(folder, root, parsed, problems))
    flat = _sort_files(own, root, problems)
    if concepts and flat.pictures:
        message = f"Beside the <repeats>_<name> folders, {_not_used(len(flat.pictures))}"
        problems.append(
            Problem(_show(root.resolve().name), message, f"Move them, e.g. into {names[0].name}.", "warning")
        )
    if not concepts and flat.pictures and not isinstance(parse_folder_name(root.resolve().name), Problem):
        message = "This folder is named in Kohya's way but was chosen itself: its pictures are seen once an epoch."
        fix = "Choose the folder that contains it, if the number should count."
        problems.append(Problem(_show(root.resolve().name), message, fix, "note"))
    return concepts or [flat], problems


def parse_folder_name(name: str) -> tuple[int, str] | Problem:
    """Read `12_mochi` as 12 repeats of the class mochi, or explain why a name does not say that."""
    where = _show(name)
    if where != name:
        return Problem(where, "The folder's name is not valid text (UTF-8).", "Rename it.", "warning")
    match = re.fullmatch(r"(-?[0-9]+)_(.*\S.*)", name)
    if match and int(match[1]) > MOST_REPEATS:
        number, rest = quote(match[1], LONGEST_NAME), quote(match[2].strip(), LONGEST_NAME)
        message = f"The number in its name means {number} repeats of every picture in each epoch."
        fix = f"Is it a date or a size? Put a small number first, e.g. 10_{rest}."
        return Problem(quote(name, LONGEST_NAME), message, fix, "warning")
    if match and int(match[1]) > 0:
        return int(match[1]), match[2].strip()
    if match:
        message = f"{match[1]} repeats switch this folder off."
        return Problem(where, message, f"Begin its name with at least 1: 1_{match[2]}.", "warning")
    if re.fullmatch(r"-?[0-9]+_?\s*", name):
        number = name.strip("-_ ")
        fix = f"Name what it shows after the number: {number}_mochi."
        return Problem(where, "The folder's name is a number without a name.", fix, "warning")
    words = name.strip("_- ") or "mochi"
    number_first = re.match(r"([1-9][0-9]*)[ -]*([^0-9_., -].*)", name)  # "10 mochi", "10-mochi"
    better = f"{number_first[1]}_{number_first[2].strip()}" if number_first else f"10_{words}"
    message = "The folder's name does not begin with a whole number of repeats and an underscore."
    return Problem(where, message, f"Rename it, e.g. to {_show(better)}.", "warning")


def _read_concept(folder: Path, root: Path, parsed: tuple[int, str], problems: list[Problem]) -> PictureFolder:
    """Read one `<repeats>_<class>` folder; folders inside it are reported, not read."""
    deeper, files = _list_folder(folder, root, problems)
    found = _sort_files(files, root, problems, *parsed)
    for nested in deeper:
        where = f"{folder.name}/{nested.name}"
        problem = Problem(_show(where), "Folders inside folders are not read.", "Move its pictures one up.", "warning")
        problems += _report_unused(nested, problem, root)
    if not found.pictures:
        problems.append(Problem(_show(folder.name), "The folder holds no picture.", "Fill or delete it.", "note"))
    return found


def _list_folder(folder: Path, root: Path, problems: list[Problem]) -> tuple[list[Path], list[Path]]:
    """Sorted folders and files of one folder, without hidden ones and things that are neither."""
    folders, files = [], []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        message = f"The folder cannot be read: {error.strerror}."
        problems.append(Problem(_show(_relative(folder, root)), message, "Change its permissions.", "warning"))
        return [], []
    for path in entries:
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.is_dir():
            folders += [path] if path.name not in (MASK_FOLDER, EXCLUDED_FOLDER) else []
        elif path.is_file():
            files.append(path)
        elif path.suffix.lower() in EXTENSIONS:
            message = "This is no file: a link whose target is missing, or a device."
            problems.append(Problem(_show(_relative(path, root)), message, "Delete it.", "warning"))
    return folders, files


def _sort_files(
    files: list[Path], root: Path, problems: list[Problem], repeats: int = 1, class_name: str = ""
) -> PictureFolder:
    """Tell pictures from the rest, and report what looks like a picture but is not trained on."""
    pictures, others = [], []
    refused: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        extension = path.suffix.lower()
        if path.name.endswith(MASK_ENDING):
            others.append(path)
        elif extension in EXTENSIONS and _is_utf8(path):
            pictures.append(path)
        elif extension in EXTENSIONS:
            message = "The file's name is not valid text (UTF-8)."
            problems.append(Problem(_show(_relative(path, root)), message, "Rename it.", "warning"))
        elif extension in _REFUSED:
            refused[extension].append(path)
        else:
            others.append(path)
    for extension, paths in refused.items():
        what, fix = _REFUSED[extension]
        message = f"{name_some([path.name for path in paths])}: {extension} files are {what}. Not used."
        where = _relative(paths[0].parent, root)
        problems.append(Problem(_show(where), message, fix, "warning"))
    return PictureFolder(tuple(pictures), tuple(others), repeats, class_name)


def _report_unused(folder: Path, problem: Problem, root: Path) -> Iterator[Problem]:
    """Pass a problem on if the folder holds pictures at any depth; other folders are nobody's business."""
    count = 0
    for _, names, files in os.walk(folder, followlinks=False):  # so that a link in a circle does no harm
        names[:] = [name for name in names if not name.startswith((".", "__MACOSX"))]
        count += sum(Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".") for name in files)
    if count:
        unused = f"{problem.message} In it, {_not_used(count)}"
        yield Problem(problem.where, unused, problem.fix, problem.severity)


def name_some(names: list[str], most: int = 5) -> str:
    """List names for a message: all of a few, the first of many."""
    shown = ", ".join(_show(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _not_used(count: int) -> str:
    return "1 picture is not used." if count == 1 else f"{count} pictures are not used."


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else root.resolve().name


def check_repeats(repeats: int, title: str) -> None:
    """Raise DatasetError, with a title that says what was not done, for repeats that no folder can have."""
    if not 1 <= repeats <= MOST_REPEATS:
        fix = f"Give 1 to {MOST_REPEATS:,}."
        raise DatasetError(title, [Problem("repeats", f"{repeats} does not work.", fix)])


def _show(name: str) -> str:
    """A name that can be printed everywhere, even if its bytes are no text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_utf8(path: Path) -> bool:
    return _show(path.name) == path.name
