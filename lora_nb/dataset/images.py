"""What is there to train on? Scans a folder of pictures and captions into a Dataset."""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lora_nb.dataset.decoding import measure_picture, open_picture
from lora_nb.dataset.folders import EXTENSIONS, PictureFolder, find_pictures, name_some
from lora_nb.dataset.tags import caption_path, read_caption_lines
from lora_nb.errors import DatasetError, Problem
from lora_nb.project import expand

__all__ = ["EXTENSIONS", "Dataset", "ImageItem", "open_picture", "refresh_captions", "scan_images"]

REGULARISATION_FOLDER = "regularisation"  # beside the folder of pictures


@dataclass(frozen=True)
class ImageItem:
    """One picture that is trained on, with the caption that stands beside it."""

    path: Path
    width: int  # in pixels, as the upright picture is seen
    height: int
    caption: str  # what the caption file says, on one line; "" if there is none
    has_caption: bool  # whether there is a caption file that says something
    repeats: int  # how often it is seen in an epoch
    class_name: str  # from the folder's name `<repeats>_<class>`; "" in a flat folder
    root: Path | None = None  # the dataset's folder
    lines: tuple[str, ...] = ()  # the caption file's lines
    is_regularisation: bool = False  # shows the class in general, so that the LoRA does not forget it

    @property
    def name(self) -> str:
        """Where the picture lies in the dataset, as messages name it: `12_mochi/001.png`."""
        return self.path.relative_to(self.root).as_posix() if self.root else self.path.name


@dataclass(frozen=True)
class Dataset:
    """All pictures of a folder that can be trained on, and what was wrong with the others."""

    root: Path
    items: tuple[ImageItem, ...]  # sorted by path
    problems: tuple[Problem, ...]  # found while scanning; `checks.check_dataset` adds what it finds

    def own(self) -> "Dataset":
        """Only the pictures of the subject: those of the class in general have captions of their own."""
        return replace(self, items=tuple(item for item in self.items if not item.is_regularisation))


Measure = Callable[[Path], tuple[int, int, bool]]  # width, height, whether it moves; raises DatasetError


def scan_images(folder: Path, measure: Measure = measure_picture) -> Dataset:
    """Find, decode and measure every picture of a folder: Kohya's `<repeats>_<class>` folders, or a flat folder.

    A folder `regularisation` beside it, in the same layout, holds pictures of the class in general. What cannot be
    used is left out and reported in `problems`. Raises DatasetError if there is no such folder.

    measure: how a picture is looked at; `decoding.read_size` is quick and overlooks damage.
    """
    root = expand(folder)
    if not root.is_dir():
        what = "This is a file, not a folder." if root.exists() else "There is no such folder."
        raise DatasetError("There are no pictures.", [Problem(str(root), what, "Choose the folder of pictures.")])
    items, problems = _scan_folder(root, measure)
    beside = root.absolute().parent / REGULARISATION_FOLDER
    if beside.is_dir() and beside != root.absolute():
        general, found = _scan_folder(beside, measure)
        items += [replace(item, is_regularisation=True, root=beside.parent) for item in general]
        problems += [replace(problem, where=f"{REGULARISATION_FOLDER}/{problem.where}") for problem in found]
    return Dataset(root, tuple(sorted(items, key=lambda item: item.path)), tuple(problems))


def refresh_captions(dataset: Dataset) -> Dataset:
    """The same pictures with their captions as they are on disk now; quick, because no picture is opened."""
    items = []
    for item in dataset.items:
        lines, _ = _read_item_caption(item.path, item.root or item.path.parent)
        caption = " ".join(lines)
        items.append(replace(item, caption=caption, has_caption=bool(caption), lines=tuple(lines)))
    return replace(dataset, items=tuple(items))


def _scan_folder(root: Path, measure: Measure) -> tuple[list[ImageItem], list[Problem]]:
    folders, problems = find_pictures(root)
    jobs = [(path, part) for part in folders for path in part.pictures]
    workers = min(8, os.cpu_count() or 1)
    size = max(1, min(32, len(jobs) // (4 * workers)))  # several pictures a task: handing over costs time, too
    some = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    read = partial(_read_item, root, measure)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # Pillow's; what matters of them is reported as Problems
        results = [result for part in pool.map(lambda part: [read(job) for job in part], some) for result in part]
    for _, found in results:
        problems += found
    for part in folders:
        problems += _check_neighbours(part, root)
    return [item for item, _ in results if item], problems


def _read_item(root: Path, measure: Measure, job: tuple[Path, PictureFolder]) -> tuple[ImageItem | None, list[Problem]]:
    """Measure one picture and read its caption; a picture that cannot be read gives None and the reason."""
    path, part = job
    name = path.relative_to(root).as_posix()
    try:
        width, height, moves = measure(path)
    except DatasetError as error:
        return None, _place(error, name)
    problems = []
    if moves:
        message = "The picture moves: only its first frame is used."
        problems.append(Problem(name, message, "Save the frame that you want as .png.", "note"))
    lines, found = _read_item_caption(path, root)
    caption = " ".join(lines)
    item = ImageItem(path, width, height, caption, bool(caption), part.repeats, part.class_name, root, tuple(lines))
    return item, problems + found


def _read_item_caption(picture: Path, root: Path) -> tuple[list[str], list[Problem]]:
    where = caption_path(picture).relative_to(root).as_posix()
    try:
        lines = read_caption_lines(picture)
    except DatasetError as error:
        return [], _place(error, where)
    if lines is None:
        return [], []
    if not lines:
        return [], [Problem(where, "The caption file is empty.", "Write a caption, or delete the file.", "warning")]
    if len(lines) > 1:
        message = f"The caption has {len(lines)} lines. They are joined with a space; Kohya reads only the first."
        fix = "Write it on one line; or turn on data.wildcards, and one line is chosen each time."
        return lines, [Problem(where, message, fix, "warning")]
    return lines, []


def _place(error: DatasetError, where: str) -> list[Problem]:
    """The error's problems, with the place named as in the dataset."""
    return [Problem(where, problem.message, problem.fix, "warning") for problem in error.problems]


def _check_neighbours(part: PictureFolder, root: Path) -> list[Problem]:
    """Report captions that belong to no picture, or to two."""
    problems = []
    stems: defaultdict[str, list[str]] = defaultdict(list)
    for picture in part.pictures:
        stems[picture.stem].append(picture.name)
    for stem, names in stems.items():
        if len(names) > 1:
            message = f"{name_some(names)} share one caption file, {stem}.txt."
            where = part.pictures[0].parent.relative_to(root).as_posix()
            problems.append(Problem(where, message, "Rename one of them, if they are different pictures.", "warning"))
    for other in part.others:
        if (problem := _check_other_file(other, set(stems), root)) is not None:
            problems.append(problem)
    return problems


def _check_other_file(path: Path, stems: set[str], root: Path) -> Problem | None:
    """Report a file that was probably meant as a caption but is not read as one."""
    where = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
    if path.suffix in (".TXT", ".Txt", ".caption") and path.stem in stems:
        message = f"Captions are read from .txt files, not from {path.suffix}."
        return Problem(where, message, f"Rename it to {path.stem}.txt.", "warning")
    if path.suffix == ".txt" and path.stem not in stems and Path(path.stem).suffix.lower() in EXTENSIONS:
        message = "A caption is named without its picture's extension."
        return Problem(where, message, f"Rename it to {Path(path.stem).stem}.txt.", "warning")
    if path.suffix == ".txt" and path.stem not in stems and stems:
        message = "No picture here has this name, so the text is not used."
        return Problem(where, message, "Give it its picture's name, if it is a caption.", "note")
    return None
