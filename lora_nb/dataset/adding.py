"""Bringing pictures into a project: from a folder, a .zip, single files, or an address. Nothing is written over.

What cannot be used is left where it is, and reported. Captions and masks come along with their pictures.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lora_nb.dataset.archives import LARGEST_FILE, unpack_zip
from lora_nb.dataset.decoding import measure_picture
from lora_nb.dataset.edits import free_ending
from lora_nb.dataset.fetching import fetch_file, is_address
from lora_nb.dataset.folders import (
    EXCLUDED_FOLDER,
    EXTENSIONS,
    MASK_ENDING,
    MASK_FOLDER,
    check_repeats,
    find_pictures,
    name_some,
    parse_folder_name,
)
from lora_nb.dataset.journal import record
from lora_nb.dataset.tags import LONGEST_CAPTION_FILE, caption_path
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import write_whole
from lora_nb.locks import alone_in
from lora_nb.project import Project, expand

USUAL_REPEATS = 10
Source = str | Path


@dataclass
class Added:
    """What was taken in, and what was not."""

    pictures: list[str] = field(default_factory=list)  # by name, as they are called now
    captions: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        captions = f" with {_count(self.captions, 'caption')}" if self.captions else ""
        text = f"Added {_count(len(self.pictures), 'picture')}{captions}"
        return f"{text}; {len(self.problems)} more to know." if self.problems else f"{text}."


def add_pictures(
    project: Project, source: Source | Iterable[Source], *, repeats: int | None = None, name: str = ""
) -> Added:
    """Copy pictures with their captions into a project: `add_pictures(project, "/content/drive/MyDrive/mochi.zip")`.

    source: a folder, a .zip, a picture, an address of a .zip or a picture, or several of them.
    repeats and name: the folder that they go to, `10_mochi`. Without them, it is the one that they come in, if that is
    called so; else the project's first. Pictures that are there already are passed over; if only the name is taken,
    the new one is called 001-2. Undo moves them to `images/_excluded`. Raises DatasetError if a source is not there.
    """
    _check_folder(repeats, name)
    added = Added()
    staging = project.cache / "incoming"
    staging.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging) as scratch:
        found: list[Path] = []
        for number, each in enumerate([source] if isinstance(source, str | Path) else source):
            found += _gather(each, Path(scratch) / str(number), added.problems)
        _take_in(project, found, repeats, name, added)
    return added


def _gather(source: Source, scratch: Path, problems: list[Problem]) -> list[Path]:
    """All files that a source holds; archives are unpacked, addresses fetched."""
    if is_address(str(source)):
        source = fetch_file(str(source), scratch / "fetched")
    path = expand(source)
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and not _is_hidden(each.relative_to(path)))
        archives = [each for each in inside if each.suffix.lower() == ".zip"]
        files = [each for each in inside if each not in archives]
        for number, archive in enumerate(archives):
            try:
                files += _gather(archive, scratch / str(number), problems)
            except DatasetError as error:  # the others may be fine
                problems += error.problems
        return files
    if not path.is_file():
        fix = "Check the path; on Colab, mount Drive first."
        raise DatasetError("Nothing was added.", [Problem(str(source), "There is no such file or folder.", fix)])
    if path.suffix.lower() != ".zip":
        return [path]
    problems += unpack_zip(path, scratch / "unpacked")
    return sorted(each for each in (scratch / "unpacked").rglob("*") if each.is_file())


def _take_in(project: Project, files: list[Path], repeats: int | None, name: str, added: Added) -> None:
    files = _leave_out_odd(files, added.problems)
    pictures = [path for path in files if path.suffix.lower() in EXTENSIONS and not _is_mask(path)]
    captions = {path.with_suffix(""): path for path in files if path.suffix == ".txt"}
    masks = {
        (path.parent, path.name.removesuffix(MASK_ENDING)): path for path in files if path.name.endswith(MASK_ENDING)
    }
    masks |= {(path.parent.parent, path.stem): path for path in files if path.parent.name == MASK_FOLDER}
    there = _list_by_size(project)
    moves: list[tuple[Path, Path]] = []
    used: set[Path] = set()
    for path in pictures:
        size, digest = path.stat().st_size, _hash(path)
        if same := next((other for other in there[size] if _hash(other) == digest), None):
            message = f"The same picture is there already, as {same.relative_to(project.images).as_posix()}."
            added.problems.append(Problem(path.name, message, "It was not added again.", "note"))
            used.add(path.with_suffix(""))
            continue
        try:
            measure_picture(path)
        except DatasetError as error:
            added.problems += error.problems
            continue
        folder = _choose_folder(project, path.parent.name, repeats, name)
        own = [found for found in (captions.get(path.with_suffix("")), masks.get((path.parent, path.stem))) if found]
        used.add(path.with_suffix(""))
        new = _copy(project, path, own, folder, added)
        there[size].append(new[0])
        moves += [(project.images / EXCLUDED_FOLDER / each.relative_to(project.images), each) for each in new]
    added.captions += _take_captions(
        project, [path for stem, path in captions.items() if stem not in used], added, moves
    )
    _report_others(files, added)
    if moves:
        record(project, f"{str(added).split(';')[0].rstrip('.')}.", moves)


def _leave_out_odd(files: list[Path], problems: list[Problem]) -> list[Path]:
    """The files whose names can be written down, and whose sizes are those of pictures and captions."""
    fine = []
    for path in files:
        name = path.name.encode("utf-8", "backslashreplace").decode()
        most = LONGEST_CAPTION_FILE if path.suffix == ".txt" else LARGEST_FILE
        if name != path.name:
            problems.append(Problem(name, "The file's name is not valid text (UTF-8).", "Rename it.", "warning"))
        elif path.stat().st_size > most:
            message = f"It has {path.stat().st_size:,} bytes, and {most:,} is the most. It was not added."
            problems.append(Problem(name, message, "Make it smaller, if it belongs to the pictures.", "warning"))
        else:
            fine.append(path)
    return fine


def _copy(project: Project, picture: Path, own: list[Path], folder: Path, added: Added) -> list[Path]:
    """Copy a picture with its caption and mask, under a name that is free both here and among the excluded."""
    with alone_in(project.images):  # else another notebook may take the name that was free
        return _copy_alone(project, picture, own, folder, added)


def _copy_alone(project: Project, picture: Path, own: list[Path], folder: Path, added: Added) -> list[Path]:
    excluded = project.images / EXCLUDED_FOLDER / folder.relative_to(project.images)
    places = [place / name for place in (folder, excluded) for name in (picture.name, caption_path(picture).name)]
    stem = picture.stem + free_ending(picture.stem, places)
    if stem != picture.stem:
        message = f"Another picture is called so, so it was added as {stem}{picture.suffix}."
        added.problems.append(Problem(picture.name, message, "", "note"))
    new = [folder / f"{stem}{picture.suffix}"]
    write_whole(new[0], picture.read_bytes())
    for path in own:
        is_caption = path.suffix == ".txt"
        new.append(folder / (f"{stem}.txt" if is_caption else f"{stem}{MASK_ENDING}"))
        write_whole(new[-1], path.read_bytes())
        added.captions += is_caption
    added.pictures.append(new[0].relative_to(project.images).as_posix())
    return new


def _take_captions(project: Project, captions: list[Path], added: Added, moves: list[tuple[Path, Path]]) -> int:
    """Captions that came without a picture: they may belong to one that is there and has none."""
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for part in find_pictures(project.images)[0]:
        for picture in part.pictures:
            by_stem[picture.stem].append(picture)
    count = 0
    for path in captions:
        pictures = by_stem.get(path.stem, [])
        target = caption_path(pictures[0]) if len(pictures) == 1 else None
        if target and not target.exists():
            write_whole(target, path.read_bytes())
            moves.append((project.images / EXCLUDED_FOLDER / target.relative_to(project.images), target))
            count += 1
            continue
        if target and target.read_bytes() == path.read_bytes():
            continue
        why = "Its picture has a caption already" if target else f"{len(pictures) or 'No'} pictures are called so"
        added.problems.append(
            Problem(path.name, f"{why}, so it was not added.", "Edit captions in notebook 3.", "note")
        )
    return count


def _report_others(files: list[Path], added: Added) -> None:
    known = (*EXTENSIONS, ".txt")
    others = [path.name for path in files if path.suffix.lower() not in known]
    if others:
        message = f"These are no pictures that are read here: {name_some(others)}."
        added.problems.append(
            Problem(f"{len(others)} files", message, "Save pictures as .png, .jpg or .webp.", "warning")
        )


def _choose_folder(project: Project, came_in: str, repeats: int | None, name: str) -> Path:
    """Where a picture goes: where the caller says, else where it came from, else to the others."""
    here = [
        (folder, parsed)
        for folder in sorted(project.images.iterdir())
        if folder.is_dir() and isinstance(parsed := parse_folder_name(folder.name), tuple)
    ]
    if not name and repeats is None:
        if isinstance(parse_folder_name(came_in), tuple):
            return project.images / came_in
        if here:
            return here[0][0]
        if any(path.suffix.lower() in EXTENSIONS for path in project.images.iterdir()):
            return project.images
    for folder, (number, class_name) in here:
        if name in ("", class_name) and repeats in (None, number):
            return folder
    return project.images / f"{repeats or USUAL_REPEATS}_{name or (here[0][1][1] if here else project.name)}"


def _check_folder(repeats: int | None, name: str) -> None:
    if repeats is not None:
        check_repeats(repeats, "Nothing was added.")
    if name and (set(name) & set('/\\<>:"|?*\0') or name.startswith(".") or name != name.strip()):
        fix = "Use letters, digits, spaces and underscores."
        raise DatasetError("Nothing was added.", [Problem("name", f"{name!r} cannot be a folder's name.", fix)])


def _list_by_size(project: Project) -> defaultdict[int, list[Path]]:
    """Every picture of the project, the excluded too, so that few need to be compared with a new one."""
    found: defaultdict[int, list[Path]] = defaultdict(list)
    for path in sorted(project.images.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and not _is_mask(path) and path.is_file():
            found[path.stat().st_size].append(path)
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is_mask(path: Path) -> bool:
    return path.name.endswith(MASK_ENDING) or path.parent.name == MASK_FOLDER


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)
